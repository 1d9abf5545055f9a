"""The run: contenders in processes of their own, asked in turn, round by round.

The first round of each measure warms up and does not count. Contenders take turns within a round,
and a different one begins each time, so that what else the machine does hits all of them alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.contender import PAGE
from benchmarks.figures import Table
from benchmarks.worker import CONTENDERS

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Sizes:
    """How much is done: three sizes of collections, how many rounds count, how often in each."""

    small: int
    middle: int
    large: int
    rounds: int
    repeat: int

    @classmethod
    def around(cls, items: int, rounds: int) -> Sizes:
        """For bulk inserts of `items`."""
        return cls(items // 10, items, items * 10, rounds, max(5, min(40, items // 250)))


class Worker:
    """The process of one contender, which runs `module`."""

    def __init__(
        self, name: str, folder: Path, environment: dict[str, str],
        module: str = "benchmarks.worker",
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, name, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT,
        )  # fmt: skip
        self.pid = self._process.pid
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
            raise RuntimeError(f"a process failed in {self._asked}: its error is above")
        figures: dict[str, float] = json.loads(answer)
        return figures

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()


class Run:
    """One run, in `folder`; ``table`` has what was measured so far."""

    def __init__(self, folder: Path, sizes: Sizes, tell: Callable[[str], None]) -> None:
        self.table = Table()
        self._folder = folder
        self._environment = environment(folder / "bytecode")
        self._sizes = sizes
        self._tell = tell

    def measure(self) -> None:
        """Measure everything."""
        large = self._sizes.large
        self._tell(f"building collections of {large:,}")
        self._in_fresh_processes(1, "build", items=large)
        with self._workers() as workers:
            for worker in workers.values():
                worker.call("bulk", items=self._sizes.small)
            for number in range(self._sizes.rounds + 1):
                self._tell(f"round {number} of {self._sizes.rounds}")
                self._round(workers, number)
        self._tell("opening and importing")
        self._in_fresh_processes(self._sizes.rounds + 1, "opening", items=large)
        self._importing()
        self._tell(f"walking over {large:,}")
        self._in_fresh_processes(min(3, self._sizes.rounds + 1), "walk", items=large)

    def _round(self, workers: dict[str, Worker], number: int) -> None:
        """Each measure once by each contender, so that a bad moment spoils no more than a round."""
        for name, args in _measures(self._sizes):
            for contender in _turned(number):
                figures = workers[contender].call(name, **args)
                if number:
                    self.table.add(contender, figures)

    def _in_fresh_processes(self, rounds: int, name: str, **args: Any) -> None:
        """The first round counts only where there is no other."""
        for number in range(rounds):
            for contender in _turned(number):
                with self._worker(contender) as worker:
                    figures = worker.call(name, **args)
                if number or rounds == 1:
                    self.table.add(contender, figures)

    def _importing(self) -> None:
        for number in range(self._sizes.rounds + 1):
            for contender in _turned(number):
                bare = self._seconds_of("pass")
                seconds = self._seconds_of(f"import {CONTENDERS[contender].modules}") - bare
                if number:
                    self.table.add(contender, {"import": seconds})

    @contextmanager
    def _workers(self) -> Iterator[dict[str, Worker]]:
        with ExitStack() as stack:
            yield {
                name: stack.enter_context(self._worker(name)) for name in CONTENDERS
            }

    def _worker(self, contender: str) -> Worker:
        path = self._folder / contender
        path.mkdir(exist_ok=True)
        return Worker(contender, path, self._environment)

    def _seconds_of(self, statement: str) -> float:
        begun = perf_counter()
        command = [sys.executable, "-c", statement]
        subprocess.run(command, check=True, env=self._environment, cwd=ROOT)
        return perf_counter() - begun


def _measures(sizes: Sizes) -> list[tuple[str, dict[str, Any]]]:
    """What is measured in each round; the first one makes the collection for the others."""
    middle = sizes.middle
    return [
        ("bulk", {"items": middle}),
        ("get", {"items": middle, "count": min(5000, middle)}),
        ("pages", {"items": middle, "count": min(100, middle // PAGE)}),
        ("places", {
            "sizes": {"small": sizes.small, "large": sizes.large}, "repeat": sizes.repeat // 2,
        }),
        ("durable", {"items": middle, "repeat": 2 * sizes.repeat}),
        ("commits", {"items": middle, "count": 25 * sizes.repeat}),
    ]  # fmt: skip


def _turned(number: int) -> list[str]:
    return turned(list(CONTENDERS), number)


def turned(names: list[str], number: int) -> list[str]:
    """The order in which contenders take turns in that round."""
    at = number % len(names)
    return names[at:] + names[:at]


def environment(bytecode: Path) -> dict[str, str]:
    """As an installed program has it: with its bytecode on disk from the second start on."""
    ours = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": str(bytecode)}
    return {**os.environ, **ours, "PYTHONDONTWRITEBYTECODE": ""}
