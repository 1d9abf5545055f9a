"""How a store fares: figures, and plots of the commits of the last hour.

The store itself remembers when its commits were, so nothing has to be watched for a plot.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from atop.care import Stats, stats
from atop.engine.base import Engine
from atop.errors import SnapshotTooOld
from atop.store import Store

MINUTES = 60
_STEP = 60.0
WIDTH, HEIGHT = 300, 48


@dataclass(frozen=True, slots=True)
class Health:
    """``stats`` are the store's figures; ``minutes`` has the commits of each of the last minutes.

    The oldest minute comes first. ``rate`` is commits a second in the last full one.
    """

    stats: Stats
    minutes: Sequence[int]

    @property
    def rate(self) -> float:
        return self.minutes[-1] / _STEP

    @property
    def hit_rate(self) -> float | None:
        """The part of page look-ups that the page cache answered, in percent."""
        asked = self.stats.page_hits + self.stats.page_misses
        return 100 * self.stats.page_hits / asked if asked else None

    @property
    def bars(self) -> list[tuple[float, float, float, float]]:
        """A plot of the minutes: the place and size of each bar, in a box of WIDTH by HEIGHT."""
        most, width = max(1, *self.minutes), WIDTH / MINUTES
        return [
            (round(at * width, 1), round(HEIGHT - height, 1), round(width - 1, 1), round(height, 1))
            for at, count in enumerate(self.minutes)
            if (height := max(count and 1.5, HEIGHT * count / most))
        ]


def health(store: Store) -> Health:
    """How the store fares now."""
    return Health(stats(store), commits_by_minute(store.engine, time.time()))


def commits_by_minute(engine: Engine, now: float) -> list[int]:
    """How many commits were in each of the last minutes, as far as the store remembers."""
    last = engine.serial
    edges = [_serial_at(engine, now - _STEP * back, last) for back in range(MINUTES, -1, -1)]
    return [after - before for before, after in pairwise(edges)]


def _serial_at(engine: Engine, moment: float, last: int) -> int:
    """The serial of the last commit up to that time; of those that are not kept, the last one."""
    low, high = 0, last
    while low < high:
        middle = (low + high + 1) // 2
        if _is_later(engine, middle, moment):
            high = middle - 1
        else:
            low = middle
    return low


def _is_later(engine: Engine, serial: int, moment: float) -> bool:
    try:
        return engine.state_at(serial).time > moment
    except SnapshotTooOld:
        return False
