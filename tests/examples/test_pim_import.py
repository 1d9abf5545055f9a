"""Mail, contacts and calendars in a store: all of it, each once, and found by every index."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from atop import Store
from examples.pim.importer import PART_ENTRIES, Importer, Tally
from examples.pim.mail import read_mail
from examples.pim.model import Message, Pools
from examples.pim.recurrence import FOREVER
from examples.pim.sample.make_samples import FOLDER
from examples.pim.show import newest_mail, occurrences
from examples.pim.sources import UnknownSource

SAMPLES = [FOLDER / name for name in ("mail.mbox", "maildir", "contacts.vcf", "calendar.ics")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "pim.atop", durable=False) as opened:
        yield opened


@pytest.fixture
def pools(store: Store) -> Pools:
    return Pools(store)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    with Store(tmp_path_factory.mktemp("sample") / "pim.atop", durable=False) as opened:
        import_all(opened, *SAMPLES)
        yield Pools(opened)


def import_all(store: Store, *paths: Path) -> list[Tally]:
    importer = Importer(store)
    return [importer.run(path) for path in paths]


def import_text(store: Store, path: Path, text: str) -> Tally:
    path.write_text(text, encoding="utf-8")
    return Importer(store).run(path)


def counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.added, tally.updated, tally.unchanged, tally.lost


def card(name: str, uid: str = "1") -> str:
    return f"BEGIN:VCARD\nVERSION:3.0\nUID:{uid}\nFN:{name}\nEND:VCARD\n"


def calendar(*events: str) -> str:
    body = "".join(f"BEGIN:VEVENT\n{event}\nEND:VEVENT\n" for event in events)
    return f"BEGIN:VCALENDAR\n{body}END:VCALENDAR\n"


def test_everything_is_imported_or_listed(store: Store, pools: Pools) -> None:
    tallies = import_all(store, *SAMPLES)
    messages, maildir, contacts, events = tallies
    assert len(pools.messages) == messages.added + maildir.added
    assert len(pools.contacts) == contacts.added
    assert len(pools.events) == events.added
    for tally in tallies:
        lost = {problem.position for problem in tally.problems if problem.lost}
        assert len(lost) == tally.lost, "whatever is lost is listed with its position"
    assert counts(maildir)[2] == 1, "the message that the mbox has too is stored once"


def test_a_second_import_adds_nothing(store: Store) -> None:
    first = import_all(store, *SAMPLES)
    size = len(store)
    second = import_all(store, *SAMPLES)
    assert len(store) == size
    for before, after in zip(first, second, strict=True):
        assert counts(after) == (0, 0, before.added + before.unchanged, before.lost)
        assert after.problems == before.problems


def test_attachments_are_files_with_the_bytes_that_were_sent(sample: Pools) -> None:
    entries = (entry for path in SAMPLES[:2] for entry in read_mail(path))
    sent = {entry.value.digest: entry.value for entry in entries if entry.value}
    compared = 0
    message: Message
    for message in sample.messages:
        expected = [(each.name, each.data) for each in sent[message.digest].attachments]
        found = [(file.name, file.path.read_bytes()) for file in message.attachments]
        assert found == expected
        compared += len(found)
    assert compared == len(sample.attachments) > 50


def test_mail_with_attachments_by_size_is_a_query(sample: Pools) -> None:
    query = sample.messages.queryIndex("attached_size", endKey=0, backwards=True)
    sizes = [message.attached_size for message in query]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == sum(1 for message in sample.messages if message.attachments)


def test_every_index_shows_every_message(sample: Pools) -> None:
    for index in ("date", "sender", "subject", "thread", "attached_size", "digest"):
        assert len(sample.messages.queryIndex(index)) == len(sample.messages)


def test_mail_without_a_date_comes_first(sample: Pools) -> None:
    undated = sample.messages.queryIndex("date", key=None)
    assert len(undated) >= 4
    first = sample.messages.queryIndex("date")[: len(undated)]
    assert [message.date for message in first] == [None] * len(undated)


def test_two_messages_with_one_id_are_both_kept(sample: Pools) -> None:
    found = sample.messages.queryIndex("message_id", key="same@example.org")
    assert {message.subject for message in found} == {"First with this id", "Second with this id"}


def test_an_answer_is_found_with_its_thread_and_sorted_by_its_subject(sample: Pools) -> None:
    answer = next(each for each in sample.messages if each.subject.startswith("Re: "))
    assert len(sample.messages.queryIndex("thread", key=answer.thread)) > 1
    subject = answer.subject.removeprefix("Re: ").casefold()
    assert answer in list(sample.messages.queryIndex("subject", key=subject))


def test_contacts_from_bob_on(sample: Pools) -> None:
    names = [contact.name for contact in sample.contacts.queryIndex("name", startKey="Bob")]
    assert names == sorted(names)
    assert names[0].startswith("Bob")


def test_a_contact_is_found_by_each_of_its_addresses(sample: Pools) -> None:
    contact = next(each for each in sample.contacts if len(each.emails) == 2)
    for email in contact.emails:
        assert contact in list(sample.contacts.queryIndex("email", key=email))


def test_a_changed_contact_is_updated(store: Store, pools: Pools, tmp_path: Path) -> None:
    path = tmp_path / "c.vcf"
    assert counts(import_text(store, path, card("Jane"))) == (1, 0, 0, 0)
    jane = pools.contacts.getIndexItem("name", "Jane")
    assert counts(import_text(store, path, card("Jane Doe"))) == (0, 1, 0, 0)
    assert pools.contacts.getIndexItem("name", "Jane Doe") is jane
    assert len(pools.contacts) == 1


def test_a_changed_photo_takes_the_place_of_the_old(
    store: Store, pools: Pools, tmp_path: Path
) -> None:
    def with_photo(data: str) -> str:
        return card(f"Jane\nPHOTO;ENCODING=b:{data}")

    path = tmp_path / "c.vcf"
    import_text(store, path, with_photo("aGVsbG8="))
    [jane] = pools.contacts
    old = jane.photo
    import_text(store, path, with_photo("aGVsbG8=") + "\n" + card("Bob", "2"))
    assert jane.photo is old
    import_text(store, path, with_photo("d29ybGQ="))
    assert jane.photo.path.read_bytes() == b"world"
    assert old.id not in store


def test_two_cards_with_one_uid_are_both_kept(store: Store, pools: Pools, tmp_path: Path) -> None:
    text = card("Jane") + card("Joan") + card("Jane")
    tally = import_text(store, tmp_path / "c.vcf", text)
    assert counts(tally) == (2, 0, 1, 0)
    assert "both kept" in tally.problems[0].reason
    assert {contact.name for contact in pools.contacts} == {"Jane", "Joan"}
    assert counts(import_text(store, tmp_path / "c.vcf", text)) == (0, 0, 3, 0)


def test_a_replaced_occurrence_takes_place_once(store: Store, pools: Pools, tmp_path: Path) -> None:
    series = "UID:1\nSUMMARY:usual\nDTSTART:20251007T180000Z\nRRULE:FREQ=WEEKLY"
    moved = "UID:1\nSUMMARY:moved\nRECURRENCE-ID:20251014T180000Z\nDTSTART:20251015T190000Z"
    import_text(store, tmp_path / "c.ics", calendar(series, moved))
    month = datetime(2025, 10, 1, tzinfo=UTC), datetime(2025, 11, 1, tzinfo=UTC)
    found = sorted((start.day, event.summary) for start, _, event in occurrences(pools, *month))
    assert found == [(7, "usual"), (15, "moved"), (21, "usual"), (28, "usual")]


def test_a_changed_series_is_updated(store: Store, pools: Pools, tmp_path: Path) -> None:
    path = tmp_path / "c.ics"
    import_text(store, path, calendar("UID:1\nDTSTART:20251007\nRRULE:FREQ=YEARLY"))
    [event] = pools.events
    assert event.ends == FOREVER
    tally = import_text(store, path, calendar("UID:1\nDTSTART:20251008"))
    assert counts(tally) == (0, 1, 0, 0)
    assert (event.start, event.ends) == (date(2025, 10, 8), datetime(2025, 10, 9, tzinfo=UTC))


def test_the_events_of_the_month_are_found_however_long_ago_they_began(sample: Pools) -> None:
    since = newest_mail(sample).replace(day=1, hour=0, minute=0, second=0)
    found = list(occurrences(sample, since, since + timedelta(days=31)))
    assert any(event.begins.year < 1980 for _, _, event in found if event.begins)
    assert all(start < since + timedelta(days=31) for start, _, _ in found)


def test_many_messages_are_imported_in_parts(store: Store, pools: Pools, tmp_path: Path) -> None:
    line = "From a@example.org Mon Mar 10 10:00:00 2025\n"
    count = 2 * PART_ENTRIES + 1
    (tmp_path / "mail").write_text("\n".join(f"{line}Subject: {n}\n\nx\n" for n in range(count)))
    steps: list[int] = []
    tally = Importer(store).run(tmp_path / "mail", steps.append)
    assert (tally.added, len(pools.messages), len(steps)) == (count, count, 3)


def test_all_that_was_imported_is_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "again.atop"
    with Store(path) as store:
        import_all(store, *SAMPLES)
        before = [message.subject for message in Pools(store).messages.queryIndex("date")]
    with Store(path, readOnly=True) as store:
        pools = Pools(store)
        assert [message.subject for message in pools.messages.queryIndex("date")] == before
        assert all(file.path.stat().st_size == file.size for file in pools.attachments)


@pytest.mark.parametrize("name", ["picture.png", "folder"])
def test_what_cannot_be_imported_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    with pytest.raises(UnknownSource, match=name):
        Importer(store).run(path)


def test_what_has_no_suffix_is_told_by_how_it_begins(store: Store, tmp_path: Path) -> None:
    kinds = []
    for name, text in enumerate((card("Jane"), calendar("UID:1"), "Subject: x\n\n", "")):
        kinds.append(import_text(store, tmp_path / str(name), text).kind)
    assert kinds == ["contacts", "events", "messages", "messages"]
