"""Rows read straight from the pages of a B-tree's file, when Berkeley DB itself can no longer.

Every page is looked at, wherever it stands: a row needs its own leaf and overflow pages to be
whole, and nothing else. The checksum tells what a single wrong byte was, so such a page is mended.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from atop.engine.pagecode import PAGE_BYTES, PageCode
from atop.errors import DamagedStore

LEAF, OVERFLOW = 5, 7
_ROOT = 1
_INTERNAL = 3
_HEAD = struct.Struct("=IIIIIHHBB")
_DATA, _CHAINED, _DELETED = 1, 3, 0x80
_NEVER = 0x7FFFFFFF


class Head(NamedTuple):
    """What a page begins with."""

    lsn_file: int
    lsn_offset: int
    number: int
    previous: int
    next: int
    entries: int
    free: int
    level: int
    type: int

    @property
    def lsn(self) -> tuple[int, int]:
        """Where in the log the last change of the page is."""
        return self.lsn_file, self.lsn_offset


class Place(NamedTuple):
    """Where a row stands; the page with the highest ``lsn`` has its latest version."""

    lsn: tuple[int, int]
    page: int
    slot: int


class Leaves:
    """The leaf pages of the B-tree in the file `path`, which nobody writes to.

    If it is the copy of an `original` that was surveyed, only what differs is checked.

    After :meth:`survey`, ``pages`` counts its pages, ``mended`` has those with one wrong byte put
    right, ``bad`` those that are not what was written, and ``absent`` those that others lead to
    and that are zeroed or cut off.
    """

    def __init__(
        self, path: Path, code: PageCode | None = None, original: Leaves | None = None
    ) -> None:
        self.path = path
        self._original = original
        self._code = code or PageCode()
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.pages = -(-os.fstat(self._descriptor).st_size // PAGE_BYTES)
        self.mended: dict[int, bytes] = {}
        self.bad: list[int] = []
        self.absent: list[int] = []
        self._leaves: list[int] = []
        self._moved: dict[int, int] = {}
        self._kept: tuple[int, bytes] = (-1, b"")

    def close(self) -> None:
        os.close(self._descriptor)

    def survey(self) -> None:
        """Look at every page."""
        led_to = {_ROOT}
        present: set[int] = set()
        for at in range(self.pages):
            page = self._read(at)
            empty = not page.strip(b"\0")
            if empty and at:
                continue
            sound = None if empty else self._sound(at, page)
            if sound is None:
                self.bad.append(at)
                continue
            head = _head(sound)
            present.add(head.number)
            led_to.update(_leads(sound, head, self._code.overhead))
            if head.number != at:
                self._moved[head.number] = at
            if head.type == LEAF:
                self._leaves.append(at)
        self.absent = sorted(led_to - present - set(self.bad) - {0})

    def places(self) -> Iterator[tuple[bytes, Place]]:
        """The key and the place of every row."""
        for at in self._leaves:
            page = self._page(at)
            yield from self._rows(at, page)

    def doubtful(self) -> Iterator[tuple[bytes, Place]]:
        """What looks like rows on bad pages."""
        for at in self.bad:
            page = self._page(at)
            if page and _head(page).type == LEAF:
                yield from self._rows(at, page)

    def value(self, place: Place) -> bytes:
        """The value of the row there.

        :raises DamagedStore: when a page of it is lost.
        """
        page = self._page(place.page)
        return self._entry(page, self._offsets(page)[place.slot + 1])

    def _rows(self, at: int, page: bytes) -> Iterator[tuple[bytes, Place]]:
        head = _head(page)
        offsets = self._offsets(page)
        for slot in range(0, len(offsets) - 1, 2):
            try:
                if any(page[offset + 2] & _DELETED for offset in offsets[slot : slot + 2]):
                    continue
                key = self._entry(page, offsets[slot])
            except (DamagedStore, IndexError):
                continue
            yield key, Place(head.lsn, at, slot)

    def _offsets(self, page: bytes) -> tuple[int, ...]:
        room = (PAGE_BYTES - self._code.overhead) // 2
        return struct.unpack_from(f"={min(_head(page).entries, room)}H", page, self._code.overhead)

    def _entry(self, page: bytes, offset: int) -> bytes:
        if self._code.overhead <= offset <= PAGE_BYTES - 4:
            length, kind = struct.unpack_from("=HB", page, offset)
            if kind & ~_DELETED == _DATA and offset + 3 + length <= PAGE_BYTES:
                return page[offset + 3 : offset + 3 + length]
            if kind & ~_DELETED == _CHAINED and offset + 12 <= PAGE_BYTES:
                return self._chain(*struct.unpack_from("=II", page, offset + 4))
        raise self._broken(f"an entry at byte {offset} of a page")

    def _chain(self, number: int, length: int) -> bytes:
        """The bytes of an entry that has pages of its own."""
        parts: list[bytes] = []
        found = 0
        first = self._code.overhead
        while number:
            page = self._page(self._moved.get(number, number))
            head = _head(page) if page else None
            if head is None or head.type != OVERFLOW or head.number != number or not head.free:
                raise self._broken(f"page {number}")
            parts.append(page[first : first + head.free])
            found += head.free
            if found > length:
                break
            number = head.next
        if found != length:
            raise self._broken(f"an entry of {length:,} bytes")
        return b"".join(parts)

    def _page(self, at: int) -> bytes:
        """The page as it is in memory; nothing behind the end of the file."""
        if self._kept[0] != at:
            page = self.mended.get(at) or self._read(at)
            self._kept = at, self._code.plain(page) if page.strip(b"\0") else b""
        return self._kept[1]

    def _read(self, at: int) -> bytes:
        return os.pread(self._descriptor, PAGE_BYTES, at * PAGE_BYTES).ljust(PAGE_BYTES, b"\0")

    def _sound(self, at: int, page: bytes) -> bytes | None:
        if self._is_known(at, page):
            return self._code.plain(page) if at else page
        if not self._code.whole(page, meta=at == 0):
            mended = self._code.mended(page, meta=at == 0)
            if mended is None:
                return None
            self.mended[at] = page = mended
        return self._code.plain(page) if at else page

    def _is_known(self, at: int, page: bytes) -> bool:
        """Whether this page of the original was checked already."""
        known = self._original
        if known is None or at in known.mended or at in known.bad:
            return False
        return known._read(at) == page

    def _broken(self, what: str) -> DamagedStore:
        return DamagedStore(f"{what} of {self.path.name!r} is damaged", str(self.path))


def blank(number: int) -> bytes:
    """A leaf page without rows that recovery leaves alone, as if it were changed long since."""
    head = _HEAD.pack(_NEVER, 0, number, 0, 0, 0, PAGE_BYTES, 1, LEAF)
    return head.ljust(PAGE_BYTES, b"\0")


def listed(numbers: Iterable[int]) -> str:
    """Page numbers for people."""
    found = sorted(numbers)
    shown = ", ".join(map(str, found[:8]))
    more = f" and {len(found) - 8:,} more" if len(found) > 8 else ""
    return f"page{'s' * (len(found) > 1)} {shown}{more}"


def _head(page: bytes) -> Head:
    return Head(*_HEAD.unpack_from(page))


def _leads(page: bytes, head: Head, overhead: int) -> Iterator[int]:
    """The pages that a page leads to."""
    if head.type == LEAF:
        yield from (head.previous, head.next)
        wanted = _CHAINED
    elif head.type == _INTERNAL:
        wanted = 0
    elif head.type == OVERFLOW:
        yield head.next
        return
    else:
        return
    offsets = struct.unpack_from(f"={head.entries}H", page, overhead)
    for offset in offsets:
        if not wanted or page[offset + 2] == wanted:
            yield struct.unpack_from("=I", page, offset + 4)[0]
