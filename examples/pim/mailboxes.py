"""Mailboxes as raw messages, each with the place where it stands.

A message is what lies between two ``From`` lines, byte for byte: nothing in it can make the
reader lose it or the one after it.
"""

from __future__ import annotations

import mailbox
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Many programs do not quote a "From " that begins a line of text, so a separator must also follow
# an empty line and hold a time and a year.
_SEPARATOR = re.compile(rb"From .*\d\d?:\d\d.*\d{4}")


@dataclass(frozen=True)
class Raw:
    """The bytes of one message, or in ``problem`` why they could not be had."""

    position: str
    data: bytes
    problem: str = ""


def is_maildir(path: Path) -> bool:
    return (path / "cur").is_dir() or (path / "new").is_dir()


def raw_messages(path: Path) -> Iterator[Raw]:
    """The messages of an mbox, of a Maildir with its subfolders, or the one in an ``.eml`` file."""
    if path.is_dir():
        yield from _maildir(mailbox.Maildir(path, create=False), "")
    elif path.suffix.lower() == ".eml":
        yield Raw("the file", path.read_bytes())
    else:
        with path.open("rb") as file:
            yield from _mbox(file)


def total_size(path: Path) -> int:
    """How many bytes there are to read."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _maildir(box: mailbox.Maildir, folder: str) -> Iterator[Raw]:
    for key in sorted(box.keys()):
        position = f"file {folder}{key}"
        try:
            yield Raw(position, box.get_bytes(key))
        except (OSError, KeyError) as error:
            yield Raw(position, b"", f"cannot be opened: {error}")
    for name in sorted(box.list_folders()):
        yield from _maildir(box.get_folder(name), f"{folder}.{name}/")


def _mbox(file: BinaryIO) -> Iterator[Raw]:
    number, start, lines, after_blank = 0, 0, list[bytes](), True
    offset = 0
    for line in file:
        if after_blank and _is_separator(line, offset):
            if lines:
                number += 1
                yield _between(number, start, lines)
            start, lines = offset, []
        lines.append(line)
        offset += len(line)
        after_blank = not line.strip(b"\r\n")
    if b"".join(lines).strip():
        yield _between(number + 1, start, lines)


def _is_separator(line: bytes, offset: int) -> bool:
    return line.startswith(b"From ") and (offset == 0 or bool(_SEPARATOR.match(line)))


def _between(number: int, start: int, lines: list[bytes]) -> Raw:
    body = lines[1:] if lines[0].startswith(b"From ") else lines
    if body and not body[-1].strip(b"\r\n"):
        body = body[:-1]
    return Raw(f"message {number} at byte {start}", b"".join(body))
