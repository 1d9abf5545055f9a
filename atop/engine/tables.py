"""Berkeley DB's tables: what is read from them, and what is written in a transaction.

Nothing here knows of latches, turns or failures. Reads take no transaction: without the lock
subsystem they see the pages as they are, so nobody may read while somebody else writes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from typing import Any

from atop.engine import history, rows
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
)
from atop.engine.environment import COMMITS
from atop.engine.history import Image, Images
from atop.engine.rows import with_cursor
from atop.errors import DamagedStore, ValueRefused

TableChanges = Mapping[str, Sequence[Difference]]

_TRIMMED_AT_ONCE = 1000


class Tables:
    """The tables of an environment; ``gets`` has for each a function from a key to its value."""

    def __init__(self, path: str, handles: dict[str, Any]) -> None:
        self._path = path
        self._handles = handles
        self._oldest: int | None = None
        self.gets: dict[str, Callable[[bytes], bytes | None]] = {
            name: partial(rows.get, handle) for name, handle in handles.items()
        }

    def getmany(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return rows.getmany(self._handles[table], keys)

    def count(self, low: bytes | None, high: bytes | None) -> int:
        return rows.count(self._handles[INDEX], low, high)

    def scan(self, table: str, within: Range) -> list[Row]:
        assert not within.skip or table == INDEX, "only the index has record numbers"
        return [] if within.empty else rows.scan(self._handles[table], *within)

    def keys(self, within: Range) -> list[bytes]:
        return [] if within.empty else rows.keys(self._handles[INDEX], *within)

    def join(self, within: Range, known: Container[bytes]) -> list[JoinedRow]:
        if within.empty:
            return []
        return rows.join(self._handles[INDEX], self._handles[ITEMS], *within, known)

    def write(self, txn: Any, changes: TableChanges) -> dict[str, Image]:
        """Write differences; answers what was there before.

        :raises DamagedStore: when a key is not there that should be.
        :raises ValueRefused: for a value of 2 GiB or more.
        """
        return {
            name: self._write(txn, name, Changes.of(changed)) for name, changed in changes.items()
        }

    def _write(self, txn: Any, name: str, changes: Changes) -> Image:
        before = {} if changes.inserting else self._before(name, changes)
        try:
            rows.write_all(self._handles[name], txn, changes.keys, changes.pairs, MAX_BYTES)
        except OverflowError as error:
            raise ValueRefused(f"{error.args[0]:,} bytes are too many for one record") from error
        return Image(changes, before)

    def _before(self, name: str, changes: Changes) -> dict[bytes, bytes]:
        """The values of what the table has of the keys that are about to change."""
        keys = [key for key, _, existed in changes if existed]
        before = {}
        for key, value in zip(keys, self.getmany(name, keys), strict=True):
            if value is None:
                raise DamagedStore(
                    f"{self._path}: table {name!r} has lost the key {key.hex()}: "
                    "run `atopdb verify`",
                    self._path,
                )
            before[key] = value
        return before

    def write_commit(self, txn: Any, commit: Commit, images: Images | None, before: int) -> int:
        """Write the commit's own row, and trim old ones; answers how many bytes all ever had.

        `before` is how many the rows before it had, and `images` is ``None`` if they are not known.
        """
        serial = commit.state.serial
        row, total = history.encode(commit.state, commit.note, images, before)
        if self._oldest is None or total - self._oldest > history.KEPT_BYTES:
            self._oldest = with_cursor(self._handles[COMMITS].cursor(txn), _trim, total)
        self._handles[COMMITS].put(serial.to_bytes(8, "big"), row, txn)
        return total

    def last_commit(self) -> tuple[State, int]:
        """The state that the last commit left, and how many bytes all rows of commits ever had."""
        row = with_cursor(self._handles[COMMITS].cursor(), _last_header)
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
        kept = self.scan(COMMITS, Range(low=first, limit=last - since))
        return [(int.from_bytes(key, "big"), row) for key, row in kept]


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
