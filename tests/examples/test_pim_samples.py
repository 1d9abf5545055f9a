"""The sample in the repository is what its program makes, and shows what it is meant to show."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from examples.pim.calendars import read_events
from examples.pim.contacts import read_contacts
from examples.pim.mail import read_mail
from examples.pim.sample.make_samples import FOLDER, sample_files

_MADE = ("mail.mbox", "contacts.vcf", "calendar.ics", "maildir")


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return sample_files()


def test_the_files_are_what_the_program_makes(made: dict[str, bytes]) -> None:
    kept = {
        str(path.relative_to(FOLDER)): path.read_bytes()
        for name in _MADE
        for path in (FOLDER / name, *(FOLDER / name).rglob("*"))
        if path.is_file()
    }
    assert sorted(kept) == sorted(made), "make them with python -m examples.pim.sample.make_samples"
    different = [name for name in made if kept[name] != made[name]]
    assert different == [], "make them with python -m examples.pim.sample.make_samples"


def test_they_are_small(made: dict[str, bytes]) -> None:
    assert sum(map(len, made.values())) < 1_500_000


def test_nobody_in_them_is_real(made: dict[str, bytes]) -> None:
    domains = {
        match.lower()
        for data in made.values()
        for match in re.findall(rb"[\w.]+@([\w-]+(?:\.[\w-]+)+)", data)
    }
    assert domains <= {b"example.org", b"example.com"}


def test_the_mail_holds_the_kinds_of_damage_that_real_mail_has() -> None:
    entries = list(read_mail(FOLDER / "mail.mbox"))
    problems = " / ".join(problem for entry in entries for problem in entry.problems)
    for kind in (
        "no date", "date not understood", "unknown charset", "not valid utf-8", "no charset named",
        "no sender", "empty message", "attachment name", "close boundary not found",
        "start boundary not found", "invalid base64", "unknown encoding",
    ):  # fmt: skip
        assert kind in problems
    identifiers = Counter(entry.value.message_id for entry in entries if entry.value)
    digests = Counter(entry.value.digest for entry in entries if entry.value)
    assert identifiers["same@example.org"] == 2, "two messages with one Message-ID"
    assert digests.most_common(1)[0][1] == 2, "one message twice"


def test_the_address_book_is_in_all_versions() -> None:
    versions = {
        entry.value.version for entry in read_contacts(FOLDER / "contacts.vcf") if entry.value
    }
    assert {"2.1", "3.0", "4.0", ""} <= versions


def test_the_calendar_is_on_several_clocks() -> None:
    found = [entry.value for entry in read_events(FOLDER / "calendar.ics") if entry.value]
    assert {"", "UTC", "Europe/Berlin", "Asia/Kolkata"} <= {each.zone for each in found}
    assert any(each.rules for each in found)
    assert any(each.excluded for each in found)
    assert any(each.recurrence for each in found)


def test_the_counts_are_a_few_hundred() -> None:
    assert sum(1 for _ in read_mail(FOLDER / "mail.mbox")) >= 300
    assert sum(1 for _ in read_contacts(FOLDER / "contacts.vcf")) >= 150
    assert sum(1 for _ in read_events(FOLDER / "calendar.ics")) >= 120
