"""A soak: a server, programs that are its clients, and samples of all that they take."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atop import Store
from tests.checking import check_store
from tests.sharing.serving import TOKEN, Command, Keys
from tests.soak.sampling import Sampler, Series, by_name, table
from tests.soak.work import Mail

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
_SAMPLES = 720
_SOONEST = 0.5


@dataclass
class Result:
    """What came out of a soak."""

    seconds: float
    done: dict[str, dict[str, int]]
    failed: list[str]
    series: list[Series]

    @property
    def growing(self) -> list[Series]:
        return [each for each in self.series if not each.level]

    def lines(self) -> list[str]:
        """For people."""
        total = sum((Counter(each) for each in self.done.values()), Counter())
        work = ", ".join(f"{count:,} {what}" for what, count in sorted(total.items()))
        return [f"{self.seconds:.0f} s: {work}", *table(self.series), *self.failed]

    def json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "seconds": self.seconds,
            "done": self.done,
            "failed": self.failed,
            "growing": [f"{each.name} {each.figure}" for each in self.growing],
            "verdict": [
                {"name": each.name, "figure": each.figure, "thirds": each.thirds,
                 "growth_an_hour": each.growth, "level": each.level} for each in self.series
            ],
            "series": by_name(self.series),
        }


def soak(seconds: float) -> Result:
    """Let everybody work for so long."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="atop-soak-"))
        stack.callback(shutil.rmtree, folder)
        path = folder / "store.atop"
        with Store(path) as store, store.transaction():
            store.pool("mails", "n", "sender").addItem(Mail(n=0.0, sender="", text="", tags=[]))
            store.pool("files", "id")
        keys = Keys(folder)
        with Command(path, "--listen", "127.0.0.1:0", *keys.options) as server:
            workers = _workers(path, server.url, keys)
            stack.callback(_kill, workers)
            processes = {name: each.pid for name, each in workers.items()}
            sampler = Sampler(path, {"server": server.process.pid, **processes})
            took = _watch(sampler, workers, seconds)
            done, failed = _end(workers)
        with Store(path) as store:
            check_store(store)
        return Result(took, done, failed, list(sampler.series.values()))


def _workers(path: Path, url: str, keys: Keys) -> dict[str, subprocess.Popen[str]]:
    remote = {"token": TOKEN, "ca": str(keys.ca)}
    options: dict[str, tuple[str, dict[str, Any]]] = {
        "client 1": (str(path), {"care": True}),
        "client 2": (str(path), {"optimistic": True, "durable": False}),
        "tls client": (url, {"spill": True, **remote}),
    }
    return {
        name: subprocess.Popen(
            [sys.executable, "-m", "tests.soak.work", place,
             json.dumps({"name": name, "care": False, "spill": False, **given})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for name, (place, given) in options.items()
    }  # fmt: skip


def _watch(
    sampler: Sampler, workers: dict[str, subprocess.Popen[str]], seconds: float
) -> float:
    begin = time.monotonic()
    every = max(_SOONEST, seconds / _SAMPLES)
    while (at := time.monotonic() - begin) < seconds:
        if any(worker.poll() is not None for worker in workers.values()):
            break
        sampler.look(at)
        time.sleep(every)
    return time.monotonic() - begin


def _end(workers: dict[str, subprocess.Popen[str]]) -> tuple[dict[str, dict[str, int]], list[str]]:
    for worker in workers.values():
        assert worker.stdin is not None
        worker.stdin.close()
        worker.stdin = None
    done, failed = {}, []
    for name, worker in workers.items():
        told, _ = worker.communicate(timeout=PATIENCE)
        answer = json.loads(told or "{}")
        done[name] = answer.get("done", {})
        failed += [f"{name}: {error}" for error in answer.get("failed", ["it was killed"])]
    return done, failed


def _kill(workers: dict[str, subprocess.Popen[str]]) -> None:
    for worker in workers.values():
        if worker.poll() is None:
            worker.kill()
            worker.communicate()
