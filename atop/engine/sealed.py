"""The bytes of external files under a key: sealed when they are written, opened at any offset.

Each file has a key of its own, made from the store's key and 32 random bytes. Its bytes are sealed
in chunks by AES-256-GCM, with the chunk's number as the nonce, so that none can be changed, moved
or taken from another file unnoticed. At the end stand the size and the SHA-256 of all of it, sealed
too: a file that was cut off, or has taken another one's place, is found when it is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from atop.engine.seekable import Seekable
from atop.errors import DamagedStore, StoreError

CHUNK = 1 << 16
LINE = b"atop sealed 1\n"
_SALT = 32
_TAG = 16
_HEADER = len(LINE) + _SALT
_END = 8 + 32 + _TAG
_END_NONCE = b"\xff" * 12
_INFO = b"atop sealed file"


class Aead(Protocol):
    """An authenticated cipher."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """The sealed bytes."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """The bytes, if nobody has changed them."""


class Hidden(bytes):
    """Bytes that no traceback shows, however much it shows of its frames."""

    def __repr__(self) -> str:
        return "<a key>"


def derive(key: bytes, info: bytes, length: int = 32, salt: bytes | None = None) -> Hidden:
    """Another key, made from a random one, for the use that `info` tells (HKDF with SHA-256).

    :raises StoreError: when the package for encryption is not installed.
    """
    try:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise StoreError(
            "a store with a key needs the package cryptography: pip install 'atopdb[crypt]'"
        ) from error
    return Hidden(HKDF(SHA256(), length, salt, info).derive(key))


def aead(key: bytes) -> Aead:
    """AES-GCM under that key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def sealed_length(size: int) -> int:
    """How many bytes a file of `size` bytes takes when it is sealed."""
    return _HEADER + size + _TAG * -(-size // CHUNK) + _END


def plain_size(length: int) -> int | None:
    """How many bytes are sealed in a file of that `length`; ``None`` if it cannot be one."""
    body = length - _HEADER - _END
    whole, rest = divmod(body, CHUNK + _TAG)
    if body < 0 or 0 < rest <= _TAG:
        return None
    return whole * CHUNK + max(0, rest - _TAG)


class Sealer:
    """Seals the bytes of one new file."""

    def __init__(self, key: bytes, salt: bytes | None = None) -> None:
        salt = os.urandom(_SALT) if salt is None else salt
        self._aead = aead(derive(key, _INFO, salt=salt))
        self._head = LINE + salt
        self._rest = bytearray()
        self._number = 0

    def seal(self, data: bytes | memoryview) -> Iterator[bytes]:
        """What is to be written next for the next `data`; some of it is kept for later."""
        view = memoryview(data)
        while view:
            part = view[: CHUNK - len(self._rest)]
            self._rest += part
            view = view[len(part) :]
            if len(self._rest) == CHUNK:
                yield self._chunk()

    def end(self, size: int, sha256: str) -> Iterator[bytes]:
        """What is to be written at the end of a file of that size and digest."""
        if self._rest:
            yield self._chunk()
        told = size.to_bytes(8, "big") + bytes.fromhex(sha256)
        yield self._begun() + self._aead.encrypt(_END_NONCE, told, None)

    def _chunk(self) -> bytes:
        sealed = self._aead.encrypt(_nonce(self._number), bytes(self._rest), None)
        self._rest.clear()
        self._number += 1
        return self._begun() + sealed

    def _begun(self) -> bytes:
        head, self._head = self._head, b""
        return head


class AsIs:
    """In the place of a :class:`Sealer` where files are not sealed."""

    def seal(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """The same."""
        yield data

    def end(self, size: int, sha256: str) -> Iterator[bytes]:
        """Nothing."""
        return iter(())


class Unsealed(Seekable):
    """What is sealed in `file`, which people call `name`.

    :raises DamagedStore: here or from a read, when the bytes are not those that were sealed, or not
        those of the `size` and `sha256` that are given.
    """

    def __init__(
        self, file: BinaryIO, key: bytes, name: str, size: int | None = None, sha256: str = ""
    ) -> None:
        super().__init__()
        self.name = name
        self._file = file
        self._number, self._chunk = -1, b""
        try:
            self.size, self.sha256 = self._look(key)
            if (size not in (None, self.size)) or sha256 not in ("", self.sha256):
                raise self._damaged("has the bytes of another file")
        except BaseException:
            file.close()
            raise

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._at < self.size:
            number, skip = divmod(self._at, CHUNK)
            part = memoryview(self._opened(number))[skip : skip + len(view) - done]
            view[done : done + len(part)] = part
            done += len(part)
            self._at += len(part)
        return done

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _look(self, key: bytes) -> tuple[int, str]:
        """The size and the digest that stand at the end."""
        length = os.fstat(self._file.fileno()).st_size
        head = self._file.read(_HEADER)
        if length < _HEADER + _END or not head.startswith(LINE):
            raise self._damaged("is not sealed as a file of this store, or is cut off")
        self._aead = aead(derive(key, _INFO, salt=head[len(LINE) :]))
        self._file.seek(length - _END)
        told = self._decrypt(_END_NONCE, self._file.read(_END))
        size = int.from_bytes(told[:8], "big")
        if sealed_length(size) != length:
            raise self._damaged(f"has not the length of a file of {size:,} bytes")
        return size, told[8:].hex()

    def _opened(self, number: int) -> bytes:
        if number != self._number:
            if self.closed:
                raise ValueError("this file is closed")
            self._file.seek(_HEADER + number * (CHUNK + _TAG))
            sealed = self._file.read(min(CHUNK, self.size - number * CHUNK) + _TAG)
            self._chunk, self._number = self._decrypt(_nonce(number), sealed), number
        return self._chunk

    def _decrypt(self, nonce: bytes, sealed: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(nonce, sealed, None)
        except (InvalidTag, ValueError) as error:
            raise self._damaged("has other bytes than were stored") from error

    def _damaged(self, what: str) -> DamagedStore:
        return DamagedStore(f"{self.name} {what}: restore a backup, or look for it there",
                            self.name)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
