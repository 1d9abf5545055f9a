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
        self._next = first

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
                self._next = first


class Reserved:
    """What the holder of a turn has reserved: a block, and more when that is used up."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self.first = ids.reserve(BLOCK)
        self.end = self.first + BLOCK

    def more(self) -> tuple[int, int]:
        """Another block: its first id, and the one after its last."""
        first = self._ids.reserve(BLOCK)
        self.first, self.end = (self.first if first == self.end else first), first + BLOCK
        return first, self.end

    def close(self, used: int) -> None:
        """Give back what was not used: all from the id `used` on. A second call does nothing."""
        if self.first < self.end:
            self._ids.give_back(max(self.first, used), self.end)
            self.end = self.first
