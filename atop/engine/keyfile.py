"""The file ``KEY`` of an encrypted store: one line, which holds its keys locked up."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from atop.engine.log import sync_folder
from atop.engine.published import share_with_group
from atop.errors import DamagedStore, NewerFormat

FILE = "KEY"
NEW = "KEY.new"
SALT_BYTES = 16
NONCE_BYTES = 12
SCRYPT = "scrypt:17:8:1"
HKDF = "hkdf"
_SUM_BYTES = 8
_MOST_MEMORY = 1 << 30
_MOST_BYTES = 1000
_LINE = (
    r"(atop key 1 (?:hkdf|scrypt:(\d{1,2}):(\d{1,2}):(\d{1,2})) ([0-9a-f]{32}) ([0-9a-f]{32})"
    r" ([0-9a-f]{24}) ([0-9a-f]{96})) ([0-9a-f]{16})\n"
)


@dataclass(frozen=True, slots=True)
class Line:
    """What the file KEY says."""

    kind: str
    head: str
    salt: bytes
    ident: bytes
    nonce: bytes
    box: bytes


def read(folder: Path) -> Line:
    """What the file says in the store in `folder`.

    :raises DamagedStore: when it is not as it was written.
    :raises NewerFormat: when it is of a later Atop.
    """
    descriptor = os.open(folder / FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        text = file.read(_MOST_BYTES).decode("ascii", "replace")
    newer = re.match(r"atop key (\d{1,9}) ", text)
    if newer is not None and int(newer[1]) > 1:
        raise NewerFormat(f"{folder / FILE} was written by a newer Atop: install that", str(folder))
    found = re.fullmatch(_LINE, text)
    if found is None or _sum(found[1]) != found[9]:
        raise damaged(folder)
    power, blocks, lanes = (int(found[each] or 1) for each in (2, 3, 4))
    if not (power and blocks and lanes) or memory(power, blocks) * lanes > _MOST_MEMORY:
        raise damaged(folder)
    salt, ident, nonce, box = (bytes.fromhex(found[each]) for each in (5, 6, 7, 8))
    head = found[1].rsplit(" ", 2)[0]
    return Line(head.split(" ")[3], head, salt, ident, nonce, box)


def write(folder: Path, line: str) -> None:
    """Put the file in place of the one that is there, at once; durable on return."""
    new = folder / NEW
    with suppress(FileNotFoundError):
        new.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(new, flags, 0o600)
    try:
        share_with_group(descriptor, folder, 0o640)
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(folder / FILE)
    sync_folder(folder)


def summed(line: str) -> str:
    """All that the file says: that line, and its sum."""
    return f"{line} {_sum(line)}\n"


def memory(power: int, blocks: int) -> int:
    """How many bytes it takes to stretch a passphrase."""
    return 128 * blocks << power


def lost(folder: Path) -> DamagedStore:
    """What is raised where the file is missing."""
    return DamagedStore(
        f"{folder} is encrypted, and its file KEY is missing: copy KEY from a backup of the store",
        str(folder / FILE),
    )


def damaged(folder: Path) -> DamagedStore:
    """What is raised where the file is not as it was written."""
    return DamagedStore(
        f"{folder / FILE} is damaged: copy it from a backup of the store", str(folder / FILE)
    )


def _sum(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[: 2 * _SUM_BYTES]
