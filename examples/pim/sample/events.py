"""The calendar of the sample: single and recurring events, on several clocks, and broken ones."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from random import Random

from .languages import LANGUAGES
from .mails import NEWEST

_ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "Asia/Kolkata", "Europe/Athens")
_PLACES = ("Boat house", "Library", "Kitchen", "Room 4\\, second floor", "Station", "")
_HEAD = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Atop//Sample calendar//EN
CALSCALE:GREGORIAN
BEGIN:VTIMEZONE
TZID:Office Clock
BEGIN:STANDARD
DTSTART:20200101T000000
TZOFFSETFROM:+0130
TZOFFSETTO:+0130
TZNAME:OFFICE
END:STANDARD
END:VTIMEZONE
"""


def calendar(count: int) -> bytes:
    """So many single events, the series, the broken ones and the end."""
    random = Random("events")
    singles = "".join(_single(number, random) for number in range(count))
    text = _HEAD + singles + _SERIES + _BROKEN + "END:VCALENDAR\n"
    return b"".join(_folded(line) for line in text.splitlines())


def _folded(line: str) -> bytes:
    data = line.encode()
    return b"\r\n ".join(data[at : at + 74] for at in range(0, len(data), 74)) + b"\r\n"


def _single(number: int, random: Random) -> str:
    language = random.choice(LANGUAGES)
    middle = NEWEST.replace(tzinfo=None, minute=0, second=0)
    near = random.random() < 0.2
    days = random.randrange(-16, 14) if near else random.randrange(-400, 200)
    start = middle + timedelta(
        days=days, hours=random.randrange(-6, 6), minutes=15 * random.randrange(4)
    )
    lines = [
        f"UID:event-{number:04}@example.org",
        f"DTSTAMP:{NEWEST:%Y%m%dT%H%M%SZ}",
        *_times(start, random),
        f"SUMMARY:{random.choice(language.subjects)}",
        f"DESCRIPTION:{random.choice(language.sentences)}".replace(",", "\\,").replace(";", "\\;"),
        f"LOCATION:{random.choice(_PLACES)}",
        f"CATEGORIES:{random.choice(('HOME', 'WORK', 'HOME,BOATS'))}",
    ]
    if random.random() < 0.2:
        lines += [
            "BEGIN:VALARM",
            "ACTION:DISPLAY",
            "TRIGGER:-PT15M",
            "DESCRIPTION:Soon",
            "END:VALARM",
        ]
    return _event(*lines)


def _times(start: datetime, random: Random) -> list[str]:
    hours = random.choice((1, 1, 2, 3))
    kind = random.random()
    if kind < 0.2:
        first = start.date()
        last = first + timedelta(days=random.choice((1, 1, 2, 5)))
        return [f"DTSTART;VALUE=DATE:{first:%Y%m%d}", f"DTEND;VALUE=DATE:{last:%Y%m%d}"]
    if kind < 0.3:
        return [f"DTSTART:{start:%Y%m%dT%H%M%S}", f"DURATION:PT{hours}H"]
    end = start + timedelta(hours=hours)
    if kind < 0.5:
        return [f"DTSTART:{start:%Y%m%dT%H%M%SZ}", f"DTEND:{end:%Y%m%dT%H%M%SZ}"]
    zone = random.choice(_ZONES)
    return [f"DTSTART;TZID={zone}:{start:%Y%m%dT%H%M%S}", f"DTEND;TZID={zone}:{end:%Y%m%dT%H%M%S}"]


def _event(*lines: str) -> str:
    return "\n".join(["BEGIN:VEVENT", *lines, "END:VEVENT", ""])


def _birthday(number: int, name: str, day: date) -> str:
    return _event(
        f"UID:birthday-{number}@example.org", f"DTSTART;VALUE=DATE:{day:%Y%m%d}",
        "RRULE:FREQ=YEARLY", f"SUMMARY:{name}", "TRANSP:TRANSPARENT",
    )  # fmt: skip


_SERIES = "".join([
    _event(
        "UID:rowing@example.org", "DTSTART;TZID=Europe/Berlin:20250304T180000", "DURATION:PT2H",
        "RRULE:FREQ=WEEKLY;BYDAY=TU", "SUMMARY:Rowing", "LOCATION:Boat house",
        "EXDATE;TZID=Europe/Berlin:20250415T180000,20251007T180000",
    ),
    _event(
        "UID:rowing@example.org", "RECURRENCE-ID;TZID=Europe/Berlin:20251014T180000",
        "DTSTART;TZID=Europe/Berlin:20251015T190000", "DURATION:PT1H",
        "SUMMARY:Rowing\\, a day later", "LOCATION:The other boat house",
    ),
    _event(
        "UID:standup@example.org", "DTSTART;TZID=America/New_York:20250901T093000",
        "DTEND;TZID=America/New_York:20250901T094500", "SUMMARY:Stand-up",
        "RRULE:FREQ=WEEKLY;BYDAY=MO,WE;UNTIL=20251022T133000Z",
    ),
    _event(
        "UID:market@example.org", "DTSTART;VALUE=DATE:20250104", "SUMMARY:Flea market",
        "RRULE:FREQ=MONTHLY;BYDAY=1SA", "EXDATE;VALUE=DATE:20250802",
    ),
    _event(
        "UID:pills@example.org", "DTSTART:20251010T080000", "SUMMARY:Water the plants",
        "RRULE:FREQ=DAILY;INTERVAL=3;COUNT=5",
    ),
    _event(
        "UID:extra@example.org", "DTSTART:20250105T100000Z", "DTEND:20250105T113000Z",
        "RRULE:FREQ=MONTHLY;BYMONTHDAY=5;COUNT=4", "SUMMARY:Choir",
        "RDATE:20251019T100000Z", "RDATE;VALUE=PERIOD:20251020T100000Z/PT1H",
    ),
    _event(
        "UID:office@example.org", "DTSTART;TZID=Office Clock:20251001T120000", "DURATION:PT30M",
        "RRULE:FREQ=WEEKLY;COUNT=6", "SUMMARY:Lunch on the office clock",
    ),
    _event(
        "UID:vendor@example.org", "DTSTART;TZID=/vendor.example.org/Europe/Berlin:20251021T090000",
        "DTEND;TZID=W. Europe Standard Time:20251021T100000", "SUMMARY:Zones by other names",
    ),
    *(
        _birthday(number, f"Birthday of {name}", date(1970 + number, month, 3 + 2 * number))
        for number, (name, month) in enumerate(
            [("Bob", 10), ("Alice", 10), ("Jörg", 11), ("花子", 10), ("Ольга", 2), ("Ελένη", 10)]
        )
    ),
])  # fmt: skip

_BROKEN = "".join([
    _event("UID:no-start@example.org", "SUMMARY:No start"),
    _event("UID:odd-start@example.org", "DTSTART:next week or so", "SUMMARY:An odd start"),
    _event("UID:backwards@example.org", "DTSTART:20251012T120000Z", "DTEND:20251012T110000Z",
           "SUMMARY:Ends before it starts"),
    _event("UID:odd-rule@example.org", "DTSTART:20251013T120000Z", "RRULE:FREQ=SOMETIMES",
           "SUMMARY:An odd rule"),
    _event("UID:no-interval@example.org", "DTSTART:20251013T130000Z",
           "RRULE:FREQ=DAILY;INTERVAL=0", "SUMMARY:Every nought days"),
    _event("UID:every-second@example.org", "DTSTART:20251013T140000Z", "RRULE:FREQ=SECONDLY",
           "SUMMARY:Every second"),
    _event("UID:nowhere@example.org", "DTSTART;TZID=Nowhere/At_All:20251014T120000",
           "SUMMARY:A zone that nobody knows"),
    _event("UID:bad-line@example.org", "DTSTART:20251014T130000Z", "this line is no property",
           "SUMMARY:A bad line"),
    _event("DTSTART:20251014T140000Z", "SUMMARY:No UID"),
    _event("UID:twice@example.org", "DTSTART:20251014T150000Z", "SUMMARY:Same UID one"),
    _event("UID:twice@example.org", "DTSTART:20251014T160000Z", "SUMMARY:Same UID two"),
    _event("UID:again@example.org", "DTSTART:20251014T170000Z", "SUMMARY:Twice the same"),
    _event("UID:again@example.org", "DTSTART:20251014T170000Z", "SUMMARY:Twice the same"),
    "BEGIN:VTODO\nUID:todo@example.org\nSUMMARY:Not an event\nEND:VTODO\n",
    "a line between two events\n",
    "BEGIN:VEVENT\nUID:no-end@example.org\nDTSTART:20251014T180000Z\nSUMMARY:No end\n",
    _event("UID:last@example.org", "DTSTART:20251031T235900Z", "SUMMARY:The last one"),
])  # fmt: skip
