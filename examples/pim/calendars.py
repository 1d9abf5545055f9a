"""From the bytes of a calendar to an :class:`~examples.pim.parsed.Appointment` for each event."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr  # type: ignore[import-untyped, unused-ignore]
from icalendar import Calendar, Event

from .ics import Component, components
from .parsed import Appointment, Entry
from .recurrence import When, as_datetime, moment
from .text import clean, one_line

_TOO_OFTEN = {"SECONDLY", "MINUTELY"}


def read_events(path: Path) -> Iterator[Entry[Appointment]]:
    """Every event of a calendar; whatever else is in it comes out as an entry without a value."""
    parts = components(path.read_bytes())
    # A time zone may stand below the events that name it.
    for zone in (part for part in parts if part.name == "VTIMEZONE"):
        yield from _learn(zone)
    for part in parts:
        if part.name == "VEVENT":
            yield parse_event(part)
        elif part.name != "VTIMEZONE":
            reason = (
                f"{one_line(part.name)[:40]} is no event" if part.name else "outside of any event"
            )
            yield Entry(f"line {part.number}", len(part.source), None, [reason])


def _learn(zone: Component) -> Iterator[Entry[Appointment]]:
    """icalendar remembers the time zones that it has read, by name."""
    try:
        Calendar.from_ical(f"BEGIN:VCALENDAR\r\n{zone.text()}\r\nEND:VCALENDAR\r\n")
    # What icalendar raises on broken input is no closed set.
    except Exception as error:
        reason = f"time zone not understood: {one_line(str(error))[:80]}"
        yield Entry(f"line {zone.number}", len(zone.source), None, [reason])


def parse_event(part: Component) -> Entry[Appointment]:
    """One event; one without a start is kept, and so is one whose rule is not understood."""
    position, size = f"line {part.number}", len(part.source)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            event = Event.from_ical(part.text())
            appointment = _Reader(event, part.problems).appointment(part)
    # What icalendar raises on broken input is no closed set.
    except Exception as error:
        reason = f"not understood, {type(error).__name__}: {one_line(str(error))[:80]}"
        return Entry(position, size, None, [*part.problems, reason])
    guesses = (one_line(str(each.message)).partition(" by ")[0][:150] for each in caught)
    return Entry(position, size, appointment, [*part.problems, *dict.fromkeys(guesses)])


class _Reader:
    """Reads one event; everything in it is put on the clock of its start."""

    def __init__(self, event: Any, problems: list[str]) -> None:
        self._event = event
        self._problems = problems
        for name, reason in event.errors:
            problems.append(f"{name or 'line'} not understood: {one_line(str(reason))[:80]}")

    def appointment(self, part: Component) -> Appointment:
        start, zone = self._start()
        return Appointment(
            digest=sha256(part.source).hexdigest(),
            uid=one_line(self._text("UID")),
            recurrence=self._recurrence(zone),
            summary=one_line(self._text("SUMMARY")),
            start=start,
            length=self._length(start, zone),
            zone=zone,
            location=one_line(self._text("LOCATION")),
            description=clean(self._text("DESCRIPTION")),
            status=one_line(self._text("STATUS")),
            categories=self._categories(),
            rules=self._rules(start, zone),
            extra=self._times("RDATE", start, zone),
            excluded=self._times("EXDATE", start, zone),
        )

    def _all(self, name: str) -> list[Any]:
        found = self._event.get(name)
        return found if isinstance(found, list) else [] if found is None else [found]

    def _text(self, name: str) -> str:
        return str(next(iter(self._all(name)), ""))

    def _time(self, name: str) -> When | timedelta | None:
        for value in self._all(name):
            when = _field(value, "dt")
            if isinstance(when, date | timedelta):
                self._check_zone(value, when)
                return when
        return None

    def _check_zone(self, value: Any, when: When | timedelta) -> None:
        zone = value.params.get("TZID")
        if zone and isinstance(when, datetime) and when.tzinfo is None:
            self._problems.append(f"unknown time zone {one_line(str(zone))[:40]!r}: read as local")

    def _start(self) -> tuple[When | None, str]:
        start = self._time("DTSTART")
        if not isinstance(start, date):
            self._problems.append("no start")
            return None, ""
        if not isinstance(start, datetime) or start.tzinfo is None:
            return start, ""
        zone = getattr(start.tzinfo, "key", "")
        if not zone and self._all("RRULE"):
            self._problems.append("its own time zone: repeats at the same time in UTC")
        return _on_clock(start, start, zone or "UTC"), zone or "UTC"

    def _length(self, start: When | None, zone: str) -> timedelta:
        if start is None:
            return timedelta()
        default = timedelta() if isinstance(start, datetime) else timedelta(days=1)
        end = self._time("DTEND") or self._time("DURATION") or default
        if isinstance(end, date):
            end = as_datetime(_on_clock(end, start, zone)) - as_datetime(start)
        if end < timedelta():
            self._problems.append("ends before it starts")
        # Many programs end an event of one day on that same day, not on the next.
        return max(end, timedelta()) or default

    def _recurrence(self, zone: str) -> str:
        when = self._time("RECURRENCE-ID")
        if not isinstance(when, date):
            return ""
        for value in self._all("RECURRENCE-ID"):
            if value.params.get("RANGE"):
                self._problems.append("replaces this occurrence alone, not those after it")
        return moment(_on_clock(when, when, zone), zone).isoformat()

    def _categories(self) -> list[str]:
        found = (cat for group in self._all("CATEGORIES") for cat in _field(group, "cats", [group]))
        return list(dict.fromkeys(one_line(str(category)) for category in found))

    def _times(self, name: str, start: When | None, zone: str) -> list[When]:
        found = list[When]()
        for value in (each for group in self._all(name) for each in _field(group, "dts", [])):
            when = value.dt[0] if isinstance(value.dt, tuple) else value.dt
            if isinstance(when, date):
                keep_date = name == "EXDATE" and not isinstance(when, datetime)
                found.append(when if keep_date else _on_clock(when, start or when, zone))
        return found

    def _rules(self, start: When | None, zone: str) -> list[str]:
        if self._all("EXRULE"):
            self._problems.append("EXRULE is not applied")
        rules = (self._rule(value, start, zone) for value in self._all("RRULE") if start)
        return [rule for rule in rules if rule]

    def _rule(self, value: Any, start: When, zone: str) -> str:
        try:
            return _checked_rule(value, start, zone)
        # A part that icalendar could not read is of a type that raises on any use.
        except Exception as error:
            self._problems.append(f"rule not applied: {one_line(str(error))[:80]}")
            return ""


def _field(value: Any, name: str, default: Any = None) -> Any:
    try:
        return getattr(value, name, default)
    # A value that icalendar could not read raises on any look; it is among the problems already.
    except ValueError:
        return default


def _on_clock(when: When, start: When, zone: str) -> When:
    """``when`` as the same kind of time as ``start``, on the clock of ``zone``."""
    if isinstance(when, datetime) and when.tzinfo is not None:
        when = when.astimezone(ZoneInfo(zone) if zone else when.tzinfo).replace(tzinfo=None)
    if isinstance(start, datetime):
        return as_datetime(when)
    return when.date() if isinstance(when, datetime) else when


def _checked_rule(value: Any, start: When, zone: str) -> str:
    """The text of a rule with UNTIL on the clock of ``start``; raises if it cannot be applied."""
    frequency, interval = value["FREQ"][0], value.get("INTERVAL", [1])[0]
    if frequency in _TOO_OFTEN or interval < 1:
        raise ValueError(f"{frequency} every {interval}")
    for until in value.get("UNTIL", []):
        whole_day = not isinstance(until, datetime) and isinstance(start, datetime)
        local = as_datetime(_on_clock(until, start, zone))
        value["UNTIL"] = [
            datetime.combine(local, time.max).replace(microsecond=0) if whole_day else local
        ]
    rule: str = value.to_ical().decode("utf-8")
    rrulestr(rule, dtstart=as_datetime(start))
    return rule
