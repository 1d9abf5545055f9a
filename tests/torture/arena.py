"""The processes of one round: started, watched for hangs and failures, and started again."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.torture.board import (
    CLOSE,
    EXIT,
    PLACES,
    THREADS,
    Board,
    Place,
)
from tests.torture.figures import Figures
from tests.torture.hangs import HANGS, Failed, Hang, Watch
from tests.torture.points import ENDS
from tests.torture.server import Serving
from tests.torture.setting import Setting
from tests.torture.worker import CLOSE_ALL, Worker

_PR_SET_CHILD_SUBREAPER = 36
_TICK = 0.002
_LONGEST = 120.0
_SAID_IN = 1.5


class Child(BaseException):
    """Raised in a forked process, so that it leaves all of its parent's frames and runs."""

    def __init__(self, run: Callable[[], object], folder: Path) -> None:
        super().__init__()
        self.run = run
        self.folder = folder


@dataclass
class _Outage:
    """An owner died at `moment`, and the first one of a row at `first`."""

    pid: int
    moment: float
    first: float


class Arena:
    """Keeps all places of the board manned, and sees what happens in them."""

    def __init__(self, board: Board, figures: Figures) -> None:
        self.board = board
        self.figures = figures
        self.setting: Setting
        self.ambush = 0
        self.countdown = 1
        self._spawned = 0
        self._manned: dict[int, int] = {}
        self._killed: dict[int, tuple[str, float, bool]] = {}
        self._since: dict[tuple[int, int], int] = {}
        self._outage: _Outage | None = None
        self._hangs = Watch(board, figures)
        self._respawning = False
        with_all_orphans()

    # The round

    def open(self, setting: Setting) -> None:
        """Start a worker, or a server, in each place."""
        self.setting = setting
        self._respawning = True
        for number in range(PLACES):
            self._start(number)
        self.note_progress()

    def close(self, order: int) -> None:
        """End all of them: every other one by that order, the others by SIGKILL.

        A server goes last, in order.
        """
        self._respawning = False
        for number in self.workers:
            if number % 2:
                self.board[number].order = order
            else:
                self.kill(number, "at the end of a round")
        self._wait_for_all(lambda: not self.workers)
        for number in self._manned.values():
            self.board[number].order = CLOSE_ALL
        self._wait_for_all(lambda: not self._manned)
        self._wait_for_orphans()
        self._outage = None
        for place in self.board:
            self._count(place)

    def _wait_for_all(self, ended: Callable[[], bool]) -> None:
        if not self.pump_until(ended, _LONGEST):
            raise Hang(f"{self._hangs.ages()}these do not end")

    def is_server(self, number: int) -> bool:
        """Whether that place has the server."""
        return bool(self.setting.addresses) and number == 0

    @property
    def workers(self) -> list[int]:
        """The places with somebody alive in them who works."""
        return [number for number in self._manned.values() if not self.is_server(number)]

    @property
    def owner(self) -> int | None:
        """The place of the owner, if there is one now."""
        return next((number for number in self._manned.values() if self.board[number].owns), None)

    def do(self, run: Callable[[], object]) -> None:
        """Let a fresh process do something, and wait for its end."""
        pid, end = self.fork(run), time.monotonic() + _LONGEST
        done, status = 0, 0
        while not done:
            if time.monotonic() > end:
                os.kill(pid, signal.SIGUSR1)
                raise Hang(f"process {pid} has not ended in {_LONGEST:g} s, with the store alone")
            time.sleep(_TICK)
            done, status = os.waitpid(pid, os.WNOHANG)
        self.look_for_failures()
        if os.waitstatus_to_exitcode(status):
            raise Failed(f"a process ended with {os.waitstatus_to_exitcode(status)}")

    def fork(self, run: Callable[[], object]) -> int:
        """A fresh process that runs that."""
        pid = os.fork()
        if not pid:
            raise Child(run, self.setting.folder)
        return pid

    def _start(self, number: int) -> None:
        self._spawned += 1
        place = self.board.settle(number)
        place.countdown, place.armed = self.countdown, self.ambush
        process = (
            Serving(self.board, number, self.setting) if self.is_server(number)
            else Worker(self.board, number, self._spawned, self.setting)
        )
        pid = self.fork(process.run)
        place.pid = pid
        self._manned[pid] = number

    # What happens

    def pump(self, seconds: float = _TICK) -> None:
        """Let a moment pass, and see what has happened."""
        time.sleep(seconds)
        self._reap()
        self.look_for_failures()
        self._hangs.look(self.owner, self.setting.folder)
        self._look_for_recovery()

    def pump_until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until it holds, but only so long; answers whether it does."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                return False
            self.pump()
        return True

    def note_progress(self) -> None:
        """From now on it is seen who gets on."""
        self._since = {
            (place.pid, thread): place.lines[thread].done for place, thread in self._lines()
        }

    @property
    def all_got_on(self) -> bool:
        """Whether every thread has finished something since then, or begun and done so.

        Nobody is killed before, so that no kill can hide a hang.
        """
        return all(
            place.lines[thread].done > self._since.get((place.pid, thread), 0)
            for place, thread in self._lines()
        )

    def kill(self, number: int, kind: str) -> None:
        """End who is in that place, at once."""
        place = self.board[number]
        self._killed[place.pid] = kind, time.monotonic(), bool(place.owns)
        os.kill(place.pid, signal.SIGKILL)

    def stop(self, number: int) -> bool:
        """Let who is in that place stand still; answers whether it does, and has not ended."""
        pid, shared = self.board[number].pid, self.board.shared
        shared.stop_began = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        stands = found is not None and found.si_code == os.CLD_STOPPED
        if not stands:
            shared.stop_ended = time.monotonic()
        return stands

    def go_on(self, number: int, *, kill: bool = False) -> None:
        """Let it go on, or die."""
        if kill:
            self.kill(number, "stopped")
        os.kill(self.board[number].pid, signal.SIGCONT)
        shared = self.board.shared
        shared.stop_ended = time.monotonic()
        self._hangs.stopped(shared.stop_began, shared.stop_ended)

    def _lines(self) -> Iterator[tuple[Place, int]]:
        for number in self._manned.values():
            for thread in range(THREADS):
                yield self.board[number], thread

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._manned:
                self._died(pid, status)

    def _died(self, pid: int, status: int) -> None:
        number = self._manned.pop(pid)
        place = self.board[number]
        kind, moment, owned = self._killed.pop(pid, ("", place.died, bool(place.owns)))
        code = os.waitstatus_to_exitcode(status)
        if place.died_at:
            name = ENDS[place.died_at - 1][1]
            self.figures.at_points[name] += 1
            moment = place.died
            if place.died_at == self.ambush:
                self.disarm()
        elif kind:
            self.figures.kills[("owner, " if owned else "") + kind] += 1
        elif code == -signal.SIGINT and place.lines[0].operation in (CLOSE, EXIT):
            self.figures.ends["interrupted while its interpreter ended"] += 1
        elif code:
            time.sleep(_SAID_IN)
            self.look_for_failures()
            raise Failed(f"process {pid} in place {number} ended with {code}")
        if code == -signal.SIGKILL and owned:
            first = self._outage.first if self._outage else moment
            self._outage = _Outage(pid, moment, first)
        self._count(place)
        place.pid = 0
        if self._respawning or (self.is_server(number) and self.workers):
            self._start(number)
        self.note_progress()

    def disarm(self) -> None:
        """Nobody is to die at a fail point any more."""
        self.ambush, self.countdown = 0, 1
        for place in self.board:
            place.armed = 0

    def _count(self, place: Place) -> None:
        """Take over what a process has counted."""
        figures = self.figures
        for name in ("reads", "lost", "conflicts", "doubts", "busy", "interrupts", "forks"):
            setattr(figures, name, getattr(figures, name) + getattr(place, name))
            setattr(place, name, 0)
        for line in place.lines:
            figures.commits += line.commits
            line.commits = 0
        for at, (_, name) in enumerate(ENDS):
            figures.passes[name] += place.passes[at]
            place.passes[at] = 0

    # What must not happen

    def look_for_failures(self) -> None:
        """Raise :class:`Failed` with what processes have reported."""
        path = self.setting.failures
        if path.exists() and path.stat().st_size:
            time.sleep(_SAID_IN)
            raise Failed(path.read_text())

    def _look_for_recovery(self) -> None:
        outage = self._outage
        if outage is None:
            return
        told = [
            line.told for place in self.board if place.pid != outage.pid
            for line in place.lines if line.begun >= outage.moment and line.told
        ]
        if not told:
            return
        self._outage = None
        if self.board.stopped_since(outage.first):
            self.figures.stopped_meanwhile += 1
        else:
            self.figures.recoveries.append(min(told) - outage.moment)
            self.figures.outages.append(min(told) - outage.first)

    def _wait_for_orphans(self) -> None:
        """Children of workers that were killed: they die with them."""
        end = time.monotonic() + HANGS
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                if time.monotonic() > end:
                    raise Hang("a child of a worker does not end")
                time.sleep(_TICK)


def with_all_orphans() -> None:
    """Let those come to this process whose parents have died."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)

