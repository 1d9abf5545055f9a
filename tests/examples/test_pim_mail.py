"""Any mail can be read: what is in it comes out, and what is wrong with it is told."""

from __future__ import annotations

import mailbox
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.pim.mail import digest_of, parse_message, read_mail
from examples.pim.mailboxes import Raw, raw_messages
from examples.pim.parsed import Entry, Mail
from examples.pim.sample.hostile import hostile_mails
from examples.pim.text import NAME_LENGTH


def entry_of(source: bytes | str) -> Entry[Mail]:
    data = source.encode() if isinstance(source, str) else source
    return parse_message(Raw("here", data))


def mail_of(source: bytes | str) -> Mail:
    mail = entry_of(source).value
    assert mail is not None, "a message with content is never dropped"
    return mail


def with_file(disposition: str) -> str:
    return (
        "Content-Type: multipart/mixed; boundary=edge\n\n--edge\n"
        f"Content-Type: image/png\nContent-Disposition: attachment{disposition}\n"
        "Content-Transfer-Encoding: base64\n\naGVsbG8=\n--edge--\n"
    )


def test_the_usual_headers_are_read() -> None:
    mail = mail_of(
        "From: =?utf-8?q?J=C3=B6rg?= <j@example.org>\n"
        'To: "Doe, Jane" <jane@example.org>, bob@example.com\n'
        "Cc: =?utf-8?b?0J7Qu9GM0LPQsA==?= <o@example.org>\n"
        "Subject: =?iso-8859-1?q?Gr=FC=DFe?= and\n =?utf-8?b?bW9yZQ==?=\n"
        "Date: Mon, 10 Mar 2025 10:00:00 +0100\nMessage-ID: <1@example.org>\n\nhello\n"
    )
    assert (mail.sender_name, mail.sender_address) == ("Jörg", "j@example.org")
    assert mail.recipients == [
        "Doe, Jane <jane@example.org>", "bob@example.com", "Ольга <o@example.org>",
    ]  # fmt: skip
    assert mail.subject == "Grüße and more"
    assert mail.date == datetime(2025, 3, 10, 9, tzinfo=UTC)
    assert (mail.message_id, mail.text) == ("1@example.org", "hello\n")


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("Mon, 10 Mar 2025 10:00:00 +0100", datetime(2025, 3, 10, 9, tzinfo=UTC)),
        ("10 Mar 2025 10:00:00 -0000", datetime(2025, 3, 10, 10, tzinfo=UTC)),
        ("Mon, 10 Mar 2025 10:00 EST (somewhere)", datetime(2025, 3, 10, 15, tzinfo=UTC)),
    ],
)
def test_dates_are_in_utc(date: str, moment: datetime) -> None:
    assert mail_of(f"Date: {date}\n\n").date == moment


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Mon, 99 Jan 99999 77:00:00 +9999", "\0", "1 2 3"]
)
def test_a_date_that_is_none_is_told(date: str) -> None:
    entry = entry_of(f"From: a@example.org\nDate: {date}\n\n")
    assert entry.value is not None
    assert entry.value.date is None
    assert any("date" in problem for problem in entry.problems)


@pytest.mark.parametrize(
    ("declared", "data", "text", "told"),
    [
        ("; charset=koi8-r", "привет".encode("koi8-r"), "привет", False),
        ("; charset=iso-2022-jp", "湖の写真".encode("iso-2022-jp"), "湖の写真", False),
        ("; charset=gb2312", "镕".encode("gb18030"), "镕", False),
        ("", "Grüße".encode(), "Grüße", False),
        ("", "Grüße".encode("latin-1"), "Grüße", True),
        ("; charset=klingon", "Grüße".encode(), "Grüße", True),
        ("; charset=utf-8", "Grüße".encode("latin-1"), "Gr\ufffd\ufffde", True),
        ("; charset=hex", b"Hello", "Hello", True),
    ],
)
def test_text_is_decoded_whatever_its_charset(
    declared: str, data: bytes, text: str, told: bool
) -> None:
    source = b"From: a@example.org\nDate: Mon, 10 Mar 2025 10:00:00 +0000\n"
    entry = entry_of(source + b"Content-Type: text/plain" + declared.encode() + b"\n\n" + data)
    assert entry.value is not None
    assert entry.value.text == text
    assert bool(entry.problems) == told


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        ("=?utf-8?q?one_?=\n =?utf-8?q?word?=", "one word"),
        ("two\n =?utf-8?q?words?=", "two words"),
        ("=?utf-8?b?w?= and =?x?", "=?utf-8?b?w?= and =?x?"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),
    ],
)
def test_encoded_words(header: str, subject: str) -> None:
    assert mail_of(f"Subject: {header}\n\n").subject == subject


def test_headers_in_bare_bytes_are_read() -> None:
    assert mail_of(b"Subject: Gr\xfc\xdfe\n\n").subject == "Grüße"
    assert mail_of("Subject: Γράμμα\n\n").subject == "Γράμμα"


def test_a_subject_is_one_line_without_commands_to_a_terminal() -> None:
    assert mail_of(b"Subject: \x1b[31mRed\x07\n alert\x9b2J\n\n").subject.isprintable()


def test_a_thread_is_named_by_its_first_message() -> None:
    root = "Message-ID: <root@example.org>\n\n"
    answer = "Message-ID: <b@example.org>\nReferences: <root@example.org> <a@example.org>\n\n"
    other = "Message-ID: <c@example.org>\nIn-Reply-To: <root@example.org>\n\n"
    assert {mail_of(each).thread for each in (root, answer, other)} == {"root@example.org"}


def test_without_an_id_a_message_is_a_thread_of_its_own() -> None:
    first, second = mail_of("Subject: a\n\n"), mail_of("Subject: b\n\n")
    assert first.message_id == ""
    assert first.thread != second.thread


def test_html_is_read_as_text_if_there_is_no_other() -> None:
    page = "<head><title>T</title></head><p>Tom &amp; <b>Jerry<p>x<script>alert(1)</script>"
    mail = mail_of(f"Content-Type: text/html\n\n{page}")
    assert mail.text == "Tom & Jerry\nx"
    assert mail.html == page


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('; filename="heron.png"', "heron.png"),
        ('; filename="../../etc/passwd"', "passwd"),
        ('; filename="C:\\\\Windows\\\\calc.exe"', "calc.exe"),
        ('; filename=".."', "part-1.png"),
        ("", "part-1.png"),
        ("; filename*=utf-8''photo%00.png", "photo.png"),
        ("; filename*=utf-8''holiday%E2%80%AEgpj.exe", "holiday gpj.exe"),
        ("; filename*0*=utf-8''%C3%BCber; filename*1=morgen.png", "übermorgen.png"),
        ('; filename="=?koi8-r?b?8NLJ18XU?=.png"', "Привет.png"),
        ("; filename*=utf-8''%D7%9E%D7%9B%D7%AA%D7%91.png", "מכתב.png"),
    ],
)
def test_an_attachment_has_a_name_that_harms_nobody(disposition: str, name: str) -> None:
    [attached] = mail_of(with_file(disposition)).attachments
    assert (attached.name, attached.content_type) == (name, "image/png")
    assert attached.data == b"hello"


def test_a_long_name_is_shortened_and_keeps_its_suffix() -> None:
    entry = entry_of(with_file(f'; filename="{"x" * 300}.png"'))
    assert entry.value is not None
    [attached] = entry.value.attachments
    assert len(attached.name) == NAME_LENGTH
    assert attached.name.endswith("x.png")
    assert any("attachment name" in problem for problem in entry.problems)


def test_a_message_within_a_message_is_an_attachment() -> None:
    inner = (
        b"From: i@example.org\nSubject: =?utf-8?q?gr=C3=BC=C3=9Ft?= "
        + b"long " * 40
        + b"\n\nText\n"
    )
    start = b"Content-Type: multipart/mixed; boundary=edge\n\n--edge\n\nSee below.\n--edge\n"
    mail = mail_of(start + b"Content-Type: message/rfc822\n\n" + inner + b"\n--edge--\n")
    assert mail.text == "See below."
    assert [each.data for each in mail.attachments] == [inner]


@pytest.mark.parametrize(
    "source",
    [
        "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\nhello",
        "Content-Type: multipart/mixed; boundary=x\n\nhello",
        "Content-Type: multipart/mixed\n\nhello",
        "Content-Type: ;;;\n\nhello",
        "this line is no header\n\nhello",
        "Content-Transfer-Encoding: base64\n\naGVsbG8!!!\n",
        "Content-Transfer-Encoding: x-pigeon\n\nhello",
    ],
)
def test_the_text_of_a_broken_message_is_kept_and_the_damage_told(source: str) -> None:
    whole = "From: a@example.org\nDate: Mon, 10 Mar 2025 10:00:00 +0000\n" + source
    entry = entry_of(whole)
    assert entry.value is not None
    assert "hello" in entry.value.text
    assert entry.problems or ";;;" in source, "nothing is repaired silently"


def test_a_message_too_deep_to_be_read_is_kept_as_its_source() -> None:
    nested = "".join(
        f"Content-Type: multipart/mixed; boundary=b{depth}\n\n--b{depth}\n" for depth in range(1500)
    )
    entry = entry_of(f"Subject: deep\n{nested}\nbottom")
    assert entry.value is not None
    assert entry.value.subject == "deep"
    assert "bottom" in entry.value.text
    assert any("kept as its source" in problem for problem in entry.problems)


def test_an_empty_message_is_listed() -> None:
    entry = entry_of(b"\n\n")
    assert entry.value is None
    assert entry.problems == ["empty message"]


def storable(mail: Mail) -> bool:
    texts = [mail.subject, mail.text, mail.html, mail.sender_name, mail.thread, *mail.recipients]
    names = [each.name for each in mail.attachments]
    return all(text.encode() is not None for text in [*texts, *names])


@given(st.binary())
def test_any_bytes_can_be_read(data: bytes) -> None:
    entry = entry_of(data)
    assert (entry.value is None) == (not data.strip())
    assert entry.value is None or storable(entry.value)


@given(st.sampled_from(hostile_mails()), st.integers(0, 400), st.binary(max_size=9))
def test_any_damage_can_be_read(source: bytes, at: int, damage: bytes) -> None:
    damaged = source[:at] + damage + source[at + len(damage) :]
    entry = entry_of(damaged)
    assert entry.value is None or storable(entry.value)


# Mailboxes

FIRST = b"Subject: first\n\nFrom here on, it is still the first.\n\nFrom now on, too.\n"
SECOND = b"Subject: second\r\n\r\nbody\r\n"


def separated(*messages: bytes) -> bytes:
    line = b"From a@example.org Mon Mar 10 10:00:00 2025\n"
    return b"\n".join(line + message for message in messages)


def test_a_line_of_text_that_begins_with_from_does_not_end_a_message(tmp_path: Path) -> None:
    path = tmp_path / "mail.mbox"
    path.write_bytes(separated(FIRST, SECOND))
    found = list(raw_messages(path))
    assert [raw.data for raw in found] == [FIRST, SECOND]
    start = path.read_bytes().index(SECOND) - len(separated(b""))
    assert [raw.position for raw in found] == ["message 1 at byte 0", f"message 2 at byte {start}"]


def test_mail_in_a_maildir_is_the_same_as_in_an_mbox(tmp_path: Path) -> None:
    box = mailbox.Maildir(tmp_path / "box")
    box.add(FIRST)
    box.add_folder("Archive").add(SECOND)
    (tmp_path / "mail").write_bytes(separated(FIRST, SECOND))
    in_maildir = {entry.value.digest for entry in read_mail(tmp_path / "box") if entry.value}
    in_mbox = {entry.value.digest for entry in read_mail(tmp_path / "mail") if entry.value}
    assert in_maildir == in_mbox == {digest_of(FIRST), digest_of(SECOND)}


def test_a_file_in_a_maildir_that_cannot_be_opened_is_listed(tmp_path: Path) -> None:
    folder = tmp_path / "box"
    mailbox.Maildir(folder).add(FIRST)
    (folder / "new" / "gone").symlink_to(tmp_path / "nowhere")
    entries = list(read_mail(folder))
    assert sorted(entry.value is None for entry in entries) == [False, True]
    [problem] = [entry.problems[0] for entry in entries if entry.value is None]
    assert problem.startswith("cannot be opened")


def test_an_eml_file_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "one.eml"
    path.write_bytes(FIRST)
    assert [raw.data for raw in raw_messages(path)] == [FIRST]


def test_an_empty_mailbox_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "empty.mbox"
    path.touch()
    assert list(raw_messages(path)) == []
