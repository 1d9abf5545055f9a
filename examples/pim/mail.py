"""From the bytes of a message to a :class:`~examples.pim.parsed.Mail`, whatever is in them.

Headers are read raw and decoded here: the parser of ``email`` keeps even broken ones, while its
typed headers raise on some that real mailboxes hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import collapse_rfc2231_value, getaddresses, parsedate_to_datetime
from hashlib import sha256
from pathlib import Path

from .mailboxes import Raw, raw_messages
from .parsed import Attached, Entry, Mail
from .text import clean, decode, one_line, safe_name, text_of_html

_POLICY = compat32.clone(max_line_length=0)
_SUFFIXES = {"message/rfc822": "eml", "text/calendar": "ics", "text/plain": "txt"}
_ENCODINGS = {"", "7bit", "8bit", "binary", "base64", "quoted-printable", "x-uuencode", "uuencode"}
_ADDRESS = re.compile(r"[^\s<>,;:\"()]+@[^\s<>,;:\"()]+")
_IDENTIFIER = re.compile(r"<([^<>\s]+)>")


def read_mail(path: Path) -> Iterator[Entry[Mail]]:
    """Every message of a mailbox, one at a time."""
    for raw in raw_messages(path):
        if raw.problem:
            yield Entry(raw.position, 0, None, [raw.problem])
        else:
            yield parse_message(raw)


def parse_message(raw: Raw) -> Entry[Mail]:
    """One message; only one without any content has no value."""
    if not raw.data.strip():
        return Entry(raw.position, len(raw.data), None, ["empty message"])
    problems: list[str] = []
    mail = _parse(raw.data, problems)
    return Entry(raw.position, len(raw.data), mail, problems)


def digest_of(data: bytes) -> str:
    """The same for the same message from an mbox and from a Maildir, with any line ends."""
    return sha256(data.replace(b"\r\n", b"\n").rstrip(b"\n")).hexdigest()


def _parse(data: bytes, problems: list[str]) -> Mail:
    mail = _headers(BytesHeaderParser(policy=_POLICY).parsebytes(data), data, problems)
    try:
        _contents(message_from_bytes(data, policy=_POLICY), mail, problems)
    # What ``email`` raises on hostile input is no closed set; the message is kept all the same.
    except Exception as error:
        problems.append(f"kept as its source, {type(error).__name__}: {one_line(str(error))[:80]}")
        mail.text, mail.html, mail.attachments = decode(data)[0], "", []
    return mail


def _headers(message: Message, data: bytes, problems: list[str]) -> Mail:
    headers = _Headers(message, problems)
    digest = digest_of(data)
    identifier = _first_identifier(headers.raw("message-id")) or one_line(headers.raw("message-id"))
    root = _first_identifier(headers.raw("references")) or _first_identifier(
        headers.raw("in-reply-to")
    )
    name, address = headers.sender()
    return Mail(
        digest=digest,
        message_id=identifier,
        thread=root or identifier or digest,
        date=headers.date(),
        sender_name=name,
        sender_address=address,
        recipients=headers.recipients(),
        subject=headers.text("subject"),
        text="",
        html="",
        size=len(data),
    )


def _first_identifier(value: str) -> str:
    found = _IDENTIFIER.search(value)
    return one_line(found.group(1)) if found else ""


class _Headers:
    """The headers of one message as text; what is wrong with them goes to ``problems``."""

    def __init__(self, message: Message, problems: list[str]) -> None:
        self._values: dict[str, list[str]] = {}
        self._problems = problems
        for name, value in message.raw_items():
            self._values.setdefault(name.lower(), []).append(self._text_of(name, str(value)))

    def _text_of(self, name: str, value: str) -> str:
        text, problem = decode(value.encode("utf-8", "surrogateescape"))
        if problem:
            self._problems.append(f"header {one_line(name)}: {problem}")
        return text.replace("\n", "")

    def raw(self, name: str) -> str:
        return self._values.get(name, [""])[0]

    def text(self, name: str) -> str:
        text, problem = decode_words(self.raw(name))
        if problem:
            self._problems.append(f"header {name}: {problem}")
        return one_line(text)

    def date(self) -> datetime | None:
        value = self.raw("date")
        if not value.strip():
            self._problems.append("no date")
            return None
        try:
            when = parsedate_to_datetime(value)
            return when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)
        except (ValueError, TypeError, IndexError, OverflowError):
            self._problems.append(f"date not understood: {one_line(value)[:60]!r}")
            return None

    def sender(self) -> tuple[str, str]:
        for name in ("from", "sender"):
            for display, address in self._addresses(name):
                return display, address
        self._problems.append("no sender")
        return self.text("from"), ""

    def recipients(self) -> list[str]:
        found = (pair for name in ("to", "cc", "bcc") for pair in self._addresses(name))
        return [f"{display} <{address}>" if display else address for display, address in found]

    def _addresses(self, name: str) -> Iterator[tuple[str, str]]:
        # Parsed before encoded words are decoded: a decoded name may hold commas.
        found = [pair for pair in getaddresses(self._values.get(name, [])) if any(pair)]
        if not found:
            found = [("", address) for address in _ADDRESS.findall(self.raw(name))]
        for display, address in found:
            yield one_line(decode_words(display)[0]), one_line(address)


def decode_words(value: str) -> tuple[str, str]:
    """A header with its encoded words (``=?utf-8?q?...?=``) decoded, and what was wrong."""
    try:
        chunks = decode_header(value)
    except (HeaderParseError, ValueError):
        return clean(value), "an encoded word cannot be decoded"
    texts, problem = [], ""
    for chunk, charset in chunks:
        if isinstance(chunk, str):
            texts.append(chunk)
            continue
        text, wrong = decode(chunk, charset or "raw-unicode-escape")
        texts.append(text)
        problem = problem or wrong
    return clean("".join(texts)), problem


def _contents(message: Message, mail: Mail, problems: list[str]) -> None:
    texts, pages = list[str](), list[str]()
    for number, part in enumerate(_leaves(message, problems), start=1):
        if not _is_body(part):
            mail.attachments.append(_attachment(part, number, problems))
            continue
        text, problem = decode(_data(part), part.get_content_charset())
        (pages if part.get_content_subtype() == "html" else texts).append(text)
        if problem:
            problems.append(f"text: {problem}")
    mail.html = "\n".join(pages)
    mail.text = "\n".join(texts) if texts else text_of_html(mail.html)


def _leaves(message: Message, problems: list[str]) -> Iterator[Message]:
    pending = [message]
    while pending:
        part = pending.pop()
        children = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(children, list):
            problems.extend(_defects(part))
            pending.extend(child for child in reversed(children) if isinstance(child, Message))
        else:
            yield part
            # Decoding a part finds more defects, so they are asked for after it.
            problems.extend(_defects(part))


def _shortened(text: str) -> str:
    """The text as Python writes it, which shows what would not be seen; its middle left out."""
    shown = repr(text)
    return shown if len(shown) <= 50 else f"{shown[:25]}...{shown[-22:]}"


def _defects(part: Message) -> list[str]:
    names = dict.fromkeys(type(defect).__name__ for defect in part.defects)
    encoding = one_line(str(part.get("content-transfer-encoding", ""))).lower()
    unknown = [f"unknown encoding {_shortened(encoding)}"] if encoding not in _ENCODINGS else []
    return [*map(_in_words, names), *unknown]


def _in_words(name: str) -> str:
    """``StartBoundaryNotFoundDefect`` as ``start boundary not found``."""
    return re.sub(r"(?<!^)([A-Z])", r" \1", name.removesuffix("Defect")).lower()


def _is_body(part: Message) -> bool:
    if part.get_content_maintype() == "multipart":
        return True
    if part.get_content_type() not in ("text/plain", "text/html"):
        return False
    return part.get_content_disposition() != "attachment" and not _name(part)


def _data(part: Message) -> bytes:
    payload = part.get_payload()
    if isinstance(payload, list):
        inner = (child for child in payload if isinstance(child, Message))
        return b"\n".join(child.as_bytes(policy=_POLICY) for child in inner)
    decoded = part.get_payload(decode=True)
    return decoded if isinstance(decoded, bytes) else b""


def _name(part: Message) -> str:
    value = part.get_param("filename", None, "content-disposition") or part.get_param("name", "")
    text = collapse_rfc2231_value(value) if value else ""
    return decode_words(decode(text.encode("utf-8", "surrogateescape"))[0])[0]


def _attachment(part: Message, number: int, problems: list[str]) -> Attached:
    given = _name(part)
    kind = one_line(part.get_content_type())
    name = safe_name(given) or f"part-{number}.{_SUFFIXES.get(kind) or safe_name(kind)}"
    if given and name != given:
        problems.append(f"attachment name {_shortened(given)} kept as {_shortened(name)}")
    return Attached(name, kind, _data(part))
