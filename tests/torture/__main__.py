"""Torture: processes work on one store and are killed at every step; nothing may be lost."""

from __future__ import annotations

import argparse
import faulthandler
import gc
import importlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

from atop import Store
from tests.checking import check_store
from tests.torture import bank
from tests.torture.arena import Arena, Child
from tests.torture.attacks import Attacks
from tests.torture.board import Board
from tests.torture.figures import Figures
from tests.torture.hangs import Failed, Hang
from tests.torture.journal import Journal
from tests.torture.points import ENDS, POINTS
from tests.torture.server import issue
from tests.torture.setting import Setting, report
from tests.torture.worker import CLOSE_ALL, LEAVE

_KILLS_A_ROUND = 200
_ROUNDS = 4
_SERVED = 3


class Torture:
    """Rounds, each followed by an audit of the whole store, until the time is up."""

    def __init__(self, options: argparse.Namespace, folder: Path, stacks: int) -> None:
        self.figures = Figures(options.seed)
        self.folder = folder
        self._options = options
        self._dice = random.Random(options.seed)
        self._board = Board(stacks)
        self._arena = Arena(self._board, self.figures)
        self._attacks = Attacks(self._arena, self.figures, self._dice, options.rate)
        self._alive: set[int] = set()
        self._setting = Setting(folder, options.seed)
        self._credentials = folder / "keys"
        issue(self._credentials)

    def run(self) -> None:
        """Torture; what it came to is in ``figures``, also what was found."""
        began = time.monotonic()
        end = began + 60 * self._options.minutes
        self._arena.setting = self._setting
        try:
            self._arena.do(self._make)
            while time.monotonic() < end:
                self._round(end)
        except Failed as error:
            self._note(error)
        self.figures.seconds = time.monotonic() - began

    def _round(self, end: float) -> None:
        figures, number = self.figures, self.figures.rounds
        setting = self._vary(number)
        part = 60 * self._options.minutes / _ROUNDS
        self._arena.open(setting)
        self._attacks.go_on_until(
            min(end, time.monotonic() + part), figures.killed + _KILLS_A_ROUND
        )
        self._arena.close(self._dice.choice((CLOSE_ALL, LEAVE)))
        figures.rounds += 1
        self._audit()
        if self._options.verbose:
            print(f"{figures.rounds:4} rounds, {figures.killed:6,} kills", flush=True)

    def _vary(self, number: int) -> Setting:
        """Rounds differ: small logs, a slow disk, a server."""
        setting = replace(
            self._setting, small_logs=number % 2 == 0, slow_sync=0.005 * (number % 4 in (1, 2)),
        )
        if number % 4 != _SERVED and not self._options.served:
            return setting
        unix = f"atop+unix://{self.folder / 'door'}"
        return replace(setting, addresses=(f"atop://127.0.0.1:{_free_port()}", unix),
                       credentials=self._credentials)

    def _make(self) -> None:
        with Store(self._setting.store) as store:
            bank.make(store)

    def _audit(self) -> None:
        result = self.folder / "audited"
        self._arena.do(lambda: self._compare(result))
        alive, compared = json.loads(result.read_text())
        self._alive = set(alive)
        self.figures.audits += 1
        self.figures.compared += compared

    def _compare(self, result: Path) -> None:
        """In a fresh process, which has the store alone."""
        journal = Journal(self._setting.journal)
        try:
            with Store(self._setting.store, timeout=60) as store:
                alive, told = bank.audit(store, journal, self._alive)
                check_store(store)
        except Exception:
            report(self._setting, "the audit")
            return
        journal.clear()
        result.write_text(json.dumps([sorted(alive), len(told.committed)]))

    def _note(self, error: Failed) -> None:
        figures = self.figures
        figures.failure = str(error)
        if isinstance(error, Hang):
            return
        if "lost commits" in figures.failure or "has lost commits" in figures.failure:
            figures.lost_commits += 1
        else:
            figures.broken += 1


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--rate", type=float, default=8.0, help="attacks in a second, at most")
    parser.add_argument("--folder", type=Path, help="where the store is, and stays")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--served", action="store_true", help="with a server in each round")
    parser.add_argument("--verbose", action="store_true", help="tell of each round")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """The exit code: 1 if something was found, 0 if nothing."""
    options = _options(words)
    print(f"seed {options.seed}, {len(POINTS)} fail points with {len(ENDS)} ends", flush=True)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="atop-torture-"))
    folder.mkdir(exist_ok=True)
    torture = Torture(options, folder, _prepare(folder))
    pid = os.getpid()
    try:
        torture.run()
    finally:
        if os.getpid() == pid:
            _end_all(torture)
    return _tell(torture, options)


def _prepare(folder: Path) -> int:
    """What all children have from the begin on; answers the descriptor for their stacks."""
    warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is what we test
    importlib.import_module("atop.engine.server")  # once, for all that are forked
    (folder / "tmp").mkdir(exist_ok=True)
    tempfile.tempdir = str(folder / "tmp")  # who is killed leaves things there
    stacks = os.open(folder / "stacks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    faulthandler.enable(file=stacks)
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
    gc.freeze()
    return stacks


def _be_quiet(folder: Path) -> None:
    """In a child: what an interpreter says that ends with all open is not for the terminal."""
    descriptor = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 2)


def _end_all(torture: Torture) -> None:
    for place in torture._board:
        if place.pid:
            try:
                os.kill(place.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _tell(torture: Torture, options: argparse.Namespace) -> int:
    figures = torture.figures
    print(figures.table())
    if options.json is not None:
        figures.write(options.json)
    if options.rst is not None:
        options.rst.write_text(figures.rst() + "\n")
    if figures.failure:
        print(f"The store, journal and stacks are in {torture.folder}")
        return 1
    if options.folder is None:
        shutil.rmtree(torture.folder)
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except Child as child:
        run, folder = child.run, child.folder
    else:
        sys.exit(code)
    _be_quiet(folder)
    run()
