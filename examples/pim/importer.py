"""From files into a store, each entry once, in transactions of parts.

An entry that is in the store already is left alone, or brought up to date if it has changed. One
that the store refuses is listed with its reason, and costs no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from atop import File, Item, Pool, Store
from atop.errors import ValueRefused

from .model import Contact, Event, Message, Pools
from .parsed import Appointment, Attached, Card, Entry, Mail, Problem
from .recurrence import end_of, moment
from .sources import Source, open_source

T = TypeVar("T")
Advance = Callable[[int], None]

PART_ENTRIES = 200
PART_BYTES = 16 << 20
_LONGEST_KEY = 200


@dataclass
class Tally:
    """What became of the entries of one source."""

    source: str
    kind: str
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    lost: int = 0
    problems: list[Problem] = field(default_factory=list)


class Importer:
    """Imports any number of files into one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.pools = Pools(store)
        self._keys: dict[str, str] = {}

    def run(self, path: Path, advance: Advance = lambda _: None) -> Tally:
        """Import a file or a Maildir; `advance` is told how many bytes of it are done.

        Every part is committed by itself: what was imported before an error stays.

        :raises UnknownSource: if it is neither mail, nor contacts, nor a calendar.
        """
        source = open_source(path)
        tally = Tally(path.name, source.kind)
        self._keys = {}
        for part in parts(source.entries()):
            with self.store.transaction():
                for entry in part:
                    self._import(entry, source, tally)
            advance(sum(entry.size for entry in part))
        return tally

    def _import(self, entry: Entry[Any], source: Source, tally: Tally) -> None:
        outcome = "lost"
        if entry.value is not None:
            try:
                with self.store.transaction():
                    outcome = self._put(entry)
            except ValueRefused as error:
                entry.problems.append(str(error))
        setattr(tally, outcome, getattr(tally, outcome) + 1)
        lost = outcome == "lost"
        for reason in entry.problems:
            tally.problems.append(Problem(tally.source, entry.position, reason, lost))

    def _put(self, entry: Entry[Any]) -> str:
        value = entry.value
        if isinstance(value, Mail):
            return self._put_mail(value)
        if isinstance(value, Card):
            key = self._key(value.uid, "", value.digest, entry.problems)
            return self._put_changing(self.pools.contacts, Contact, key, value, _card_extras)
        assert isinstance(value, Appointment)
        key = self._key(value.uid, value.recurrence, value.digest, entry.problems)
        pair = (key, value.recurrence)
        return self._put_changing(self.pools.events, Event, pair, value, _event_extras)

    def _put_mail(self, mail: Mail) -> str:
        if self.pools.messages.queryIndex("digest", key=mail.digest).first():
            return "unchanged"
        self.pools.messages.addItem(self._message(mail))
        return "added"

    def _message(self, mail: Mail) -> Message:
        files = [self._attach(each) for each in mail.attachments]
        size = sum(file.size for file in files) if files else None
        return Message(**{**_attributes(mail), "attachments": files, "attached_size": size})

    def _attach(self, attached: Attached) -> File:
        file = new_file(self.store, attached.name, attached.data)
        file.content_type = attached.content_type
        self.pools.attachments.addItem(file)
        return file

    def _key(self, uid: str, recurrence: str, digest: str, problems: list[str]) -> str:
        """What the entry is known by in the store.

        Two entries of one file may have the same UID by mistake; both are kept.
        """
        if not uid:
            return f"digest {digest}"
        if len(uid) > _LONGEST_KEY:
            uid = f"uid {sha256(uid.encode()).hexdigest()}"
        if self._keys.setdefault(f"{uid} {recurrence}", digest) == digest:
            return uid
        problems.append(f"UID {uid[:60]!r} once more, with another content: both kept")
        return f"{uid} {digest}"

    def _put_changing(
        self,
        pool: Pool,
        cls: type[Item],
        key: str | tuple[str, str],
        value: Card | Appointment,
        extras: Callable[[Store, Any, Any], dict[str, Any]],
    ) -> str:
        known = pool.queryIndex("key", key=key).first()
        if known is not None and known.digest == value.digest:
            return "unchanged"
        more = {"key": key, **extras(self.store, value, known)}
        if known is None:
            pool.addItem(cls(**{**_attributes(value), **more}))
            return "added"
        for name, content in {**_attributes(value), **more}.items():
            setattr(known, name, content)
        return "updated"


def parts(entries: Iterable[Entry[T]]) -> Iterator[list[Entry[T]]]:
    """As many entries as a transaction should hold, each time."""
    part, size = list[Entry[T]](), 0
    for entry in entries:
        part.append(entry)
        size += entry.size
        if len(part) == PART_ENTRIES or size >= PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def new_file(store: Store, name: str, data: bytes) -> File:
    """A file of the given bytes, in the current transaction."""
    with store.newFile(name) as file:
        file.write(data)
    return file


def _attributes(value: Mail | Card | Appointment) -> dict[str, Any]:
    # Copies: a list that nobody but an item holds costs the store no watching.
    return {each.name: copy(getattr(value, each.name)) for each in fields(value)}


def _card_extras(store: Store, card: Card, known: Contact | None) -> dict[str, Any]:
    old = known.photo if known else None
    if old and card.photo and old.sha256 == sha256(card.photo).hexdigest():
        return {"photo": old}
    if old:
        store.delete(old)
    return {"photo": new_file(store, "photo", card.photo) if card.photo else None}


def _event_extras(store: Store, event: Appointment, known: Event | None) -> dict[str, Any]:
    begins = None if event.start is None else moment(event.start, event.zone)
    return {"begins": begins, "ends": end_of(event)}
