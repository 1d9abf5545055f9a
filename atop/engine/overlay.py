"""A view of the tables: what stands below, and what differs from it.

What a writer is about to do, what a savepoint adds to it, and what a snapshot still sees are all
the same thing: a small sorted set of differences, merged into what is read below. Each difference
knows whether the view below has its key, and so what it does to a count.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from atop.engine.base import (
    INDEX,
    ITEMS,
    TABLES,
    Changes,
    Delta,
    JoinedRow,
    Range,
    Row,
    View,
    join_rows,
    suffix,
)
from atop.engine.differences import Differences
from atop.errors import SnapshotTooOld


class Overlay:
    """Differences on a view; itself a view. Changes go in, and nothing below is touched."""

    def __init__(self, below: View) -> None:
        self.below = below
        self.tables = {table: Differences() for table in TABLES}

    @property
    def size(self) -> int:
        """About how many bytes the differences hold."""
        return sum([table.size for table in self.tables.values()])

    def put(self, table: str, key: bytes, value: bytes, existed: bool) -> None:
        """Give `key` a value; `existed` tells whether this view has one already."""
        self.tables[table].change(key, value, existed)

    def put_all(self, table: str, pairs: dict[bytes, tuple[bytes | None, bool]]) -> None:
        """Give many keys a value each; with it stands whether this view has the key already."""
        self.tables[table].insert(pairs)

    def delete(self, table: str, key: bytes) -> None:
        """Delete `key`, which this view has."""
        self.tables[table].change(key, None, True)

    def merge(self, above: Overlay) -> None:
        """Take over what `above`, an overlay on this one, has changed."""
        for name, table in above.tables.items():
            change = self.tables[name].change
            for key, (value, existed) in table.entries.items():
                change(key, value, existed)

    def keep(self, delta: Delta) -> None:
        """Go on showing what was there before `delta`, which the view below now has.

        :raises SnapshotTooOld: when `delta` does not tell.
        """
        if delta.before is None:
            raise SnapshotTooOld("a commit too large to keep was made since; begin anew")
        for name, images in delta.before.items():
            for key, value, exists in images:
                self.tables[name].keep(key, value, exists)

    def differs(self, table: str, key: bytes) -> bool:
        """Whether this view and the one below differ in what they have at `key`."""
        return key in self.tables[table].entries

    def changes(self) -> dict[str, Changes]:
        """All differences, by table and in order of key."""
        return {name: table.sorted() for name, table in self.tables.items() if table.entries}

    def drain(self) -> dict[str, Changes]:
        """The same, and the overlay is empty afterwards."""
        changes = self.changes()
        self.tables = {table: Differences() for table in TABLES}
        return changes

    def totals(self) -> dict[str, int]:
        """By how many rows each table has more than it has below."""
        return {name: table.total() for name, table in self.tables.items()}

    def get(self, table: str, key: bytes) -> bytes | None:
        entry = self.tables[table].entries.get(key)
        return self.below.get(table, key) if entry is None else entry[0]

    def getmany(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        entries = self.tables[table].entries
        if entries.keys().isdisjoint(keys):
            return self.below.getmany(table, keys)
        below = [key for key in keys if key not in entries]
        rest = iter(self.below.getmany(table, below) if below else ())
        return [entries[key][0] if key in entries else next(rest) for key in keys]

    def count(self, low: bytes | None, high: bytes | None) -> int:
        return self.below.count(low, high) + self.tables[INDEX].effect(low, high)

    def scan(self, table: str, within: Range) -> list[Row]:
        if next(self.tables[table].walk(within.low, within.high), None) is None:
            return self.below.scan(table, within)
        if within.reverse:
            return self.scan(table, self._forwards(within))[::-1]
        return self._skipped(table, within) if within.skip else self._merged(table, within)

    def keys(self, within: Range) -> list[bytes]:
        if next(self.tables[INDEX].walk(within.low, within.high), None) is None:
            return self.below.keys(within)
        return [key for key, _ in self.scan(INDEX, within)]

    def join(self, within: Range, known: Container[bytes]) -> list[JoinedRow]:
        if next(self.tables[INDEX].walk(within.low, within.high), None) is not None:
            keys = self.keys(within)
            return join_rows(keys, known, lambda ids: self.getmany(ITEMS, ids))
        joined = self.below.join(within, known)
        entries = self.tables[ITEMS].entries
        if not entries:
            return joined
        return [
            (key, entries[ident][0] if ident in entries and ident not in known else record)
            for ident, (key, record) in ((suffix(row[0]), row) for row in joined)
        ]

    def _forwards(self, within: Range) -> Range:
        """The same rows, counted from the other end."""
        stop = max(0, self.count(within.low, within.high) - within.skip)
        start = max(0, stop - within.limit)
        return Range(within.low, within.high, stop - start, start)

    def _merged(self, table: str, within: Range) -> list[Row]:
        rows: list[Row] = []
        while within.limit > 0:
            page = self.below.scan(table, within)
            more = len(page) == within.limit
            low = page[0][0] if within.skip and page else within.low
            end = page[-1][0] + b"\0" if more else within.high
            blend = self._blend(table, page, Range(low, end, within.limit))
            rows += blend
            if not more:
                break
            within = Range(end, within.high, within.limit - len(blend))
        return rows

    def _blend(self, table: str, page: list[Row], within: Range) -> list[Row]:
        rows: dict[bytes, bytes] = dict(page)
        shown = 0
        for key, value in self.tables[table].walk(within.low, within.high):
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
                shown += 1
                if shown == within.limit:
                    break
        return sorted(rows.items())[: within.limit]

    def _skipped(self, table: str, within: Range) -> list[Row]:
        """Find the last difference that at most `skip` rows stand before, and go on from there."""
        low, high, limit, skip, _ = within
        keys = self.tables[table].keys(low, high)
        at = _last(len(keys), lambda number: self.count(low, keys[number]) <= skip)
        if at < 0:
            return self._merged(table, within)
        key = keys[at]
        rest = max(0, skip - self.count(low, key))  # below, rows may just have been added
        after = within.after(key)
        value = self.tables[table].entries[key][0]
        if value is None:
            return self._merged(table, after._replace(skip=rest))
        if rest:
            return self._merged(table, after._replace(skip=rest - 1))
        return [(key, value), *self._merged(table, after._replace(limit=limit - 1))][:limit]


def _last(count: int, holds: Callable[[int], bool]) -> int:
    """The last of ``range(count)`` for which `holds`, which holds up to some point; or -1."""
    low, high = -1, count
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


class Nothing:
    """The view below an engine that has nothing below: empty tables."""

    def get(self, table: str, key: bytes) -> bytes | None:
        return None

    def getmany(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return [None] * len(keys)

    def count(self, low: bytes | None, high: bytes | None) -> int:
        return 0

    def scan(self, table: str, within: Range) -> list[Row]:
        return []

    def keys(self, within: Range) -> list[bytes]:
        return []

    def join(self, within: Range, known: Container[bytes]) -> list[JoinedRow]:
        return []
