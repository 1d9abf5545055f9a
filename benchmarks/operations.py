"""What is measured: the rows of all tables."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.goals import (
    COMMITS,
    MEGABYTES,
    MICROSECONDS,
    MILLISECONDS,
    RATE,
    TIMES,
    Unit,
)
from benchmarks.plan import LARGE, MIDDLE, Sizes


class Operation(NamedTuple):
    """A figure of each size; ``walks`` if its cost is that of all items, whatever is wanted."""

    figure: str
    title: str
    unit: Unit
    walks: bool = False
    plotted: bool = True


OPERATIONS = (
    Operation("bulk", "insert all in one transaction", RATE),
    Operation("durable", "durable insert of one", MICROSECONDS),
    Operation("get_cold", "get by id, cold", RATE),
    Operation("get_warm", "get by id, warm", RATE),
    Operation("pages_cold", "50 from a random place of an index, cold", RATE),
    Operation("pages_warm", "50 from a random place of an index, warm", RATE),
    Operation("ids", "ids only, walk", RATE, walks=True),
    Operation("keys", "keys only, walk", RATE, walks=True),
    Operation("walk", "walk over everything in index order", RATE, walks=True),
    Operation("page_90", "page of 50 at 90 %", MICROSECONDS),
    Operation("between", "count of a range", MICROSECONDS),
    Operation("update_one", "durable update of one, of an indexed attribute", MICROSECONDS),
    Operation("update_many", "update of many in one transaction", RATE),
    Operation("delete", "delete of many in one transaction", RATE),
    Operation("index", "add an index to a full pool", RATE, walks=True),
    Operation("open", "open, after a clean close", MILLISECONDS),
    Operation("page_first", "first page of 50", MICROSECONDS, plotted=False),
    Operation("page_last", "last page of 50", MICROSECONDS, plotted=False),
    Operation("count", "how many there are", MICROSECONDS, plotted=False),
    Operation("position_first", "position of the first key", MICROSECONDS, plotted=False),
    Operation("position_last", "position of the last key", MICROSECONDS, plotted=False),
    Operation("size", "size on disk, logs apart", MEGABYTES, walks=True),
    Operation("size_logs", "size on disk with logs, before it is closed", MEGABYTES, walks=True,
              plotted=False),
)  # fmt: skip


def others(sizes: Sizes) -> list[Operation]:
    """What is measured in one way only; the figures have their whole names."""
    middle, large = f"_{MIDDLE}", f"_{LARGE}"
    return [
        Operation(f"crowd{middle}", f"durable inserts of one, {sizes.threads} threads", COMMITS),
        Operation(f"crowd_syncs{middle}", "the same: log syncs", TIMES),
        Operation("syncs", "syncs of a durable insert of one, as strace sees them", TIMES),
        Operation(f"write{middle}", "one synced write of the same bytes", MICROSECONDS),
        Operation(f"bulk_objects{middle}",
                  f"insert {sizes.middle:,} by SQLAlchemy's ``add_all()``", RATE),
        Operation(f"commit{middle}", "transactions of one, not waiting for the disk", COMMITS),
        Operation(f"commit_held{middle}", "the same while a snapshot is held", COMMITS),
        Operation("import", "import in a fresh interpreter", MILLISECONDS),
        Operation("recovery", f"open after a kill, with {sizes.log_megabytes} MB of log",
                  MILLISECONDS),
        Operation(f"build_peak{large}",
                  f"peak memory, insert of {sizes.large:,} in one transaction", MEGABYTES),
        Operation(f"walk_peak{large}", f"peak memory, walk over {sizes.large:,}", MEGABYTES),
    ]  # fmt: skip
