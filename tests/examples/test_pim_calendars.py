"""Any calendar can be read, and every event takes place when its author meant."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.pim.calendars import parse_event, read_events
from examples.pim.ics import components
from examples.pim.parsed import Appointment, Entry
from examples.pim.recurrence import FOREVER, between, end_of, moment, starts

CUSTOM_ZONE = """BEGIN:VTIMEZONE
TZID:Half Past
BEGIN:STANDARD
DTSTART:20200101T000000
TZOFFSETFROM:+0130
TZOFFSETTO:+0130
END:STANDARD
END:VTIMEZONE
"""


@pytest.fixture
def calendar(tmp_path: Path) -> Path:
    return tmp_path / "calendar.ics"


def written(path: Path, text: str) -> list[Entry[Appointment]]:
    path.write_text(f"BEGIN:VCALENDAR\nVERSION:2.0\n{text}END:VCALENDAR\n", encoding="utf-8")
    return list(read_events(path))


def event(*lines: str) -> str:
    return "\n".join(["BEGIN:VEVENT", *lines, "END:VEVENT", ""])


def entry_of(*lines: str) -> Entry[Appointment]:
    [component] = components(event(*lines).encode())
    return parse_event(component)


def appointment(*lines: str) -> Appointment:
    entry = entry_of(*lines)
    assert entry.value is not None
    assert entry.problems == []
    return entry.value


def first(count: int, found: Appointment) -> list[date | datetime]:
    return list(islice(starts(found), count))


def test_what_an_event_says() -> None:
    found = appointment(
        "UID:1", "DTSTART:20251010T080000Z", "DTEND:20251010T093000Z", "STATUS:CONFIRMED",
        "SUMMARY;LANGUAGE=de:Grüße\\, zweimal", "LOCATION:Küche", "DESCRIPTION:a\\nb",
        "CATEGORIES:HOME,BOATS", "CATEGORIES:HOME",
    )  # fmt: skip
    assert (found.uid, found.summary, found.location) == ("1", "Grüße, zweimal", "Küche")
    assert (found.description, found.categories) == ("a\nb", ["HOME", "BOATS"])
    assert (found.start, found.zone) == (datetime(2025, 10, 10, 8), "UTC")
    assert found.length == timedelta(hours=1.5)


def test_a_zoned_time_keeps_its_clock_when_summer_time_ends() -> None:
    found = appointment("DTSTART;TZID=Europe/Berlin:20251019T100000", "RRULE:FREQ=WEEKLY;COUNT=2")
    local = first(5, found)
    assert local == [datetime(2025, 10, 19, 10), datetime(2025, 10, 26, 10)]
    assert [moment(when, found.zone).hour for when in local] == [8, 9]


def test_a_floating_time_has_no_zone() -> None:
    found = appointment("DTSTART:20251010T080000", "DURATION:PT2H")
    assert (found.start, found.zone, found.length) == (
        datetime(2025, 10, 10, 8), "", timedelta(hours=2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("end", "days"), [("DTEND:20251012", 2), ("DTEND:20251010", 1), ("X-NO-END:1", 1)]
)
def test_an_event_of_whole_days(end: str, days: int) -> None:
    found = appointment("DTSTART;VALUE=DATE:20251010", end)
    assert found.start == date(2025, 10, 10)
    assert found.length == timedelta(days=days)


def test_an_end_on_another_clock_is_put_on_that_of_the_start() -> None:
    found = appointment(
        "DTSTART;TZID=Europe/Berlin:20251010T100000", "DTEND;TZID=Europe/London:20251010T100000"
    )
    assert found.length == timedelta(hours=1)


@pytest.mark.parametrize(
    "until", ["20251021T073000Z", "20251021T080000Z", "20251021", "20251021T100000"]
)
def test_until_is_read_on_the_clock_of_the_event(until: str) -> None:
    found = appointment(
        "DTSTART;TZID=Europe/Berlin:20251014T100000", f"RRULE:FREQ=WEEKLY;UNTIL={until}"
    )
    last = datetime(2025, 10, 14 if until.endswith("073000Z") else 21, 10)
    assert first(9, found)[-1] == last


def test_some_occurrences_are_excluded_and_others_added() -> None:
    found = appointment(
        "DTSTART;TZID=Europe/Berlin:20251001T100000", "RRULE:FREQ=DAILY;COUNT=6",
        "EXDATE;TZID=Europe/Berlin:20251002T100000", "EXDATE:20251003T080000Z",
        "EXDATE;VALUE=DATE:20251004", "RDATE;TZID=Europe/Berlin:20251009T120000",
        "RDATE;VALUE=PERIOD:20251011T100000Z/PT1H",
    )  # fmt: skip
    days = [when.day for when in first(20, found)]
    assert days == [1, 5, 6, 9, 11]


def test_a_replaced_occurrence_is_named_by_its_start_in_utc() -> None:
    found = appointment(
        "UID:1", "RECURRENCE-ID;TZID=Europe/Berlin:20251014T100000",
        "DTSTART;TZID=Asia/Tokyo:20251014T190000",
    )  # fmt: skip
    assert found.recurrence == datetime(2025, 10, 14, 8, tzinfo=UTC).isoformat()


def test_the_end_of_a_series() -> None:
    start = "DTSTART:20251010T080000Z"
    assert end_of(appointment(start, "RRULE:FREQ=DAILY")) == FOREVER
    counted = appointment(start, "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=3")
    assert end_of(counted) == datetime(2025, 10, 12, 9, tzinfo=UTC)
    single = appointment("DTSTART;TZID=Asia/Tokyo:20251010T080000")
    assert end_of(single) == datetime(2025, 10, 9, 23, tzinfo=UTC)


def test_occurrences_in_a_month_include_one_that_began_before() -> None:
    found = appointment(
        "DTSTART;VALUE=DATE:20250930", "DTEND:20251002", "RRULE:FREQ=MONTHLY;COUNT=9"
    )
    month = datetime(2025, 10, 1, tzinfo=UTC), datetime(2025, 11, 1, tzinfo=UTC)
    assert [local for local, _ in between(found, *month)] == [date(2025, 9, 30), date(2025, 10, 30)]


def test_a_zone_that_the_file_defines(calendar: Path) -> None:
    text = event("DTSTART;TZID=Half Past:20251010T120000") + CUSTOM_ZONE
    [entry] = written(calendar, text)
    assert entry.value is not None
    assert moment(entry.value.start or date.min, entry.value.zone) == datetime(
        2025, 10, 10, 10, 30, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("SUMMARY:x",), "no start"),
        (("DTSTART:next week",), "DTSTART not understood"),
        (("DTSTART:20251010T080000Z", "DTEND:20251009T080000Z"), "ends before it starts"),
        (("DTSTART:20251010T080000Z", "RRULE:FREQ=SOMETIMES"), "RRULE not understood"),
        (("DTSTART:20251010T080000Z", "RRULE:FREQ=DAILY;INTERVAL=0"), "rule not applied"),
        (("DTSTART:20251010T080000Z", "RRULE:FREQ=SECONDLY"), "rule not applied"),
        (("DTSTART:20251010T080000Z", "EXDATE:never"), "EXDATE not understood"),
        (("DTSTART;TZID=Nowhere:20251010T080000",), "unknown time zone"),
        (("DTSTART:20251010T080000Z", "this is no property"), "not understood"),
    ],
)
def test_a_broken_event_is_kept_and_the_damage_told(lines: tuple[str, ...], told: str) -> None:
    entry = entry_of("UID:1", *lines, "LOCATION:Kitchen")
    assert entry.value is not None
    assert (entry.value.uid, entry.value.location) == ("1", "Kitchen")
    assert any(told in problem for problem in entry.problems)
    assert len(first(3, entry.value)) <= 1


def test_an_event_without_an_end_costs_no_other(calendar: Path) -> None:
    whole = event("UID:2", "DTSTART:20251010T080000Z")
    entries = written(calendar, "BEGIN:VEVENT\nUID:1\nBEGIN:VALARM\n" + whole)
    assert [entry.value and entry.value.uid for entry in entries] == ["1", "2"]
    assert "no END:VEVENT" in entries[0].problems


def test_what_is_no_event_is_listed_with_its_line(calendar: Path) -> None:
    entries = written(calendar, "BEGIN:VTODO\nSUMMARY:x\nEND:VTODO\nhello\n")
    assert [(entry.position, entry.value) for entry in entries] == [
        ("line 3", None),
        ("line 6", None),
    ]
    assert [entry.problems for entry in entries] == [
        ["VTODO is no event"],
        ["outside of any event"],
    ]


def test_lines_folded_within_a_character() -> None:
    data = event("DTSTART:20251010T080000Z", "SUMMARY:Schlüssel").encode()
    at = data.index("ü".encode()) + 1
    [component] = components(data[:at] + b"\r\n " + data[at:])
    entry = parse_event(component)
    assert entry.value is not None
    assert entry.value.summary == "Schlüssel"


_NAMES = [
    "DTSTART",
    "DTEND",
    "DURATION",
    "RRULE",
    "RDATE",
    "EXDATE",
    "RECURRENCE-ID",
    "SUMMARY",
    "UID",
]
_VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from([
        "20251010", "20251010T080000Z", "00010101T000000", "99991231T235959Z", "PT1H", "-P1D",
        "FREQ=DAILY;COUNT=3", "FREQ=YEARLY;UNTIL=00010101", "FREQ=WEEKLY;BYDAY=9XX", "FREQ=HOURLY",
    ]),
)  # fmt: skip
_PARAMETERS = st.sampled_from(["", ";VALUE=DATE", ";TZID=Europe/Berlin", ";TZID=Half Past", ";X"])


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(_NAMES), _PARAMETERS, _VALUES), max_size=8))
def test_any_lines_make_an_event_or_are_listed(lines: list[tuple[str, str, str]]) -> None:
    source = event(*(f"{name}{parameter}:{value}" for name, parameter, value in lines))
    for component in components(source.encode("utf-8", "replace")):
        if component.name != "VEVENT":
            continue
        entry = parse_event(component)
        assert entry.value is not None or entry.problems
        if entry.value is not None:
            first(3, entry.value)
            end_of(entry.value)
