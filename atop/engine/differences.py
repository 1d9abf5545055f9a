"""The differences of one table, in order: what an overlay is made of."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import overload

from atop.engine.base import Changes

_CHUNK = 512
_ENTRY = 130  # bytes that Python needs for a difference beside its key and value
_existed = itemgetter(1)


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
        self.size += sum([len(value) for value, _ in pairs.values() if value])

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
        return Changes(keys, pairs, not any(map(_existed, pairs)))

    def total(self) -> int:
        """By how many keys the table has more than it has below."""
        return sum([(value is not None) - existed for value, existed in self.entries.values()])

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
