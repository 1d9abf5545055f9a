"""What a process that measures is made of: it answers calls with figures, until there are no more.

A call a line comes in, a line for each goes out, all in JSON. Figures are by name: seconds,
megabytes, or how many.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Protocol

Figures = dict[str, float]

_ENOUGH = 0.5


def timed(call: Callable[[], object]) -> float:
    """How many seconds `call` takes."""
    begun = perf_counter()
    call()
    return perf_counter() - begun


def often(call: Callable[[], object], repeat: int) -> float:
    """How many seconds `call` takes in the median of `repeat` times, or of fewer if it is slow."""
    samples: list[float] = []
    while len(samples) < repeat and sum(samples) < _ENOUGH:
        samples.append(timed(call))
    return median(samples)


def check(right: bool) -> None:
    """A figure for a wrong answer is worth nothing."""
    if not right:
        raise AssertionError("the contender gave a wrong answer")


def peak_megabytes() -> float:
    """The most memory that this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage() would count what the parent had when it forked
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


class Closable(Protocol):
    """A workbench, whose other methods are what it can be asked for."""

    def close(self) -> Figures: ...


def serve(workbench: Closable) -> None:
    """Answer calls until there are no more."""
    for line in sys.stdin:
        name, args = json.loads(line)
        gc.collect()
        measure: Callable[..., Any] = getattr(workbench, name)
        print(json.dumps(measure(**args)), flush=True)
    workbench.close()
