"""What the store answers: every table is a page of a query on an index."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from rich.console import Console

from atop import Query, Store

from .importer import Tally
from .model import Contact, Event, Message, Pools
from .recurrence import When, between
from .tables import Listing

PAGE = 10


def show_store(store: Store, console: Console, now: datetime | None = None) -> None:
    """Five queries; "last week" and "this month" are those of `now`, or of the newest mail."""
    pools = Pools(store)
    with store.snapshot():
        now = now or newest_mail(pools)
        _contacts(pools).print(console)
        _last_week(pools, now).print(console)
        _this_month(pools, now).print(console)
        _attachments(pools).print(console)
        _middle(pools).print(console)


def show_tallies(tallies: list[Tally], console: Console, limit: int | None = None) -> None:
    """What an import has done, and every problem, or the first `limit` of each source."""
    table = Listing("Imported", "source", "to pool", ">added", ">updated", ">unchanged", ">lost")
    for each in tallies:
        counts = (each.added, each.updated, each.unchanged, each.lost)
        table.add(each.source, each.kind, *map(str, counts))
    table.print(console)
    if any(each.problems for each in tallies):
        _problems(tallies, limit).print(console)


def newest_mail(pools: Pools) -> datetime:
    """The date of the newest mail; without one, the present."""
    newest = pools.messages.queryIndex("date", backwards=True).first()
    return (newest and newest.date) or datetime.now(UTC)


def _problems(tallies: list[Tally], limit: int | None) -> Listing:
    count = sum(len(each.problems) for each in tallies)
    table = Listing(f"{count} problems", "source", "where", "entry", "~what", wrap=True)
    for each in tallies:
        for problem in islice(each.problems, limit):
            fate = "lost" if problem.lost else "kept"
            table.add(problem.source, problem.position, fate, problem.reason)
        hidden = len(each.problems) - (limit or len(each.problems))
        if hidden > 0:
            table.add(each.source, "", "", f"and {hidden} more, which import lists")
    return table


def _contacts(pools: Pools) -> Listing:
    query = pools.contacts.queryIndex("name", startKey="Bob")
    title = f'Contacts from "Bob" on: {len(query)} of {len(pools.contacts)}'
    table = Listing(title, "~name", "~e-mail", "telephone", "birthday")
    contact: Contact
    for contact in query[:PAGE]:
        birthday = contact.birthday.isoformat() if contact.birthday else contact.birthday_text
        email = next(iter(contact.emails), "")
        phone = next((number for _, number in contact.phones), "")
        table.add(contact.name, email, phone, birthday)
    return table


def _last_week(pools: Pools, now: datetime) -> Listing:
    query = pools.messages.queryIndex(
        "date", startKey=now, endKey=now - timedelta(days=7), backwards=True
    )
    return _mail(f"Last week's mail, newest first: {len(query)}", query[:PAGE])


def _middle(pools: Pools) -> Listing:
    query = pools.messages.queryIndex("date")
    middle = len(query) // 2
    title = f"The middle of the mail: from number {middle + 1} of {len(query)} on"
    return _mail(title, query[middle:][:PAGE])


def _mail(title: str, messages: Query) -> Listing:
    table = Listing(title, "date", "~from", "~subject")
    message: Message
    for message in messages:
        date = f"{message.date:%Y-%m-%d %H:%M}" if message.date else ""
        table.add(date, message.sender_name or message.sender_address, message.subject)
    return table


def _attachments(pools: Pools) -> Listing:
    # Mail without attachments has None there, which is below any number.
    query = pools.messages.queryIndex("attached_size", endKey=0, backwards=True)
    table = Listing(f"Mail with attachments, by size: {len(query)}", ">bytes", "~subject", "~files")
    message: Message
    for message in query[:PAGE]:
        names = ", ".join(file.name for file in message.attachments)
        table.add(f"{message.attached_size:,}", message.subject, names)
    return table


def _this_month(pools: Pools, now: datetime) -> Listing:
    since = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    until = (since + timedelta(days=32)).replace(day=1)
    found = sorted(occurrences(pools, since, until), key=lambda each: each[0])
    title = f"Events of {since:%B %Y}: {len(found)}"
    table = Listing(title, "start", "~zone", "~event", "~place")
    for _, start, event in found[: 2 * PAGE]:
        when = f"{start:%a %d  %H:%M}" if isinstance(start, datetime) else f"{start:%a %d}"
        table.add(when, event.zone, event.summary, event.location)
    return table


def occurrences(
    pools: Pools, since: datetime, until: datetime
) -> Iterator[tuple[datetime, When, Event]]:
    """What takes place between two times: the start in UTC, on the event's own clock, the event.

    Whatever ended before is skipped by the index; an endless series ends last of all.
    """
    event: Event
    for event in pools.events.queryIndex("end", startKey=since):
        replaced = _replaced(pools, event)
        for start, begin in between(event, since, until):
            if begin.isoformat() not in replaced:
                yield begin, start, event


def _replaced(pools: Pools, event: Event) -> set[str]:
    """The starts of the occurrences of a series in whose place other events stand."""
    uid, recurrence = event.key
    if recurrence:
        return set()
    keys = pools.events.queryIndex("key", prefix=(uid,)).keys()
    return {other for _, other in keys if other}
