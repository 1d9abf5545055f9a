"""Any address book can be read: no card is dropped, and no line of one without a word."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.pim.contacts import parse_card
from examples.pim.parsed import Card, Entry
from examples.pim.vcardtext import split_cards


def entries_of(source: bytes | str) -> list[Entry[Card]]:
    data = source.encode() if isinstance(source, str) else source
    return [parse_card(raw) for raw in split_cards(data)]


def entry_of(version: str, *lines: bytes | str) -> Entry[Card]:
    body = b"\r\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    start = f"BEGIN:VCARD\r\nVERSION:{version}\r\n".encode()
    [entry] = entries_of(start + body + b"\r\nEND:VCARD\r\n")
    return entry


def card_of(version: str, *lines: bytes | str) -> Card:
    entry = entry_of(version, *lines)
    assert entry.value is not None, "a card with content is never dropped"
    assert entry.problems == []
    return entry.value


def test_version_2_with_its_charsets_and_soft_line_breaks() -> None:
    card = card_of(
        "2.1",
        "N;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:M=FCller;J=F6rg",
        "FN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:J=F6rg =",
        "M=FCller",
        "TEL;HOME;VOICE:+49 30 1",
        "NOTE;QUOTED-PRINTABLE:one=0D=0Atwo, three; C:\\new",
        "EMAIL;INTERNET:j@example.org",
    )
    assert (card.name, card.family, card.given) == ("Jörg Müller", "Müller", "Jörg")
    assert card.phones == [("home, voice", "+49 30 1")]
    assert card.note == "one\ntwo, three; C:\\new"
    assert card.emails == ["j@example.org"]


def test_version_2_in_bare_bytes_of_its_charset() -> None:
    card = card_of("2.1", b"N;CHARSET=KOI8-R:" + "Жук;Юля".encode("koi8-r"))
    assert card.name == "Юля Жук"


def test_version_3() -> None:
    card = card_of(
        "3.0",
        "UID:abc", "N:Doe;Jane,Mary;;Dr.;", "FN:Jane Doe\\, Ph.D.", "ORG:Heron\\; Sons;Boats",
        "item1.EMAIL;TYPE=INTERNET;TYPE=pref:Jane@example.org", "EMAIL:jane@example.com",
        "ADR;TYPE=HOME:;;1 Mill Lane;Northwick;;10001;Land", "CATEGORIES:friends,boats\\, both",
        "BDAY;VALUE=date:1980-02-29", "NOTE:one\\ntwo", "X-SKILL:knots",
    )  # fmt: skip
    assert (card.uid, card.name, card.family) == ("abc", "Jane Doe, Ph.D.", "Doe")
    assert card.organization == "Heron; Sons / Boats"
    assert card.emails == ["Jane@example.org", "jane@example.com"]
    assert card.addresses == ["1 Mill Lane, 10001, Northwick, Land"]
    assert card.categories == ["friends", "boats, both"]
    assert (card.birthday, card.note) == (date(1980, 2, 29), "one\ntwo")
    assert card.others == [("X-SKILL", "knots")]


def test_version_4() -> None:
    card = card_of(
        "4.0", "FN;LANGUAGE=en;ALTID=1:Jane", 'TEL;VALUE=uri;TYPE="voice,home":tel:+1-555-0100',
        "GENDER:F", "NICKNAME:J,JJ", "PHOTO:data:image/png;base64,aGVsbG8=",
    )  # fmt: skip
    assert card.phones == [("voice, home", "+1-555-0100")]
    assert card.photo == b"hello"
    assert ("GENDER", "F") in card.others
    assert [value for name, value in card.others if name == "NICKNAME"] == ["J", "JJ"]


@pytest.mark.parametrize(
    "lines",
    [
        ("PHOTO;ENCODING=b;TYPE=PNG:aGVsbG8=",),
        ("PHOTO;ENCODING=BASE64;PNG:", "  aGVs", "  bG8=", ""),
        ("PHOTO;BASE64:aGVs", " bG8="),
    ],
)
def test_photos_of_older_versions(lines: tuple[str, ...]) -> None:
    assert card_of("2.1", "N:Doe;Jane", *lines).photo == b"hello"


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"])
@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_line_end_and_byte_order_mark(line_end: bytes, charset: str) -> None:
    source = "BEGIN:VCARD\nVERSION:3.0\nFN:Jörg\nEND:VCARD\n".replace("\n", line_end.decode())
    [entry] = entries_of(source.encode(charset))
    assert entry.value is not None
    assert entry.value.name == "Jörg"


def test_lines_folded_within_a_character() -> None:
    data = "NOTE:Schlüssel".encode()
    at = data.index("ü".encode()) + 1
    assert card_of("3.0", "FN:x", data[:at], b" " + data[at:]).note == "Schlüssel"


def test_commas_and_semicolons_that_nobody_escaped_are_text() -> None:
    card = card_of("3.0", "FN:Doe, Jane; Ph.D.", "NOTE:a, b; c", "ORG:Doe, Inc")
    assert (card.name, card.note, card.organization) == ("Doe, Jane; Ph.D.", "a, b; c", "Doe, Inc")


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (("N:Doe;Jane;;;",), "Jane Doe"),
        (("FN:", "N:Doe;Jane;;;"), "Jane Doe"),
        (("ORG:Heron Boats",), "Heron Boats"),
        (("EMAIL:jane@example.org",), "jane@example.org"),
    ],
)
def test_a_card_without_a_formatted_name_is_called_by_what_it_has(
    lines: tuple[str, ...], name: str
) -> None:
    assert card_of("3.0", *lines).name == name


@pytest.mark.parametrize(
    ("value", "birthday", "text"),
    [
        ("19800229", date(1980, 2, 29), ""),
        ("1980-02-29T00:00:00Z", date(1980, 2, 29), ""),
        ("--0412", None, "--0412"),
        ("1604-04-12", None, "--0412"),
        ("1985", None, "1985"),
        ("circa 1800", None, "circa 1800"),
    ],
)
def test_birthdays(value: str, birthday: date | None, text: str) -> None:
    card = card_of("4.0", "FN:x", f"BDAY:{value}")
    assert (card.birthday, card.birthday_text) == (birthday, text)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("this is no property",), "not understood"),
        (("BEGIN:VOTHER",), "not understood"),
        (("PHOTO;ENCODING=b:!!",), "base64"),
        (("KEY;ENCODING=b:AAAA",), "KEY of 3 bytes not kept"),
        (("BDAY:1999-02-31",), "no such day"),
        (("NOTE;CHARSET=KLINGON:x",), "unknown charset"),
        ((b"NOTE:J\xf6rg",), "Windows-1252"),
    ],
)
def test_a_broken_line_costs_no_other(lines: tuple[bytes | str, ...], told: str) -> None:
    entry = entry_of("3.0", "FN:Jane", *lines, "EMAIL:jane@example.org")
    assert entry.value is not None
    assert (entry.value.name, entry.value.emails) == ("Jane", ["jane@example.org"])
    assert told in entry.problems[0]


def test_a_card_without_an_end_ends_where_the_next_begins() -> None:
    cards = "BEGIN:VCARD\nVERSION:3.0\nFN:One\nBEGIN:VCARD\nVERSION:3.0\nFN:Two\nEND:VCARD\n"
    entries = entries_of(cards + cards.partition("Two")[0] + "Three")
    names = [entry.value and entry.value.name for entry in entries]
    assert names == ["One", "Two", "One", "Three"]
    told = [entry.problems for entry in entries]
    assert told == [["no END:VCARD"], [], ["no END:VCARD"], ["no END:VCARD"]]


def test_a_card_within_a_card_is_a_card() -> None:
    inner = "BEGIN:VCARD\nVERSION:2.1\nN:Agent;Small\nEND:VCARD\n"
    entries = entries_of(f"BEGIN:VCARD\nVERSION:2.1\nN:Boss;Big\nAGENT:\n{inner}END:VCARD\n")
    assert [entry.value and entry.value.name for entry in entries] == ["Small Agent", "Big Boss"]


def test_what_is_no_card_is_listed_with_its_line() -> None:
    card = "BEGIN:VCARD\nVERSION:3.0\nFN:x\nEND:VCARD\n"
    entries = entries_of(f"{card}\nhello\nworld\n{card}BEGIN:VCARD\nVERSION:3.0\nEND:VCARD\n")
    assert [entry.position for entry in entries] == ["line 1", "line 6", "line 8", "line 12"]
    assert [entry.value is None for entry in entries] == [False, True, False, True]
    assert all(entry.problems for entry in entries if entry.value is None)


_LINES = st.one_of(
    st.binary(max_size=40),
    st.builds(
        b"%s%s:%s".__mod__,
        st.tuples(
            st.sampled_from(
                [b"N", b"FN", b"ADR", b"ORG", b"BDAY", b"PHOTO", b"TEL", b"GEO", b"X-A"]
            ),
            st.sampled_from(
                [b"", b";ENCODING=b", b";QUOTED-PRINTABLE", b";CHARSET=utf-16", b';T="']
            ),
            st.binary(max_size=30),
        ),
    ),
)


@given(st.sampled_from(["2.1", "3.0", "4.0", ""]), st.lists(_LINES, max_size=8))
def test_any_lines_make_a_card_or_are_listed(version: str, lines: list[bytes]) -> None:
    source = f"BEGIN:VCARD\nVERSION:{version}\n".encode() + b"\n".join(lines) + b"\nEND:VCARD\n"
    for entry in entries_of(source):
        assert entry.value is not None or entry.problems
        if entry.value is not None:
            assert entry.value.name.encode() is not None
