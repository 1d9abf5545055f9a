"""Ids that have not been given out: taken in blocks, so that writers need not wait for each other.

What is reserved is known in memory alone. A crash forgets reservations, not ids: an item that was
not committed has been in no store.
"""

from __future__ import annotations

import threading

BLOCK = 1 << 16


class Ids:
    """The ids of one store from `first` on."""

    def __init__(self, first: int) -> None:
        self._lock = threading.Lock()
        self._next = self._used = first

    def reserve(self, count: int) -> int:
        """The first of `count` ids that nobody else gets."""
        with self._lock:
            first = self._next
            self._next += count
            return first

    def give_back(self, first: int, end: int) -> None:
        """Ids from `first` up to `end` are not needed; lost, if others were reserved since."""
        with self._lock:
            if self._next == end:
                self._next = max(first, self._used)

    def use(self, end: int) -> None:
        """Items with ids below `end` are committed, whoever had reserved these."""
        with self._lock:
            self._used = max(self._used, end)
            self._next = max(self._next, end)


class Reserved:
    """What the holder of a turn has reserved: a block when it asks, more when that is used up."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._first = self._end = 0

    @property
    def block(self) -> tuple[int, int]:
        """The first id of the block, and the one after its last."""
        return (self._first, self._end) if self._end else self.more()

    def more(self) -> tuple[int, int]:
        """Another block."""
        first = self._ids.reserve(BLOCK)
        self._first, self._end = (self._first if first == self._end else first), first + BLOCK
        return first, self._end

    def close(self, used: int) -> None:
        """Give back what was not used: all from the id `used` on. A second call does nothing."""
        if self._first < self._end:
            self._ids.give_back(max(self._first, used), self._end)
            self._end = self._first
