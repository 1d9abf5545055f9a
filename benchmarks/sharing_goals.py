"""The rows of the table of sharing: what is measured, and what Atop must reach."""

from __future__ import annotations

from benchmarks.contender import PAGE
from benchmarks.goals import (
    COMMITS,
    MEGABYTES,
    MICROSECONDS,
    MILLISECONDS,
    MINE,
    RATE,
    Goal,
    Row,
    times,
)
from benchmarks.sharing_measures import Sizes

ZEO, DURUS = "zeo", "durus"


def rows(sizes: Sizes) -> list[Row]:
    """All rows, in the order in which they are shown."""
    many = f"{sizes.clients} clients"
    return [
        Row("page", f"{PAGE} from a random place of an index, cold client", MICROSECONDS,
            _of_peers("page", 10)),
        Row("ahead", "the same, told ahead what will be read", MICROSECONDS),
        Row("get", "get by id, cold client", MICROSECONDS, (times(ZEO, "get", 1.5),)),
        Row("warm", f"get the same {PAGE} by id, each time in a new snapshot", RATE,
            _as_owner("warm", 0.95)),
        Row("warm_owner", "the same in the owner", RATE),
        Row("warm_outside", f"get the same {PAGE} by id, outside a snapshot", RATE,
            _as_owner("warm_outside", 0.95)),
        Row("warm_outside_owner", "the same in the owner", RATE),
        Row("again", f"read the same {PAGE} by an index, each time in a new snapshot", RATE),
        Row("again_owner", "the same in the owner", RATE),
        Row("commit", "transactions that add one, 1 client", COMMITS, _of_peers("commit", 3)),
        Row("commits", f"transactions that add one, {many}", COMMITS, _of_peers("commits", 3)),
        Row("bulk", f"insert {sizes.items:,} in one transaction", RATE, _as_owner("bulk", 0.5)),
        Row("bulk_owner", "the same in the owner", RATE),
        Row("seen", "from a commit's return until another client sees it", MILLISECONDS,
            (Goal("under 2 ms", 0.002),)),
        Row("outage", "from a kill of what serves until all are at work again", MILLISECONDS,
            (Goal("under 300 ms", 0.3),)),
        Row("outage_worst", f"the same, the worst of {sizes.kills} times", MILLISECONDS,
            (Goal("under 3 s", 3),)),
        Row("idle_memory", f"memory that {sizes.idle} idle clients cost what serves", MEGABYTES,
            (Goal("under 100 MB", 100),)),
        Row("page_alone", f"{PAGE} from a random place, cold client, before them", MICROSECONDS),
        Row("page_beside", "the same beside them", MICROSECONDS,
            (Goal("at least 0.9 × before them", 0.9, at_least=True, beside=(MINE, "page_alone")),)),
    ]  # fmt: skip


def _of_peers(figure: str, limit: float) -> tuple[Goal, ...]:
    return times(ZEO, figure, limit), times(DURUS, figure, limit)


def _as_owner(figure: str, limit: float) -> tuple[Goal, ...]:
    beside = (MINE, f"{figure}_owner")
    return (Goal(f"at least {limit:g} × in the owner", limit, at_least=True, beside=beside),)
