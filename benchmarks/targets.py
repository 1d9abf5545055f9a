"""What Atop must reach, as rows of figures that have goals."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contenders import BY_PICKLE
from benchmarks.goals import (
    COMMITS,
    MEGABYTES,
    MICROSECONDS,
    MILLISECONDS,
    MINE,
    RATE,
    TIMES,
    Goal,
    Row,
    times,
)
from benchmarks.operations import OPERATIONS
from benchmarks.plan import LARGE, MIDDLE, SMALL, Sizes

_SAME = 2.0


def targets(sizes: Sizes) -> list[Row]:
    """All of them, in the order in which they are shown."""
    middle, large = f"{sizes.middle:,} items", f"{sizes.large:,} items"
    return [
        _beside("bulk", f"insert {middle} in one transaction", MIDDLE,
                zodb=2.5, sqlalchemy=4, durus=6, objectbox=2, **{BY_PICKLE: 0.7}),
        Row(f"bulk_{MIDDLE}", "the same", RATE, (Goal(
            "at least 4 × sqlalchemy's ``add_all()``", 4, at_least=True,
            beside=("sqlalchemy", f"bulk_objects_{MIDDLE}"),
        ),)),
        _beside("durable", f"durable insert of one, {middle}", MIDDLE,
                zodb=5, objectbox=2, **{BY_PICKLE: 1}),
        Row(f"crowd_syncs_{MIDDLE}", f"log syncs, {sizes.threads} threads", TIMES,
            (Goal("fewer than 0.4", 0.4),)),
        _beside("get_cold", f"get by id, cold, {middle}", MIDDLE,
                zodb=5, objectbox=3, lmdb=0.5, **{BY_PICKLE: 1.5}),
        _beside("get_warm", f"get by id, warm, {middle}", MIDDLE, zodb=1, durus=10),
        _beside("pages_cold", f"50 of an index, cold, {middle}", MIDDLE,
                zodb=5, objectbox=4, lmdb=0.5, **{BY_PICKLE: 1.5}),
        _beside("pages_warm", f"50 of an index, warm, {middle}", MIDDLE, zodb=2),
        _beside("keys", f"keys only, walk, {middle}", MIDDLE, sqlite3=5),
        _beside("page_90", f"page of 50 at 90 %, {large}", LARGE, sqlite3=100),
        _beside("between", f"count of a range, {large}", LARGE, sqlite3=100),
        *_growth(sizes),
        Row(f"size_{MIDDLE}", f"size on disk, logs apart, {middle}", MEGABYTES, (
            Goal(f"at most 1.3 × {BY_PICKLE}", 1.3, beside=(BY_PICKLE, f"size_{MIDDLE}")),
        )),
        Row(f"build_peak_{LARGE}", f"peak memory, insert of {large} in one transaction", MEGABYTES,
            (Goal("under 600 MB", 600),)),
        Row(f"walk_peak_{LARGE}", f"peak memory, walk over {large}", MEGABYTES,
            (Goal("under 200 MB", 200),)),
        Row(f"durable_{MIDDLE}", f"durable insert of one, {middle}", MICROSECONDS,
            (Goal("at most 2 × one synced write", 2, beside=(MINE, f"write_{MIDDLE}")),)),
        Row(f"commit_held_{MIDDLE}", "transactions of one, beside a held snapshot", COMMITS,
            (Goal("at least 0.9 × without", 0.9, at_least=True,
                  beside=(MINE, f"commit_{MIDDLE}")),)),
        *_ends(sizes),
        Row(f"open_{LARGE}", f"open, {large}, after a clean close", MILLISECONDS,
            (Goal("under 60 ms", 0.060),)),
        Row("import", "import in a fresh interpreter", MILLISECONDS,
            (Goal("under 80 ms", 0.080),)),
    ]  # fmt: skip


def _beside(figure: str, title: str, size: str, **limits: float) -> Row:
    (unit,) = (each.unit for each in OPERATIONS if each.figure == figure)
    name = f"{figure}_{size}"
    return Row(name, title, unit, tuple(
        times(peer, name, limit) for peer, limit in limits.items()
    ))  # fmt: skip


def _growth(sizes: Sizes) -> Iterator[Row]:
    """What must cost the same however much there is."""
    words = f"under {_SAME:g} × at {sizes.small:,}"
    for each in OPERATIONS:
        if not each.walks:
            goal = Goal(words, _SAME, beside=(MINE, f"{each.figure}_{SMALL}"))
            title = f"{each.title}, {sizes.large:,} items"
            yield Row(f"{each.figure}_{LARGE}", title, each.unit, (goal,))


def _ends(sizes: Sizes) -> Iterator[Row]:
    for size, items in sizes.all().items():
        for figure, title in (("page", "last page of 50"), ("position", "position of the last")):
            goal = Goal("at most 1.5 × the first", 1.5, beside=(MINE, f"{figure}_first_{size}"))
            yield Row(f"{figure}_last_{size}", f"{title}, {items:,} items", MICROSECONDS, (goal,))
