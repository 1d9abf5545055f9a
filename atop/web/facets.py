"""Facets: the few values of an index, and how many rows each has.

From one key to the next the index is asked for what comes after it, so the cost depends on how many
values there are, not on how many rows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from atop.engine.base import ID_BYTES, INDEX, Range
from atop.index import Plan
from atop.keytext import typed
from atop.plain import shown
from atop.query import Bounds
from atop.web.asked import Filter
from atop.web.moment import Moment, PoolSeen
from atop.web.table import row_key

MOST = 30
STEP_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Facet:
    """The values of an index; ``complete`` if there are no more than these."""

    name: str
    values: tuple[tuple[Any, int], ...]
    complete: bool


def facet(moment: Moment, pool: PoolSeen, name: str) -> Facet:
    """The values of the index of that name, as far as a step goes.

    :raises NoSuchIndex: when there is none.
    """
    plan = pool.plan(name)
    values: list[tuple[Any, int]] = []
    everything, end = Bounds(plan), time.monotonic() + STEP_SECONDS
    low = everything.low
    while rows := moment.view.scan(INDEX, Range(low, everything.high, 1)):
        if len(values) == MOST or time.monotonic() > end:
            return Facet(name, tuple(values), False)
        value, low, count = _value(moment, plan, rows[0][0])
        values.append((value, count))
    return Facet(name, tuple(values), True)


def _value(moment: Moment, plan: Plan, row: bytes) -> tuple[Any, bytes, int]:
    """The key of a row, where the next key begins, and how many rows have it."""
    entry = row[:-ID_BYTES]
    after = entry + b"\xff" * (ID_BYTES + 1)
    return row_key((row, b""), plan), after, moment.view.count(entry, after)


def as_filter(name: str, value: Any) -> Filter:
    """The filter that leaves the rows with that value."""
    if value is None:
        return Filter(name, "empty")
    return Filter(name, "is", typed(value))


def in_words(value: Any) -> str:
    """A value for people."""
    return "none" if value is None else shown(value) or "\u201c\u201d"
