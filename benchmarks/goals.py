"""What a row of figures is: what is measured, in which unit, and what Atop must reach."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.figures import Table, spread

MINE = "atop"


@dataclass(frozen=True)
class Goal:
    """``value`` must be at least, or at most, ``limit``.

    ``beside`` has the contender and the figure that it is a multiple of; ``None`` where it is the
    figure itself.
    """

    words: str
    limit: float
    at_least: bool = False
    beside: tuple[str, str] | None = None

    def value(self, table: Table, figure: str) -> float | None:
        """What was reached: a multiple of another's speed if `at_least`, else of its cost."""
        if self.beside is None:
            samples = table.samples(MINE, figure)
            return spread(samples)[1] if samples else None
        if self.at_least:
            return table.ratio(self.beside, (MINE, figure))
        return table.ratio((MINE, figure), self.beside)

    def met(self, value: float) -> bool:
        """Whether `value` will do."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Unit:
    """How a figure, in seconds or megabytes, is shown."""

    name: str
    scale: float
    a_second: bool = False

    def show(self, samples: list[float], *, quartiles: bool) -> str:
        """The median; with the quartiles, if asked for and there are several samples."""
        if not samples:
            return "–"
        shown = [self.scale / value if self.a_second else self.scale * value for value in samples]
        low, middle, high = map(_number, spread(shown))
        return f"{middle} ({low}–{high})" if quartiles and len(samples) > 1 else middle


@dataclass(frozen=True)
class Row:
    """One figure of all contenders."""

    figure: str
    title: str
    unit: Unit
    goals: tuple[Goal, ...] = ()


RATE = Unit("items/s", 1, a_second=True)
COMMITS = Unit("commits/s", 1, a_second=True)
MICROSECONDS = Unit("µs", 1e6)
MILLISECONDS = Unit("ms", 1e3)
MEGABYTES = Unit("MB", 1)
TIMES = Unit("a commit", 1)


def times(peer: str, figure: str, limit: float) -> Goal:
    """To be at least `limit` times as fast as `peer`, or as much smaller."""
    return Goal(f"at least {limit:g} × {peer}", limit, at_least=True, beside=(peer, figure))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
