"""What a server has answered, for as long as it holds.

All of it is of one moment, the commit ``serial``. When others have committed, what they have
changed is dropped and the rest is moved on. An entry knows from which serial on it holds, so that a
thread that still looks at an older moment does not take it for the answer then.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Sequence
from typing import NamedTuple

from atop.engine.base import ID_BYTES, INDEX, ITEMS, JoinedRow, Range
from atop.errors import SnapshotTooOld

Changed = dict[str, list[bytes]]
_ENTRY = 150  # bytes that Python needs for an entry beside its content


class _Page(NamedTuple):
    """What was read of the index: it changes when a key from `low` up to `high` does."""

    since: int
    low: bytes | None
    high: bytes | None
    keys: list[bytes]
    total: int = 0


class Answers:
    """Rows and pages of an engine, at most about `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self.serial = 0
        self._limit = limit
        self._size = 0
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, bytes], tuple[int, bytes | None]] = {}
        self._pages: dict[Range | tuple[bytes | None, bytes | None], _Page] = {}

    def move(self, serial: int, changed: Callable[[int], Changed]) -> None:
        """The last commit is `serial` now; `changed` tells the keys since another."""
        if serial <= self.serial:
            return
        with self._lock:
            if serial <= self.serial:
                return
            try:
                keys = changed(self.serial) if self.serial else None
            except SnapshotTooOld:
                keys = None
            if keys is None:
                self._clear()
            else:
                self._drop(keys)
            self.serial = serial

    def committed(self, serial: int, changed: Callable[[], Changed]) -> None:
        """We have made the commit `serial` ourselves, and know what it changed."""
        with self._lock:
            if self.serial == serial - 1:
                self._drop(changed())
                self.serial = serial

    def row(self, table: str, key: bytes, serial: int) -> tuple[bytes | None] | None:
        """The value of a row, in a tuple, if it is known."""
        found = self._rows.get((table, key))
        return (found[1],) if found is not None and found[0] <= serial else None

    def page(self, within: Range, serial: int) -> list[bytes] | None:
        """The keys of the index in a range, if they are known."""
        found = self._pages.get(within)
        return found.keys if found is not None and found.since <= serial else None

    def count(self, low: bytes | None, high: bytes | None, serial: int) -> int | None:
        """How many keys there are in a range of the index, if that is known."""
        found = self._pages.get((low, high))
        return found.total if found is not None and found.since <= serial else None

    def joined(
        self, within: Range, known: Container[bytes], serial: int
    ) -> tuple[list[JoinedRow], list[bytes]] | None:
        """A page with its records, and the ids whose records are not known; if the page is."""
        keys = self.page(within, serial)
        if keys is None:
            return None
        rows: list[JoinedRow] = []
        missing = []
        for key in keys:
            ident = key[-ID_BYTES:]
            found = (None,) if ident in known else self.row(ITEMS, ident, serial)
            if found is None:
                missing.append(ident)
            rows.append((key, found[0] if found else None))
        return rows, missing

    def keep_rows(
        self, table: str, pairs: Iterable[tuple[bytes, bytes | None]], serial: int
    ) -> None:
        """Remember values, which hold at `serial`."""
        with self._lock:
            if serial != self.serial:
                return
            for key, value in pairs:
                self._rows[table, key] = serial, value
                self._size += _ENTRY + len(key) + len(value or b"")
            self._shrink()

    def keep_page(self, within: Range, keys: list[bytes], serial: int) -> None:
        """Remember the keys of a range, which hold at `serial`."""
        low, high = within.low, within.high
        if keys and len(keys) == within.limit:
            low, high = (keys[-1], high) if within.reverse else (low, keys[-1] + b"\0")
        self._keep(within, _Page(serial, low, high, keys))

    def keep_count(
        self, low: bytes | None, high: bytes | None, count: int, serial: int
    ) -> None:
        """Remember a count, which holds at `serial`."""
        self._keep((low, high), _Page(serial, low, high, [], count))

    def _keep(self, asked: Range | tuple[bytes | None, bytes | None], page: _Page) -> None:
        with self._lock:
            if page.since == self.serial:
                self._pages[asked] = page
                self._size += _ENTRY + sum(map(len, page.keys)) + 60 * len(page.keys)
                self._shrink()

    def _drop(self, changed: Changed) -> None:
        for table, keys in changed.items():
            for key in keys:
                self._rows.pop((table, key), None)
        index = sorted(changed.get(INDEX, ()))
        if index:
            self._pages = {
                asked: page for asked, page in self._pages.items() if not _touched(page, index)
            }

    def _shrink(self) -> None:
        if self._size > self._limit:
            self._clear()

    def _clear(self) -> None:
        self._rows, self._pages, self._size = {}, {}, 0


def _touched(page: _Page, changed: Sequence[bytes]) -> bool:
    """Whether any of the sorted keys is one that the page depends on."""
    at = bisect_left(changed, page.low) if page.low is not None else 0
    return at < len(changed) and (page.high is None or changed[at] < page.high)
