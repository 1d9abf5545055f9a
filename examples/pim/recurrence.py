"""When an event takes place: every occurrence of a series, on its own clock and in UTC.

A rule repeats on the clock of the event's place: a weekly meeting at ten stays at ten when summer
time begins. So all arithmetic is on naive local time, and only its results are turned into UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from heapq import merge
from itertools import islice
from typing import Protocol
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr  # type: ignore[import-untyped, unused-ignore]

When = date | datetime

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)

# More than two centuries of days; an event that repeats longer counts as endless.
_STEPS = 100_000


class Series(Protocol):
    """What an :class:`~examples.pim.parsed.Appointment` and a stored event have in common."""

    start: When | None
    length: timedelta
    zone: str
    rules: list[str]
    extra: list[When]
    excluded: list[When]


def moment(when: When, zone: str) -> datetime:
    """A time on the clock of ``zone`` in UTC; without a zone it is taken as UTC already."""
    local = as_datetime(when).replace(tzinfo=ZoneInfo(zone) if zone else UTC)
    try:
        return local.astimezone(UTC)
    except OverflowError:
        return local.replace(tzinfo=UTC)


def as_datetime(when: When) -> datetime:
    """A date becomes its midnight."""
    return when if isinstance(when, datetime) else datetime.combine(when, time())


def starts(series: Series) -> Iterator[When]:
    """When each occurrence starts, in order, each once."""
    if series.start is None:
        return
    whole_days = not isinstance(series.start, datetime)
    excluded = set(series.excluded)
    previous = None
    for local in islice(_candidates(series, as_datetime(series.start)), _STEPS):
        # An excluded date stands for any occurrence on that date.
        if local == previous or local in excluded or local.date() in excluded:
            continue
        previous = local
        yield local.date() if whole_days else local


def _candidates(series: Series, first: datetime) -> Iterator[datetime]:
    repeated = (rrulestr(rule, dtstart=first) for rule in series.rules)
    return merge([first], sorted(map(as_datetime, series.extra)), *repeated)


def between(series: Series, since: datetime, until: datetime) -> Iterator[tuple[When, datetime]]:
    """The occurrences that touch ``since`` to ``until``: the local start, and the start in UTC."""
    for local in starts(series):
        begin = moment(local, series.zone)
        if begin >= until:
            return
        if begin >= since or begin + series.length > since:
            yield local, begin


def end_of(series: Series) -> datetime | None:
    """A time in UTC after which nothing of the series is left: ``FOREVER`` if it has no end."""
    if series.start is None:
        return None
    last = [as_datetime(series.start), *map(as_datetime, series.extra)]
    for rule in series.rules:
        end = _end_of_rule(rule, last[0])
        if end is None:
            return FOREVER
        last.append(end)
    return _plus(moment(max(last), series.zone), series.length)


def _end_of_rule(rule: str, first: datetime) -> datetime | None:
    parsed = rrulestr(rule, dtstart=first)
    if "UNTIL=" in rule:
        until: datetime = parsed._until
        return max(until, first)
    if "COUNT=" not in rule:
        return None
    steps = list(islice(parsed, _STEPS))
    return max(steps, default=first) if len(steps) < _STEPS else None


def _plus(when: datetime, length: timedelta) -> datetime:
    try:
        return when + length
    except OverflowError:
        return FOREVER
