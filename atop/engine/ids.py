"""Ids that have not been given out: taken in blocks, so that writers need not wait for each other.

What is reserved is known in memory alone. A crash forgets reservations, not ids: an item that was
not committed has been in no store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

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


class Given:
    """The ids that a transaction gives to new items: from `block`, and when it is used up `more`.

    ``runs`` has them, each run with its first id and the one after its last.
    """

    def __init__(self, more: Callable[[], tuple[int, int]], block: tuple[int, int]) -> None:
        self._more = more
        self._ended: list[tuple[int, int]] = []
        self._first = self._next = block[0]
        self._end = block[1]

    @property
    def runs(self) -> list[tuple[int, int]]:
        last = [(self._first, self._next)] if self._first < self._next else []
        return self._ended + last

    @property
    def end(self) -> int:
        """The one after the highest, or 0."""
        return max((end for _, end in self.runs), default=0)

    def next(self) -> int:
        """A new id."""
        if self._next == self._end:
            self._go_on(self.runs, *self._more())
        self._next += 1
        return self._next - 1

    def inner(self) -> Given:
        """Those of a nested transaction, which go on from here."""
        return Given(self._more, (self._next, self._end))

    def take(self, inner: Given) -> None:
        """A nested transaction has ended well."""
        runs = self.runs
        for first, end in inner.runs:
            if runs and runs[-1][1] == first:
                first, _ = runs.pop()
            runs.append((first, end))
        self._go_on(runs, inner._next, inner._end)

    def _go_on(self, runs: list[tuple[int, int]], first: int, end: int) -> None:
        """These are given, and the next ones are from `first` up to, not with, `end`."""
        begin = runs.pop()[0] if runs and runs[-1][1] == first else first
        self._ended, self._first, self._next, self._end = runs, begin, first, end  # Ctrl-C may come
