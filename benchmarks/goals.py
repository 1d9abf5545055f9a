"""The rows of the table: what is measured, in which unit, and what Atop must reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.figures import Table, spread
from benchmarks.rounds import Sizes

MINE = "atop"
PEER = "sqlite3"


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


def rows(sizes: Sizes) -> list[Row]:
    """All rows, in the order in which they are shown."""
    large = f"{sizes.large:,}"
    return [
        Row("bulk", f"insert {sizes.middle:,} in one transaction", RATE, _of_peer("bulk", 0.4)),
        Row("durable", "durable transaction that adds one", MICROSECONDS,
            (Goal("at most 2 × the write below", 2, beside=(MINE, "write")),)),
        Row("write", "one synced write of the same bytes", MICROSECONDS),
        Row("get_cold", "get by id, objects cold", RATE, _of_peer("get_cold", 0.9)),
        Row("get_warm", "get by id, again", RATE),
        Row("pages_cold", "50 from a place of an index, objects cold", RATE,
            _of_peer("pages_cold", 0.8)),
        Row("pages_warm", "50 from a place of an index, again", RATE),
        *_places("small", sizes.small, None),
        *_places("large", sizes.large, sizes.small),
        Row("open", f"open, {large} items, after a clean close", MILLISECONDS,
            (Goal("under 60 ms", 0.060),)),
        Row("import", "import in a fresh interpreter", MILLISECONDS,
            (Goal("under 80 ms", 0.080),)),
        Row("walk", f"walk over {large} by an index", RATE),
        Row("walk_peak", "the same: peak resident memory", MEGABYTES,
            (Goal("under 200 MB", 200),)),
        Row("build", f"insert {large} in one transaction", RATE),
        Row("build_peak", "the same: peak resident memory", MEGABYTES,
            (Goal("works with the default cache", float("inf")),)),
        Row("commit", "transactions of one, not waiting for the disk", COMMITS),
        Row("commit_held", "the same while a snapshot is held", COMMITS,
            (Goal("at least 0.9 × without", 0.9, at_least=True, beside=(MINE, "commit")),)),
    ]  # fmt: skip


def _places(size: str, items: int, smaller: int | None) -> Iterator[Row]:
    for figure, title in [
        ("page_first", "first page of 50"),
        ("page_last", "last page of 50"),
        ("count_first", "len(query)"),
        ("position_first", "position of the first key"),
        ("position_last", "position of the last key"),
    ]:
        goals: tuple[Goal, ...] = ()
        if figure.endswith("_last"):
            first = figure.replace("last", "first")
            goals = (Goal("at most 1.5 × the first", 1.5, beside=(MINE, f"{first}_{size}")),)
        elif smaller:
            words = f"at most 2 × at {smaller:,}"
            goals = (Goal(words, 2, beside=(MINE, f"{figure}_small")),)
        yield Row(f"{figure}_{size}", f"{title}, {items:,} items", MICROSECONDS, goals)


def _of_peer(figure: str, limit: float) -> tuple[Goal, ...]:
    return (times(PEER, figure, limit),)


def times(peer: str, figure: str, limit: float) -> Goal:
    """To be at least `limit` times as fast as `peer`."""
    return Goal(f"at least {limit:g} × {peer}", limit, at_least=True, beside=(peer, figure))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
