"""Berkeley DB's checksums, of log records and of pages.

Without a key it is Chris Torek's hash, ``h = 33 * h + byte`` modulo 2**32; with one it is an
HMAC of what Berkeley DB has for SHA-1, over what is encrypted.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from operator import mul

from atop.engine.pagecipher import checksum_key, mac

_MASKS: dict[int, tuple[int, int, int]] = {}
_POWERS: list[int] = [1]
_FIRST_PAGE_BYTES = 512
_FIRST_PAGE_SUM = 492


class Checksum:
    """The checksums of one store: of an encrypted one, those that fit its `password`."""

    def __init__(self, password: str | None = None) -> None:
        self.keyed = password is not None
        if password is None:
            self.log_header, self._key = 12, b""
        else:
            self.log_header, self._key = 48, checksum_key(password)

    def padded(self, size: int) -> int:
        """How many bytes a body of `size` takes: AES fills its last block."""
        return -(-size // 16) * 16 if self.keyed else size

    def is_log_record(self, data: bytes, at: int, length: int) -> bool:
        """Whether the record at this place, of this length by its header, is whole."""
        before, said = struct.unpack_from("=II", data, at)
        body = data[at + self.log_header : at + length]
        if not self.keyed:
            return bool(torek(body) ^ before ^ said == _word(data, at + 8))
        found = bytearray(self._mac(body))
        struct.pack_into("=II", found, 0, _word(found, 0) ^ before, _word(found, 4) ^ said)
        return found == data[at + 8 : at + 28]

    def is_first_page(self, page: bytes) -> bool:
        """Whether the first page of a table is whole, of which only so much is summed."""
        page = page[:_FIRST_PAGE_BYTES]
        if not self.keyed:
            at = _FIRST_PAGE_SUM
            return torek(page[:at] + bytes(4) + page[at + 4 :]) == _word(page, at)
        at = _FIRST_PAGE_SUM
        return self._mac(page[:at] + bytes(20)) == page[at : at + 20]

    def _mac(self, data: bytes) -> bytes:
        return mac(self._key, data)


def torek(data: bytes) -> int:
    """The hash of bytes, eight of them at a step: each level joins neighbours, in one number."""
    lanes = -(-len(data) // 8)
    if not lanes:
        return 0
    bytes_mask, pairs_mask, fours_mask = _masks(lanes)
    value = int.from_bytes(data, "big")
    value = (value >> 8 & bytes_mask) * 33 + (value & bytes_mask)
    value = (value >> 16 & pairs_mask) * 33**2 + (value & pairs_mask)
    value = (value >> 32 & fours_mask) * 33**4 + (value & fours_mask)
    sums = struct.unpack(f"<{lanes}Q", value.to_bytes(8 * lanes, "little"))
    total: int = sum(map(mul, sums, _powers(lanes)))
    return total & 0xFFFFFFFF


def _masks(lanes: int) -> tuple[int, int, int]:
    """One mask for each level; a mask may be longer than what it is used on."""
    size = 1 << lanes.bit_length()
    if size not in _MASKS:
        one, two, three = (
            int.from_bytes(part * size, "big")
            for part in (b"\0\xff" * 4, b"\0\0\xff\xff" * 2, b"\0\0\0\0\xff\xff\xff\xff")
        )
        _MASKS[size] = (one, two, three)
    return _MASKS[size]


def _powers(lanes: int) -> Sequence[int]:
    while len(_POWERS) < lanes:
        _POWERS.append(_POWERS[-1] * 33**8 & 0xFFFFFFFF)
    return _POWERS


def _word(data: bytes | bytearray, at: int) -> int:
    return int(struct.unpack_from("=I", data, at)[0])
