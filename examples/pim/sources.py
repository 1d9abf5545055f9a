"""What a path holds: mail, contacts or a calendar, told by its name or by how it begins."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .calendars import read_events
from .contacts import read_contacts
from .mail import read_mail
from .mailboxes import is_maildir, total_size
from .parsed import Entry
from .text import as_utf8

_SUFFIXES = {
    ".vcf": "contacts", ".vcard": "contacts", ".ics": "events", ".ical": "events",
    ".mbox": "messages", ".mbx": "messages", ".eml": "messages",
}  # fmt: skip
_BEGINNINGS = (
    (re.compile(rb"\s*BEGIN:VCARD", re.IGNORECASE), "contacts"),
    (re.compile(rb"\s*BEGIN:VCALENDAR", re.IGNORECASE), "events"),
    (re.compile(rb"\s*(From |[A-Za-z][A-Za-z0-9-]*:)|\s*$"), "messages"),
)
_READERS: dict[str, Callable[[Path], Iterator[Entry[Any]]]] = {
    "messages": read_mail,
    "contacts": read_contacts,
    "events": read_events,
}


class UnknownSource(ValueError):
    """A file that is none of those that can be imported."""


@dataclass(frozen=True)
class Source:
    """A path that can be imported; ``kind`` is the pool that its entries go to."""

    path: Path
    kind: str

    def entries(self) -> Iterator[Entry[Any]]:
        """Everything in it, one at a time."""
        return _READERS[self.kind](self.path)

    def size(self) -> int:
        """In bytes, as far as entries count them."""
        return total_size(self.path)


def open_source(path: Path) -> Source:
    """The source at `path`.

    :raises UnknownSource: if it is neither mail, nor contacts, nor a calendar.
    """
    kind = "messages" if is_maildir(path) else _kind_of_file(path)
    if kind is None:
        raise UnknownSource(
            f"{path}: not a mailbox (mbox or Maildir), an address book (.vcf) or a calendar (.ics)"
        )
    return Source(path, kind)


def _kind_of_file(path: Path) -> str | None:
    if path.is_dir():
        return None
    if path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    with path.open("rb") as file:
        beginning = as_utf8(file.read(200))
    return next((kind for pattern, kind in _BEGINNINGS if pattern.match(beginning)), None)
