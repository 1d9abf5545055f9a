"""What reading a file yields: plain values, and what was wrong with them.

Nothing is dropped silently: every entry of a file comes out as one :class:`Entry`, whether it could
be read or not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class Entry(Generic[T]):
    """One message, card or event of a file.

    ``value`` is ``None`` if it could not be read at all; ``problems`` says what was wrong with it,
    ``position`` where in the file it stands, ``size`` how many bytes of the file it takes.
    """

    position: str
    size: int
    value: T | None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Problem:
    """One line of the list at the end of an import; ``lost`` if the entry is not in the store."""

    source: str
    position: str
    reason: str
    lost: bool


@dataclass
class Attached:
    """A part of a message that is not its text; ``name`` is safe to show and to save under."""

    name: str
    content_type: str
    data: bytes


@dataclass
class Mail:
    """A message. ``date`` is in UTC or ``None``; ``digest`` is that of the whole source."""

    digest: str
    message_id: str
    thread: str
    date: datetime | None
    sender_name: str
    sender_address: str
    recipients: list[str]
    subject: str
    text: str
    html: str
    size: int
    attachments: list[Attached] = field(default_factory=list)


@dataclass
class Card:
    """A contact.

    ``birthday_text`` holds a birthday that is no full date, such as ``--0412``. ``phones`` are
    pairs of a kind, such as ``home``, and a number; ``others`` pairs of a property and its value.
    """

    digest: str
    uid: str
    version: str
    name: str
    family: str = ""
    given: str = ""
    organization: str = ""
    title: str = ""
    note: str = ""
    birthday: date | None = None
    birthday_text: str = ""
    emails: list[str] = field(default_factory=list)
    phones: list[tuple[str, str]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    photo: bytes | None = None


@dataclass
class Appointment:
    """An event of a calendar.

    ``start`` is a date for one that lasts whole days, a naive datetime in ``zone`` for one with a
    zone, and a naive datetime with an empty ``zone`` for one that floats: the same wall-clock time
    wherever one is. ``rules``, ``extra`` and ``excluded`` are on the same clock as ``start``.
    ``recurrence`` is empty, or the start in UTC of the occurrence of ``uid`` that this replaces.
    """

    digest: str
    uid: str
    recurrence: str
    summary: str
    start: date | datetime | None
    length: timedelta
    zone: str
    location: str = ""
    description: str = ""
    status: str = ""
    categories: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    extra: list[date | datetime] = field(default_factory=list)
    excluded: list[date | datetime] = field(default_factory=list)
