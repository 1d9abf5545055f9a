"""A view of the tables: the committed present, and what differs from it.

What a writer is about to do, what a savepoint adds to it, and what a snapshot still sees are all
the same thing: a small sorted set of differences, merged into what is read below. Each difference
knows whether the view below has its key, and so what it does to a count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterator, Sequence
from typing import TypeVar, overload

from atop.engine.base import (
    INDEX,
    ITEMS,
    TABLES,
    Changes,
    Delta,
    Engine,
    JoinedRow,
    Row,
    View,
    join_rows,
)
from atop.errors import SnapshotTooOld

T = TypeVar("T")

_CHUNK = 512
_ENTRY = 130  # bytes that Python needs for a difference beside its key and value


class Differences:
    """The differences of one table: a dict, whose keys are put in order when that is asked for.

    ``entries`` maps a key to its value (``None`` where the key is hidden) and whether the view
    below has the key.
    """

    def __init__(self) -> None:
        self.entries: dict[bytes, tuple[bytes | None, bool]] = {}
        self.size = 0
        self._touched: list[bytes] = []
        self._chunks: list[list[bytes]] = []
        self._ends: list[bytes] = []
        self._effects: list[int | None] = []
        self._arranging = False

    def change(self, key: bytes, value: bytes | None, existed: bool) -> None:
        """Give `key` a value, or hide it; `existed`: does the view that is changed have it?"""
        self._touched.append(key)
        known = self.entries.get(key)
        below = existed if known is None else known[1]
        if value is None and not below:
            del self.entries[key]
        else:
            self.entries[key] = (value, below)
            self.size += _ENTRY + len(key) + (len(value) if value else 0)

    def insert(self, pairs: dict[bytes, tuple[bytes | None, bool]]) -> None:
        """Take over differences, as in ``entries``, from the view that is changed."""
        if not self.entries.keys().isdisjoint(pairs):
            for key, (value, existed) in pairs.items():
                self.change(key, value, existed)
            return
        self._touched += pairs
        self.entries.update(pairs)
        self.size += sum(map(len, pairs)) + _ENTRY * len(pairs)
        self.size += sum(len(value) for value, _ in pairs.values() if value)

    def keep(self, key: bytes, value: bytes | None, exists: bool) -> None:
        """The view below has changed `key`: keep showing `value`, or what was shown before."""
        self._touched.append(key)
        known = self.entries.get(key)
        shown = value if known is None else known[0]
        if shown is None and not exists:
            self.entries.pop(key, None)
        else:
            self.entries[key] = (shown, exists)

    def effect(self, low: bytes | None, high: bytes | None) -> int:
        """By how many keys the range has more than it has below."""
        if low is not None and high is not None and low >= high:
            return 0
        self._arrange()
        first, start = self._locate(low)
        last, stop = self._locate(high, len(self._chunks))
        if first == last:
            return self._sum(first, start, stop) if first < len(self._chunks) else 0
        inner = sum(self._effect(number) for number in range(first + 1, last))
        tail = self._sum(last, 0, stop) if last < len(self._chunks) else 0
        return self._sum(first, start, None) + inner + tail

    def walk(self, low: bytes | None, high: bytes | None) -> Iterator[tuple[bytes, bytes | None]]:
        """The differences of a range in order: key, and value or ``None``."""
        self._arrange()
        number, start = self._locate(low)
        for chunk in self._chunks[number:]:
            for key in chunk[start:]:
                if high is not None and key >= high:
                    return
                yield key, self.entries[key][0]
            start = 0

    def keys(self, low: bytes | None, high: bytes | None) -> _Keys:
        """The keys of a range, as a sequence to search in."""
        self._arrange()
        return _Keys(self._chunks, self._locate(low), self._locate(high, len(self._chunks)))

    def sorted(self) -> Changes:
        """All differences in order of key."""
        keys = sorted(self.entries)
        pairs = list(map(self.entries.__getitem__, keys))
        return Changes(keys, pairs, not any(existed for _, existed in pairs))

    def total(self) -> int:
        """By how many keys the table has more than it has below."""
        return sum((value is not None) - existed for value, existed in self.entries.values())

    def _locate(self, key: bytes | None, default: int = 0) -> tuple[int, int]:
        if key is None:
            return default, 0
        number = bisect_left(self._ends, key)
        return number, bisect_left(self._chunks[number], key) if number < len(self._ends) else 0

    def _sum(self, number: int, start: int, stop: int | None) -> int:
        entries = self.entries
        total = 0
        for key in self._chunks[number][start:stop]:
            value, existed = entries[key]
            total += (value is not None) - existed
        return total

    def _effect(self, number: int) -> int:
        known = self._effects[number]
        if known is None:
            known = self._effects[number] = self._sum(number, 0, None)
        return known

    def _arrange(self) -> None:
        if not self._touched:
            return
        interrupted, self._arranging = self._arranging, True
        if interrupted or len(self._touched) * 8 > len(self.entries):
            self._rebuild()
        else:
            for key in self._touched:
                self._place(key)
        self._touched = []
        self._arranging = False

    def _rebuild(self) -> None:
        keys = sorted(self.entries)
        self._chunks = [keys[at : at + _CHUNK] for at in range(0, len(keys), _CHUNK)]
        self._ends = [chunk[-1] for chunk in self._chunks]
        self._effects = [None] * len(self._chunks)

    def _place(self, key: bytes) -> None:
        number = min(bisect_left(self._ends, key), len(self._ends) - 1)
        chunk = self._chunks[number]
        at = bisect_left(chunk, key)
        placed = at < len(chunk) and chunk[at] == key
        if placed and key not in self.entries:
            del chunk[at]
        elif not placed and key in self.entries:
            chunk.insert(at, key)
        self._refresh(number)

    def _refresh(self, number: int) -> None:
        chunk = self._chunks[number]
        parts = [chunk] if len(chunk) <= 2 * _CHUNK else [chunk[:_CHUNK], chunk[_CHUNK:]]
        if not chunk and len(self._chunks) > 1:
            parts = []
        self._chunks[number : number + 1] = parts
        self._ends[number : number + 1] = [part[-1] if part else b"" for part in parts]
        self._effects[number : number + 1] = [None] * len(parts)


class _Keys(Sequence[bytes]):
    """A stretch of chunked keys, to be bisected without copying them."""

    def __init__(
        self, chunks: list[list[bytes]], start: tuple[int, int], stop: tuple[int, int]
    ) -> None:
        sizes = [len(chunk) for chunk in chunks[start[0] : stop[0] + 1]]
        if sizes and stop[0] < len(chunks):
            sizes[-1] = stop[1]
        if sizes:
            sizes[0] -= start[1]
        self._chunks, self._start, self._sizes = chunks, start, sizes

    def __len__(self) -> int:
        return sum(self._sizes)

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | Sequence[bytes]:
        assert isinstance(at, int)
        for number, size in enumerate(self._sizes):
            if at < size:
                first = self._start[1] if number == 0 else 0
                return self._chunks[self._start[0] + number][first + at]
            at -= size
        raise IndexError(at)


class Overlay:
    """Differences on a view; itself a view. Changes go in, and nothing below is touched."""

    def __init__(self, below: View) -> None:
        self.below = below
        self.tables = {table: Differences() for table in TABLES}

    @property
    def size(self) -> int:
        """About how many bytes the differences hold."""
        return sum(table.size for table in self.tables.values())

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
        rest = iter(self.below.getmany(table, [key for key in keys if key not in entries]))
        return [entries[key][0] if key in entries else next(rest) for key in keys]

    def count(self, low: bytes | None, high: bytes | None) -> int:
        return self.below.count(low, high) + self.tables[INDEX].effect(low, high)

    def scan(
        self,
        table: str,
        low: bytes | None,
        high: bytes | None,
        limit: int,
        skip: int = 0,
        reverse: bool = False,
    ) -> list[Row]:
        if next(self.tables[table].walk(low, high), None) is None:
            return self.below.scan(table, low, high, limit, skip, reverse)
        if reverse:
            stop = max(0, self.count(low, high) - skip)
            start = max(0, stop - limit)
            return self.scan(table, low, high, stop - start, start)[::-1]
        if not skip:
            return self._merged(table, low, high, limit)
        return self._skipped(table, low, high, limit, skip)

    def join(
        self,
        low: bytes | None,
        high: bytes | None,
        limit: int,
        skip: int,
        reverse: bool,
        known: Container[bytes],
    ) -> list[JoinedRow]:
        rows = self.scan(INDEX, low, high, limit, skip, reverse)
        return join_rows(rows, known, lambda ids: self.getmany(ITEMS, ids))

    def _merged(
        self, table: str, low: bytes | None, high: bytes | None, limit: int, skip: int = 0
    ) -> list[Row]:
        rows: list[Row] = []
        while len(rows) < limit:
            wanted = limit - len(rows)
            page = self.below.scan(table, low, high, wanted, skip)
            more = len(page) == wanted
            end = page[-1][0] + b"\0" if more else high
            rows += self._blend(table, page, page[0][0] if skip and page else low, end, wanted)
            if not more:
                break
            low, skip = end, 0
        return rows

    def _blend(
        self, table: str, page: list[Row], low: bytes | None, high: bytes | None, limit: int
    ) -> list[Row]:
        rows: dict[bytes, bytes] = dict(page)
        shown = 0
        for key, value in self.tables[table].walk(low, high):
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
                shown += 1
                if shown == limit:
                    break
        return sorted(rows.items())[:limit]

    def _skipped(
        self, table: str, low: bytes | None, high: bytes | None, limit: int, skip: int
    ) -> list[Row]:
        """Find the last difference that at most `skip` rows stand before, and go on from there."""
        keys = self.tables[table].keys(low, high)
        at = _last(len(keys), lambda number: self.count(low, keys[number]) <= skip)
        if at < 0:
            return self._merged(table, low, high, limit, skip)
        key = keys[at]
        rest = skip - self.count(low, key)
        after = key + b"\0"
        value = self.tables[table].entries[key][0]
        if value is None:
            return self._merged(table, after, high, limit, rest)
        if rest:
            return self._merged(table, after, high, limit, rest - 1)
        return [(key, value), *self._merged(table, after, high, limit - 1)][:limit]


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


class Present:
    """The committed present of an engine; each read is of its own moment.

    ``serial`` is that of the newest commit that any read has seen.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.serial = engine.state.serial

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._seen(self._engine.get(table, key))

    def getmany(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._seen(self._engine.getmany(table, keys))

    def count(self, low: bytes | None, high: bytes | None) -> int:
        return self._seen(self._engine.count(low, high))

    def scan(
        self,
        table: str,
        low: bytes | None,
        high: bytes | None,
        limit: int,
        skip: int = 0,
        reverse: bool = False,
    ) -> list[Row]:
        return self._seen(self._engine.scan(table, low, high, limit, skip, reverse))

    def join(
        self,
        low: bytes | None,
        high: bytes | None,
        limit: int,
        skip: int,
        reverse: bool,
        known: Container[bytes],
    ) -> list[JoinedRow]:
        return self._seen(self._engine.join(low, high, limit, skip, reverse, known))

    def _seen(self, answer: tuple[int, T]) -> T:
        self.serial = max(self.serial, answer[0])
        return answer[1]


class Snapshot:
    """The tables as they were at one commit, whatever is committed since.

    It holds nothing up: it merges the before-images of later commits into what it reads. An
    answer put together from several reads is given only if no commit came between them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.state = engine.state
        self._present = Present(engine)
        self._overlay = Overlay(self._present)
        self._known = self.state.serial

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._stable(lambda: self._overlay.get(table, key))

    def getmany(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._stable(lambda: self._overlay.getmany(table, keys))

    def count(self, low: bytes | None, high: bytes | None) -> int:
        return self._stable(lambda: self._overlay.count(low, high))

    def scan(
        self,
        table: str,
        low: bytes | None,
        high: bytes | None,
        limit: int,
        skip: int = 0,
        reverse: bool = False,
    ) -> list[Row]:
        return self._stable(lambda: self._overlay.scan(table, low, high, limit, skip, reverse))

    def join(
        self,
        low: bytes | None,
        high: bytes | None,
        limit: int,
        skip: int,
        reverse: bool,
        known: Container[bytes],
    ) -> list[JoinedRow]:
        return self._stable(lambda: self._overlay.join(low, high, limit, skip, reverse, known))

    def _stable(self, read: Callable[[], T]) -> T:
        while True:
            answer = read()
            if self._present.serial == self._known:
                return answer
            for delta in self._engine.commits(self._known):
                self._overlay.keep(delta)
                self._known = delta.serial
            self._present.serial = self._known


class Nothing:
    """The view below an engine that has nothing below: empty tables."""

    def get(self, table: str, key: bytes) -> bytes | None:
        return None

    def getmany(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return [None] * len(keys)

    def count(self, low: bytes | None, high: bytes | None) -> int:
        return 0

    def scan(
        self,
        table: str,
        low: bytes | None,
        high: bytes | None,
        limit: int,
        skip: int = 0,
        reverse: bool = False,
    ) -> list[Row]:
        return []

    def join(
        self,
        low: bytes | None,
        high: bytes | None,
        limit: int,
        skip: int,
        reverse: bool,
        known: Container[bytes],
    ) -> list[JoinedRow]:
        return []
