"""The run: contenders in processes of their own, asked in turn, round by round.

The first round of each measure warms up and does not count. Contenders take turns within a round,
and a different one begins each time, so that what else the machine does hits all of them alike.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import tracing
from benchmarks.contenders import CONTENDERS
from benchmarks.figures import Table
from benchmarks.landmarks import Landmarks
from benchmarks.plan import LARGE, Sizes, measures

ROOT = Path(__file__).resolve().parent.parent

_UNCLOSED, _KILLED, _TRACED = "unclosed", "killed", "traced"
_COMMITS = 20


class Worker:
    """The process of one contender, which runs `module`; behind the command `before`, if any."""

    def __init__(
        self, name: str, folder: Path, environment: dict[str, str],
        module: str = "benchmarks.workbench", before: Sequence[str] = (),
    ) -> None:
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", module, name, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT,
        )  # fmt: skip
        self.pid = self._process.pid
        self._name = name
        self._asked = ""

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def call(self, name: str, **args: Any) -> dict[str, float]:
        """The figures that the measure `name` gives."""
        self.ask(name, **args)
        return self.answer()

    def ask(self, name: str, **args: Any) -> None:
        """The same without waiting for the answer."""
        assert self._process.stdin is not None
        self._asked = name
        self._process.stdin.write(json.dumps([name, args]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, float]:
        """What comes back for :meth:`ask`."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            status = self._process.wait()
            raise RuntimeError(
                f"{self._name} failed in {self._asked} with status {status}: its error is above"
            )
        figures: dict[str, float] = json.loads(answer)
        return figures

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()


class Run:
    """One run, in `folder`, of the contenders `names`; ``table`` has what was measured so far.

    The figures of a collection have its size in their names.
    """

    def __init__(
        self, folder: Path, names: list[str], sizes: Sizes, tell: Callable[[str], None]
    ) -> None:
        self.table = Table()
        self._folder = folder
        self._names = names
        self._environment = environment(folder / "bytecode")
        self._sizes = sizes
        self._tell = tell
        self._spent: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        self._warm_up: dict[tuple[str, str, str], dict[str, float]] = {}

    def measure(self) -> None:
        """Measure everything."""
        sizes = self._sizes
        for items in sizes.all().values():
            Landmarks.make(items).save(self._folder)
        self._tell(f"building collections of {sizes.large:,}")
        self._in_fresh_processes(1, "build", LARGE)
        with self._workers() as workers:
            for number in range(sizes.rounds + 1):
                self._round(workers, number)
        self._tell("opening and importing")
        for size in sizes.all():
            self._in_fresh_processes(sizes.rounds + 1, "opening", size)
        self._importing()
        self._tell("recovering")
        self._recovering()
        self._counting_syncs()
        self._tell(f"walking over {sizes.large:,}, adding an index to them")
        self._in_fresh_processes(sizes.rounds + 1, "walk_alone", LARGE)
        self._in_fresh_processes(1, "index", LARGE, drop=False)
        for (contender, _, size), figures in self._warm_up.items():
            self._add_missing(contender, size, figures)

    def _round(self, workers: dict[str, Worker], number: int) -> None:
        """Each measure once by each contender, so that a bad moment spoils no more than a round."""
        size = ""
        for name, at, args in measures(self._sizes):
            if at != size:
                size = at
                self._tell(f"round {number} of {self._sizes.rounds}, {args['items']:,}")
            for contender in turned(self._names, number):
                self._once(workers[contender], contender, number, name, size, args)

    def _once(
        self, worker: Worker, contender: str, number: int, name: str, size: str, args: Any
    ) -> None:
        key = contender, name, size
        if size == LARGE and self._spent[key] > self._sizes.patience:
            return
        begun = perf_counter()
        figures = worker.call(name, **args)
        self._spent[key] += perf_counter() - begun
        if number:
            self._add(contender, size, figures)
        else:
            self._warm_up[key] = figures

    def _in_fresh_processes(self, rounds: int, name: str, size: str, **args: Any) -> None:
        """The first round counts only where there is no other."""
        items = self._sizes.all()[size]
        for number in range(rounds):
            for contender in turned(self._names, number):
                if self._spent[contender, name, size] <= self._sizes.patience:
                    with self._worker(contender) as worker:
                        self._once(
                            worker, contender, number, name, size, {"items": items, **args}
                        )

    def _importing(self) -> None:
        for number in range(self._sizes.rounds + 1):
            for contender in turned(self._names, number):
                bare = self._seconds_of("pass")
                seconds = self._seconds_of(f"import {CONTENDERS[contender].modules}") - bare
                if number:
                    self.table.add(contender, {"import": seconds})

    def _recovering(self) -> None:
        """A kill each, and what it left opened again and again."""
        for contender in self._names:
            with self._worker(contender) as worker:
                worker.call("fill_log", folder=_UNCLOSED, megabytes=self._sizes.log_megabytes)
                worker.kill()
        for number in range(self._sizes.rounds):
            for contender in turned(self._names, number):
                path = self._folder / contender
                shutil.copytree(path / _UNCLOSED, path / _KILLED, ignore=_sockets)
                with self._worker(contender) as worker:
                    self.table.add(contender, worker.call("recover", folder=_KILLED))
                shutil.rmtree(path / _KILLED)
        for contender in self._names:
            shutil.rmtree(self._folder / contender / _UNCLOSED)

    def _counting_syncs(self) -> None:
        if not tracing.can_trace():
            return
        for contender in self._names:
            notes = self._folder / f"syncs of {contender}"
            with self._worker(contender, tracing.command(notes)) as worker:
                worker.call("singly", folder=_TRACED, count=_COMMITS)
                before = tracing.count(notes)
                worker.call("singly", folder=f"{_TRACED} more", count=2 * _COMMITS)
                more = tracing.count(notes) - before
            self.table.add(contender, {"syncs": (more - before) / _COMMITS})

    def _add(self, contender: str, size: str, figures: dict[str, float]) -> None:
        self.table.add(contender, {f"{name}_{size}": each for name, each in figures.items()})

    def _add_missing(self, contender: str, size: str, figures: dict[str, float]) -> None:
        """What was done once counts."""
        for name, value in figures.items():
            if not self.table.samples(contender, f"{name}_{size}"):
                self._add(contender, size, {name: value})

    @contextmanager
    def _workers(self) -> Iterator[dict[str, Worker]]:
        with ExitStack() as stack:
            yield {name: stack.enter_context(self._worker(name)) for name in self._names}

    def _worker(self, contender: str, before: Sequence[str] = ()) -> Worker:
        path = self._folder / contender
        path.mkdir(exist_ok=True)
        return Worker(contender, path, self._environment, before=before)

    def _seconds_of(self, statement: str) -> float:
        begun = perf_counter()
        command = [sys.executable, "-c", statement]
        subprocess.run(command, check=True, env=self._environment, cwd=ROOT)
        return perf_counter() - begun


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_socket()]


def turned(names: list[str], number: int) -> list[str]:
    """The order in which contenders take turns in that round."""
    at = number % len(names)
    return names[at:] + names[:at]


def environment(bytecode: Path) -> dict[str, str]:
    """As an installed program has it: with its bytecode on disk from the second start on."""
    ours = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": str(bytecode)}
    return {**os.environ, **ours, "PYTHONDONTWRITEBYTECODE": ""}
