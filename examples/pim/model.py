"""What the store holds: messages, contacts and events, and the pools that sort them.

They are ordinary classes. An index key is an attribute or a method; text is sorted by a short key,
so that a subject of a megabyte costs an index no more than one of a line.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

from atop import File, Index, Item, Store

from .recurrence import When

_KEY_LENGTH = 100
_REPLY = re.compile(
    r"(?:(?:re|fwd?|aw|wg|sv|vs|antw|tr|rif)\s*(?:\[\d+\])?\s*:\s*)+", re.IGNORECASE
)


def sort_key(text: str) -> str:
    """The beginning of a text, without regard to upper and lower case."""
    return text[:_KEY_LENGTH].casefold()


class Message(Item):
    """A mail.

    Each of the files in ``attachments`` has its ``content_type`` as an attribute of its own;
    ``attached_size`` is the bytes of all together, or ``None`` without any.
    """

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
    attachments: list[File]
    attached_size: int | None

    def sender_key(self) -> str:
        """Sorted by name, or by address where there is none."""
        return sort_key(self.sender_name or self.sender_address)

    def subject_key(self) -> str:
        """An answer stands beside what it answers."""
        return sort_key(_REPLY.sub("", self.subject[: 2 * _KEY_LENGTH], count=1))


class Contact(Item):
    """A card of the address book. ``key`` is what it is known by when it is imported again."""

    key: str
    digest: str
    uid: str
    version: str
    name: str
    family: str
    given: str
    organization: str
    title: str
    note: str
    birthday: date | None
    birthday_text: str
    emails: list[str]
    phones: list[tuple[str, str]]
    addresses: list[str]
    categories: list[str]
    others: list[tuple[str, str]]
    photo: File | None

    def name_key(self) -> str:
        """The name as it is written: a query from "Bob" on means just that."""
        return self.name[:_KEY_LENGTH]

    def email_keys(self) -> list[str]:
        """Found by any of the addresses."""
        return list(dict.fromkeys(sort_key(email) for email in self.emails))


class Event(Item):
    """An event or a series of them.

    ``key`` is the UID and the occurrence that this replaces. ``begins`` and ``ends`` are in UTC; a
    series ends with its last occurrence.
    """

    key: tuple[str, str]
    digest: str
    uid: str
    recurrence: str
    summary: str
    start: When | None
    length: timedelta
    zone: str
    location: str
    description: str
    status: str
    categories: list[str]
    rules: list[str]
    extra: list[When]
    excluded: list[When]
    begins: datetime | None
    ends: datetime | None


MESSAGE_INDEXES = (
    Index("date"),
    Index("sender", key="sender_key"),
    Index("subject", key="subject_key"),
    Index("thread"),
    Index("message_id"),
    Index("attached_size"),
    Index("digest", unique=True),
)
CONTACT_INDEXES = (
    Index("name", key="name_key"),
    Index("email", key="email_keys", multiple=True),
    Index("birthday"),
    Index("key", unique=True),
)
EVENT_INDEXES = (
    Index("start", key="begins"),
    Index("end", key="ends"),
    Index("key", unique=True),
)
ATTACHMENT_INDEXES = (Index("size"), Index("name"), Index("content_type"))


class Pools:
    """The pools of a store; they are made when they are missing."""

    def __init__(self, store: Store) -> None:
        self.messages = store.pool("messages", *MESSAGE_INDEXES)
        self.contacts = store.pool("contacts", *CONTACT_INDEXES)
        self.events = store.pool("events", *EVENT_INDEXES)
        self.attachments = store.pool("attachments", *ATTACHMENT_INDEXES)
