"""Messages put together by hand, so that they are the same with every version of Python."""

from __future__ import annotations

import quopri
from base64 import b64encode, encodebytes
from dataclasses import dataclass, field
from datetime import datetime, timedelta

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass
class Part:
    """A part of a message: its type, its other headers and its body, encoded."""

    content_type: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def source(self) -> bytes:
        """The headers, an empty line and the body."""
        headers = {"Content-Type": self.content_type, **self.headers}
        return header_lines(headers) + b"\n" + self.body


def header_lines(headers: dict[str, str]) -> bytes:
    """Headers that are ASCII already."""
    return b"".join(f"{name}: {value}\n".encode("ascii") for name, value in headers.items())


def word(text: str, charset: str, encoding: str = "b") -> str:
    """Text for a header, as encoded words of at most 75 characters if it is not ASCII."""
    if text.isascii():
        return text
    step = 12 if encoding == "b" else 8
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    return "\n ".join(_encoded_word(piece, charset, encoding) for piece in pieces)


def _encoded_word(text: str, charset: str, encoding: str) -> str:
    data = text.encode(charset)
    if encoding == "b":
        return f"=?{charset}?b?{b64encode(data).decode()}?="
    safe = (chr(byte) if chr(byte).isalnum() and byte < 128 else f"={byte:02X}" for byte in data)
    return f"=?{charset}?q?{''.join(safe)}?="


def text_part(text: str, charset: str, encoding: str, subtype: str = "plain") -> Part:
    """A text in a charset, ``8bit``, ``quoted-printable`` or ``base64``."""
    data = text.encode(charset)
    if encoding == "quoted-printable":
        data = quopri.encodestring(data)
    elif encoding == "base64":
        data = encodebytes(data)
    headers = {"Content-Transfer-Encoding": encoding}
    return Part(f"text/{subtype}; charset={charset}", data, headers)


def attachment(name: str, kind: str, data: bytes) -> Part:
    """A file; its name must be ready for a header."""
    headers = {
        "Content-Transfer-Encoding": "base64",
        "Content-Disposition": f"attachment; filename={name}",
    }
    return Part(kind, encodebytes(data), headers)


def multipart(subtype: str, boundary: str, parts: list[Part]) -> Part:
    """Several parts as one."""
    marked = (f"--{boundary}\n".encode() + part.source() + b"\n" for part in parts)
    body = b"".join(marked) + f"--{boundary}--\n".encode()
    return Part(f'multipart/{subtype}; boundary="{boundary}"', body)


def date_header(when: datetime, hours: int) -> str:
    """A date as mail has it, on a clock so many hours ahead of UTC, whatever the locale."""
    local = when + timedelta(hours=hours)
    day, month = _DAYS[local.weekday()], _MONTHS[local.month - 1]
    zone = f"{'-' if hours < 0 else '+'}{abs(hours):02}00"
    return f"{day}, {local.day} {month} {local:%Y %H:%M:%S} {zone}"


def separator(address: str, when: datetime) -> bytes:
    """The line before a message in an mbox."""
    day, month = _DAYS[when.weekday()], _MONTHS[when.month - 1]
    return f"From {address} {day} {month} {when.day:2} {when:%H:%M:%S %Y}\n".encode("ascii")
