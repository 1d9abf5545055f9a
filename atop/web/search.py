"""Finding the rows that are asked for: by an index as far as it goes, then by looking.

A range of the index that is sorted by costs the same anywhere. An equality in another index gives
its few items, which are then sorted. All else is looked for row by row, in bounded time; the page
says how far that came, and goes on when asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from atop.engine.base import ID_BYTES, Range
from atop.errors import ValueRefused
from atop.index import Plan
from atop.query import Bounds
from atop.web.asked import Asked, Filter
from atop.web.filters import matcher
from atop.web.moment import Moment, PoolSeen, Seen
from atop.web.table import (
    Line,
    Page,
    Rows,
    bounds_of,
    find_columns,
    make_lines,
    typed_key,
)

COLUMNS_SHOWN = 12
STEP_SECONDS = 0.2
GATHERED = 10_000
_LOOKED_AT = 50
_BLOCK = 500


class Search:
    """What is asked for, at one moment.

    :raises NoSuchPool: when there is no such pool.
    :raises NoSuchIndex: when it has no such index.
    :raises ValueRefused: for a key that the index cannot have.
    """

    def __init__(self, moment: Moment, asked: Asked) -> None:
        self.moment = moment
        self.asked = asked
        self.pool = moment.pool(asked.pool)
        self.plan = _plan(self.pool, asked)
        self.bounds = bounds_of(moment, self.plan, asked)
        self.filters = [each for each in asked.filters if not _narrow(moment, self.bounds, each)]
        self._rows = Rows(moment, self.bounds, asked.backwards)
        members = _gather(moment, self.pool, self.filters)
        self._found = None if members is None else self._sorted(members)

    def page(self, seconds: float = STEP_SECONDS) -> Page:
        """The page that is asked for; looking through rows ends after so many `seconds`."""
        asked, looked = self.asked, None
        if self.looks:
            lines, looked = self._look(seconds)
        else:
            lines = self._lines(asked.row - 1, asked.limit)
        examples = [line.seen for line in lines] or _examples(self.moment, self.pool)
        names = find_columns(self.plan, examples)
        return Page(asked, self.pool, self.plan, lines, len(self), self.columns(names), names,
                    self.moment.serial, looked)

    def columns(self, names: Sequence[str]) -> Sequence[str]:
        """Those that are asked for, or the first of `names`."""
        return self.asked.columns or tuple(names[:COLUMNS_SHOWN])

    def blocks(self) -> Iterator[list[Line]]:
        """All rows, some at a time, however many there are."""
        matches = matcher(self.filters, self.pool, self.moment)
        at = 0
        while block := self._lines(at, _BLOCK):
            at += len(block)
            yield [line for line in block if not self.looks or (line.seen and matches(line.seen))]

    @property
    def looks(self) -> bool:
        """Whether rows have to be looked at, since no index has what is asked for."""
        return bool(self.filters) and self._found is None

    def __len__(self) -> int:
        """How many rows there are; where rows have to be looked at, how many that will be."""
        return len(self._rows) if self._found is None else len(self._found)

    def _lines(self, first: int, limit: int) -> list[Line]:
        if self._found is None:
            rows = self._rows.page(first, limit)
        else:
            rows = [(row, b"") for row in self._found[first : first + limit]]
        return make_lines(self.moment, self.plan, rows, first + 1)

    def _look(self, seconds: float) -> tuple[list[Line], int]:
        """Look at rows until there are enough or time is up; answers how many there were."""
        matches = matcher(self.filters, self.pool, self.moment)
        found: list[Line] = []
        at, end = self.asked.after, time.monotonic() + seconds
        while block := self._lines(at, _BLOCK):
            for line in block:
                at += 1
                if line.seen is not None and matches(line.seen):
                    found.append(line)
                    if len(found) == self.asked.limit:
                        return found, at
            if time.monotonic() > end:
                break
        return found, at

    def _sorted(self, members: Sequence[bytes]) -> list[bytes]:
        """The rows in the range, of those members that have all that is asked for."""
        matches = matcher(self.filters, self.pool, self.moment)
        low, high = self.bounds.low, self.bounds.high
        rows = [
            entry + key
            for key, seen in zip(members, self.moment.items(members), strict=True)
            if seen is not None and matches(seen)
            for entry in seen.entries if low <= entry + key < high
        ]
        return sorted(rows, reverse=self.asked.backwards)


def _plan(pool: PoolSeen, asked: Asked) -> Plan:
    """What is sorted by: what is asked for, else the index of an equality."""
    if asked.index:
        return pool.plan(asked.index)
    for each in asked.filters:
        if each.kind == "is":
            for plan in pool.plans:
                if _is_of(plan, each.column):
                    return plan
    return pool.once


def _is_of(plan: Plan, column: str) -> bool:
    """Whether the index has what is in that column."""
    return column == plan.index.name or (column,) == plan.index.paths


def _narrow(moment: Moment, bounds: Bounds, asked: Filter) -> bool:
    """Narrow the range that is read to an equality of its index; answers whether it is one."""
    if asked.kind != "is" or not _is_of(bounds.plan, asked.column):
        return False
    key = typed_key(moment, bounds.plan, asked.text)
    bounds.at_least(key)
    bounds.at_most(key)
    return True


def _gather(moment: Moment, pool: PoolSeen, filters: Sequence[Filter]) -> list[bytes] | None:
    """The ids that an equality in any index leaves, if these are few."""
    for asked in filters:
        for plan in pool.plans:
            bounds = Bounds(plan)
            try:
                narrowed = _narrow(moment, bounds, asked)
            except ValueRefused:
                continue
            if narrowed and moment.view.count(bounds.low, bounds.high) <= GATHERED:
                rows = moment.view.keys(Range(bounds.low, bounds.high, GATHERED))
                return [row[-ID_BYTES:] for row in rows]
    return None


def _examples(moment: Moment, pool: PoolSeen) -> list[Seen | None]:
    rows = Rows(moment, Bounds(pool.once), False).page(0, _LOOKED_AT)
    return [line.seen for line in make_lines(moment, pool.once, rows, 1)]
