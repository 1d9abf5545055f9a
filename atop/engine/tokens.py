"""A file of tokens: who may reach the store over the network, and whether to change it.

Each line is ``name:rw:hash`` or ``name:ro:hash``; empty lines and those that begin with ``#`` do
not count. The hash is the token's SHA-256 in hex. A slow hash would protect a password, which can
be guessed; a token is made here, of 256 random bits, which nobody guesses, so a fast one is right
and a connection costs nothing. No hash and no token is ever told in an error.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from atop.errors import StoreError, StorePermission, ValueRefused

_LARGEST = 1 << 20
_HASH = re.compile(r"[0-9a-fA-F]{64}")
_RIGHTS = {"rw": False, "ro": True}
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Right:
    """Whose token it is, and whether it is only good for reading."""

    name: str
    read_only: bool


def new_token() -> str:
    """A token of 256 random bits: 43 characters that can stand in a URL or a file's name."""
    return secrets.token_urlsafe(32)


def line_for(name: str, token: str, read_only: bool) -> str:
    """The line, without its end, that lets in whoever has `token`.

    :raises ValueRefused: when `name` could not be read again.
    """
    if not _is_name(name):
        raise ValueRefused(
            f"{name!r} cannot name a token: take 1 to {_LONGEST_NAME} printable characters without "
            "a colon, a # in front or spaces around", name)
    return f"{name}:{'ro' if read_only else 'rw'}:{_digest(token).hex()}"


class Tokens:
    """The tokens in the file `path`, as they were when it was last read.

    :raises StoreError: when the file is missing or wrong, others can read it, or the like.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = _read(path)

    def __len__(self) -> int:
        return len(self._known)

    def check(self, token: str) -> Right | None:
        """What `token` is good for. The time it takes tells nothing of what is in the file."""
        digest = _digest(token)
        found = None
        for right, known in self._known:
            if hmac.compare_digest(digest, known):
                found = right
        return found

    def reload(self) -> None:
        """Read the file again; when it cannot be read, the tokens stay as they were.

        :raises StoreError: as when it was first read.
        """
        self._known = _read(self.path)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _is_name(name: str) -> bool:
    plain = name.isprintable() and name == name.strip() and not name.startswith("#")
    return plain and ":" not in name and 0 < len(name) <= _LONGEST_NAME


def _read(path: Path) -> list[tuple[Right, bytes]]:
    known: list[tuple[Right, bytes]] = []
    seen: dict[bytes, int] = {}
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        right, digest = _parse(path, number, line.strip())
        if digest in seen:
            raise StoreError(
                f"{path}, line {number}: its token stands in line {seen[digest]} too; remove one",
                str(path),
            )
        seen[digest] = number
        known.append((right, digest))
    return known


def _parse(path: Path, number: int, line: str) -> tuple[Right, bytes]:
    parts = [part.strip() for part in line.split(":")]
    if len(parts) == 3:
        name, rights, digest = parts
        if _is_name(name) and rights in _RIGHTS and _HASH.fullmatch(digest):
            return Right(name, _RIGHTS[rights]), bytes.fromhex(digest)
    raise StoreError(
        f"{path}, line {number} is not name:rw:hash or name:ro:hash, where the hash is the "
        "SHA-256 of a token in 64 hex digits: make a new token and write its line there",
        str(path),
    )


def _text(path: Path) -> str:
    """What the file says. A link is followed: what counts is who can read what it leads to."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError as error:
        raise StorePermission(
            f"{path}: {error.strerror}; give the file to the user that runs the server", str(path)
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be read ({getattr(error, 'strerror', error)}): name the file of tokens",
            str(path),
        ) from error
    try:
        _check_private(path, os.fstat(descriptor))
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(_LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(content) > _LARGEST:
        raise StoreError(f"{path} has more than {_LARGEST:,} bytes: is it the file of tokens?",
                         str(path))
    return content.decode("utf-8", "surrogateescape")


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is not a file: name the file of tokens", str(path))
    if status.st_uid not in (os.geteuid(), 0):
        raise StorePermission(
            f"{path} belongs to another user, who could let anybody in: give it to the user that "
            "runs the server", str(path))
    if status.st_mode & 0o077:
        raise StorePermission(
            f"{path} is open to others (mode {stat.S_IMODE(status.st_mode):03o}): "
            f"chmod 600 {path}", str(path))
