"""Berkeley DB's tables: what is read from them, and what is written in a transaction.

Nothing here knows of latches, turns or failures. Reads take no transaction: without the lock
subsystem they see the pages as they are, so nobody may read while somebody else writes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice, takewhile
from typing import Any, Concatenate, ParamSpec, TypeVar

from berkeleydb import db

from atop.engine import history
from atop.engine.base import (
    INDEX,
    ITEMS,
    MAX_BYTES,
    Changes,
    Commit,
    Difference,
    JoinedRow,
    Range,
    Row,
    State,
    join_rows,
)
from atop.engine.environment import COMMITS
from atop.engine.history import Image, Images
from atop.errors import DamagedStore, ValueRefused

P = ParamSpec("P")
T = TypeVar("T")
TableChanges = Mapping[str, Sequence[Difference]]

_TRIMMED_AT_ONCE = 1000


class Tables:
    """The tables of an environment; ``gets`` has for each a function from a key to its value."""

    def __init__(self, path: str, handles: dict[str, Any]) -> None:
        self._path = path
        self._handles = handles
        self._oldest: int | None = None
        self.gets: dict[str, Callable[[bytes], bytes | None]] = {
            name: handle.get for name, handle in handles.items()
        }

    def getmany(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        get = self.gets[table]
        return [get(key) for key in keys]

    def count(self, low: bytes | None, high: bytes | None) -> int:
        return _walk(self._handles[INDEX].cursor(), _count, low, high)

    def scan(self, table: str, within: Range) -> list[Row]:
        assert not within.skip or table == INDEX, "only the index has record numbers"
        if within.empty:
            return []
        way = _backwards if within.reverse else _forwards
        return _walk(self._handles[table].cursor(), way, within)

    def join(self, within: Range, known: Container[bytes]) -> list[JoinedRow]:
        rows = self.scan(INDEX, within)
        return join_rows(rows, known, lambda ids: self.getmany(ITEMS, ids))

    def write(self, txn: Any, changes: TableChanges) -> Images:
        """Write differences; answers what was there before.

        :raises DamagedStore: when a key is not there that should be.
        :raises ValueRefused: for a value of 2 GiB or more.
        """
        return {
            name: self._write(txn, name, Changes.of(changed)) for name, changed in changes.items()
        }

    def _write(self, txn: Any, name: str, changes: Changes) -> Image:
        handle = self._handles[name]
        before = {} if changes.inserting else {
            key: self._before(handle, name, key) for key, _, existed in changes if existed
        }
        _walk(handle.cursor(txn), _put_all, changes)
        if not changes.inserting:
            for key, value, _ in changes:
                if value is None:
                    handle.delete(key, txn)
        return Image(changes, before)

    def _before(self, handle: Any, name: str, key: bytes) -> bytes:
        value: bytes | None = handle.get(key)
        if value is None:
            raise DamagedStore(
                f"{self._path}: table {name!r} has lost the key {key.hex()}: run `atopdb verify`",
                self._path,
            )
        return value

    def write_commit(self, txn: Any, commit: Commit, images: Images | None, before: int) -> int:
        """Write the commit's own row, and trim old ones; answers how many bytes all ever had.

        `before` is how many the rows before it had, and `images` is ``None`` if they are not known.
        """
        serial = commit.state.serial
        row = history.encode(commit.state, commit.note, images, before)
        total = before + len(row)
        if self._oldest is None or total - self._oldest > history.KEPT_BYTES:
            self._oldest = _walk(self._handles[COMMITS].cursor(txn), _trim, total)
        self._handles[COMMITS].put(serial.to_bytes(8, "big"), row, txn)
        return total

    def last_commit(self) -> tuple[State, int]:
        """The state that the last commit left, and how many bytes all rows of commits ever had."""
        row = _walk(self._handles[COMMITS].cursor(), _last_header)
        if not row:
            return State(), 0
        return history.decode_state(int.from_bytes(row[0], "big"), row[1])

    def state_at(self, serial: int) -> State | None:
        """What the commit `serial` left, if its row is kept."""
        get = self._handles[COMMITS].get
        row = get(serial.to_bytes(8, "big"), dlen=history.HEADER.size, doff=0)
        return history.decode_state(serial, row)[0] if row else None

    def commits(self, since: int, last: int) -> list[tuple[int, bytes]]:
        """The rows, with their serials, of the commits after `since` up to `last`."""
        first = (since + 1).to_bytes(8, "big")
        rows = self.scan(COMMITS, Range(low=first, limit=last - since))
        return [(int.from_bytes(key, "big"), row) for key, row in rows]


def _walk(
    cursor: Any, step: Callable[Concatenate[Any, P], T], /, *args: P.args, **kw: P.kwargs
) -> T:
    """What `step` finds with the cursor, which is closed; the first error counts, not the last."""
    try:
        found = step(cursor, *args, **kw)
    except BaseException:
        with suppress(db.DBError):
            cursor.close()
        raise
    cursor.close()
    return found


def _last_header(cursor: Any) -> Row | None:
    row: Row | None = cursor.last(dlen=history.HEADER.size, doff=0)
    return row


def _trim(cursor: Any, total: int) -> int | None:
    """Drop the oldest commits until what is left is within bounds, or a later one does it.

    Answers how many bytes all commits up to the oldest one left ever had, where that is known.
    """
    row = cursor.first(dlen=history.HEADER.size, doff=0)
    for _ in range(_TRIMMED_AT_ONCE):
        oldest = history.decode_state(0, row[1])[1] if row else None
        if oldest is None or total - oldest <= history.KEPT_BYTES:
            return oldest
        cursor.delete()
        row = cursor.next(dlen=history.HEADER.size, doff=0)
    return None


def _count(cursor: Any, low: bytes | None, high: bytes | None) -> int:
    first = 0 if low is None else _rank(cursor, low)
    return max(0, _rank(cursor, high) - first)


def _put_all(cursor: Any, changes: Changes) -> None:
    """Put what has a value. One cursor for all of them costs less than a put each."""
    put, first = cursor.put, db.DB_KEYFIRST
    for key, (value, _) in zip(changes.keys, changes.pairs, strict=True):
        if value is not None:
            if len(value) > MAX_BYTES:
                raise ValueRefused(f"{len(value):,} bytes are too many for one record")
            put(key, value, first)


def _rank(cursor: Any, key: bytes | None) -> int:
    """How many keys stand before `key`; ``None`` for the end of the table."""
    if key is not None and cursor.set_range(key):
        return int(cursor.get_recno()) - 1
    return int(cursor.get_recno()) if cursor.last() else 0


def _forwards(cursor: Any, within: Range) -> list[Row]:
    low, high, limit, skip, _ = within
    row = cursor.first() if low is None else cursor.set_range(low)
    if row and skip > 0:
        row = cursor.set_recno(cursor.get_recno() + skip)
    rows = _following(row, cursor.next, limit)
    return list(rows if high is None else takewhile(lambda row: row[0] < high, rows))


def _backwards(cursor: Any, within: Range) -> list[Row]:
    low, high, limit, skip, _ = within
    found = None if high is None else cursor.set_range(high)
    row = cursor.prev() if found else cursor.last()
    if row and skip > 0:
        place = cursor.get_recno() - skip
        row = cursor.set_recno(place) if place > 0 else None
    rows = _following(row, cursor.prev, limit)
    return list(rows if low is None else takewhile(lambda row: row[0] >= low, rows))


def _following(row: Row | None, step: Callable[[], Row | None], limit: int) -> Iterator[Row]:
    """At most `limit` rows, of which `row` is the first; the interpreter's loops are slower."""
    return islice(chain((row,), iter(step, None)), limit) if row else iter(())
