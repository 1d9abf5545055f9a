"""A log record with one wrong byte, put right: its checksum and its neighbours tell which byte.

The hash is a sum of the bytes, each times a power of 33, so one wrong byte is off by a small
multiple of a power of 33. A record is mended only if one byte alone explains everything, and the
record after it is whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from atop.engine.checksum import Checksum, torek

_HEADER = struct.Struct("=III")
_BODY = _HEADER.size
_WHOLE = 1 << 32
_INVERSE = pow(33, -1, _WHOLE)


class Mend(NamedTuple):
    """The byte that is to stand at an offset of the file."""

    offset: int
    byte: int


def mend(data: bytes, at: int) -> Mend | None:
    """What is to be changed in the damaged record at this offset; ``None`` if that is not known."""
    before = _record_before(data, at)
    if before is None or at + _BODY > len(data):
        return None
    found = set(_explanations(data, at, before))
    return found.pop() if len(found) == 1 else None


def _record_before(data: bytes, at: int) -> int | None:
    place = before = 0
    while place < at:
        before, place = place, place + max(_BODY, _HEADER.unpack_from(data, place)[1])
    return before if place == at and at else None


def _explanations(data: bytes, at: int, before: int) -> Iterator[Mend]:
    said_before, length, total = _HEADER.unpack_from(data, at)
    if _is_followed(data, at, length):
        body = data[at + _BODY : at + length]
        hashed = torek(body)
        if hashed ^ before ^ length == total:
            yield from _differing(said_before, before, at)
        elif said_before == before:
            yield from _differing(total, hashed ^ before ^ length, at + 8)
            yield from _in_body(body, hashed, total ^ before ^ length, at + _BODY)
    elif said_before == before:
        for offset in range(4):
            for byte in range(256):
                other = length & ~(0xFF << 8 * offset) | byte << 8 * offset
                if other != length and _is_followed(data, at, other):
                    body = data[at + _BODY : at + other]
                    if torek(body) ^ before ^ other == total:
                        yield from _differing(length, other, at + 4)


def _is_followed(data: bytes, at: int, length: int) -> bool:
    """Whether a whole record stands behind one of this length, and says where that begins."""
    after = at + length
    if length <= _BODY or after + _BODY + 4 > len(data):
        return False
    before, size, _ = _HEADER.unpack_from(data, after)
    fits = before == at and _BODY < size <= len(data) - after
    return fits and Checksum().is_log_record(data, after, size)


def _differing(found: int, right: int, offset: int) -> Iterator[Mend]:
    """The one byte in which two words differ, if it is one."""
    pairs = enumerate(zip(struct.pack("=I", found), struct.pack("=I", right), strict=True))
    wrong = [Mend(offset + at, good) for at, (bad, good) in pairs if bad != good]
    if len(wrong) == 1:
        yield wrong[0]


def _in_body(body: bytes, hashed: int, wanted: int, offset: int) -> Iterator[Mend]:
    lacking = (wanted - hashed) % _WHOLE
    for at in range(len(body) - 1, -1, -1):
        more = lacking if lacking < _WHOLE // 2 else lacking - _WHOLE
        if -256 < more < 256 and 0 <= body[at] + more < 256:
            yield Mend(offset + at, body[at] + more)
        lacking = lacking * _INVERSE % _WHOLE
