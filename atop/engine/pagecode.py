"""How pages are told whole from damaged, with and without encryption, and mended."""

from __future__ import annotations

import os
from sys import byteorder

from atop.engine.checksum import torek
from atop.engine.pagecipher import checksum_key, decrypted, mac, page_key

PAGE_BYTES = 4096
_META_BYTES = 512
_SUM, _META_SUM = 28, 492
_VECTOR = 48
_MASK = 0xFFFFFFFF
_INVERSE = pow(33, -1, 1 << 32)
_MAC_BYTES = 20


class PageCode:
    """Pages of a store without a key: a checksum of 32 bits, which tells what one wrong byte was.

    A page is `meta` if it is the first one of its file.
    """

    overhead = 32

    def whole(self, page: bytes, *, meta: bool) -> bool:
        """Whether the page is what was written."""
        at, length = _place(meta)
        return _sum(page, at, length) == int.from_bytes(page[at : at + 4], byteorder)

    def mended(self, page: bytes, *, meta: bool) -> bytes | None:
        """The page with one wrong byte, or bit, put right, if just one explains the checksum."""
        at, length = _place(meta)
        found, wanted = page[at : at + 4], _sum(page, at, length)
        right = wanted.to_bytes(4, byteorder)
        differing = [place for place in range(4) if found[place] != right[place]]
        fixes = [(at + place, right[place]) for place in differing if len(differing) == 1]
        surplus = (wanted - int.from_bytes(found, byteorder)) & _MASK
        for place in range(length - 1, -1, -1):
            wrong = surplus if surplus < 256 else surplus - (1 << 32)
            if -256 < wrong < 256 and not at <= place < at + 4 and 0 <= page[place] - wrong < 256:
                fixes.append((place, page[place] - wrong))
            surplus = surplus * _INVERSE & _MASK
        if len(fixes) > 1:  # most likely it is one bit
            fixes = [fix for fix in fixes if (fix[1] ^ page[fix[0]]).bit_count() == 1]
        if len(fixes) != 1:
            return None
        place, byte = fixes[0]
        return page[:place] + bytes((byte,)) + page[place + 1 :]

    def plain(self, page: bytes) -> bytes:
        """A page that is not `meta` as it is in memory."""
        return page

    def sealed(self, page: bytes) -> bytes:
        """A page that is not `meta` as it is on disk."""
        at, length = _place(meta=False)
        return page[:at] + _sum(page, at, length).to_bytes(4, byteorder) + page[at + 4 :]


class SealedPages(PageCode):
    """Pages of an encrypted store, whose checksum tells nothing but that a page is damaged.

    It takes about 4 ms a page, as Berkeley DB's own hash has to be done in Python.
    """

    overhead = 64

    def __init__(self, password: str) -> None:
        self._mac_key = checksum_key(password)
        self._key = page_key(password)

    def whole(self, page: bytes, *, meta: bool) -> bool:
        at, length = _place(meta)
        return self._mac(page, at, length) == page[at : at + _MAC_BYTES]

    def mended(self, page: bytes, *, meta: bool) -> bytes | None:
        return None

    def plain(self, page: bytes) -> bytes:
        vector = page[_VECTOR : self.overhead]
        return page[: self.overhead] + decrypted(page[self.overhead :], self._key, vector)

    def sealed(self, page: bytes) -> bytes:
        page = page[:_VECTOR] + os.urandom(16) + page[self.overhead :]
        page = page[: self.overhead] + self._encrypted(page)
        at, length = _place(meta=False)
        return page[:at] + self._mac(page, at, length) + page[at + _MAC_BYTES :]

    def _encrypted(self, page: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import CBC

        context = Cipher(AES(self._key), CBC(page[_VECTOR : self.overhead])).encryptor()
        return context.update(page[self.overhead :]) + context.finalize()

    def _mac(self, page: bytes, at: int, length: int) -> bytes:
        bare = page[:at] + bytes(_MAC_BYTES) + page[at + _MAC_BYTES : length]
        return mac(self._mac_key, bare)


def page_code(password: str | None) -> PageCode:
    """How the pages of a store with this password of Berkeley DB's, or without one, are read."""
    return PageCode() if password is None else SealedPages(password)


def _place(meta: bool) -> tuple[int, int]:
    """Where the checksum is, and of how many bytes."""
    return (_META_SUM, _META_BYTES) if meta else (_SUM, PAGE_BYTES)


def _sum(page: bytes, at: int, length: int) -> int:
    return torek(page[:at] + bytes(4) + page[at + 4 : length])
