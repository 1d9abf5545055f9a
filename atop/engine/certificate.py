"""What Atop reads of a certificate itself: from when until when it is valid.

The standard library tells that of a certificate only after a handshake, which is too late for a
server's own. RFC 5280, section 4.1, draws the few fields that lead there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

_VERSION = 0xA0
_UTC_TIME = 0x17


class Validity(NamedTuple):
    """The first and the last moment at which a certificate is valid."""

    begin: datetime
    end: datetime


def validity(der: bytes) -> Validity:
    """When the certificate `der` is valid.

    :raises ValueError: when it is not a certificate.
    """
    try:
        fields = _inside(_inside(_inside(der)[0][1])[0][1])
        place = 4 if fields[0][0] == _VERSION else 3
        begin, end = _inside(fields[place][1])
        return Validity(_time(*begin), _time(*end))
    except IndexError as error:
        raise ValueError("not a certificate") from error


def _inside(content: bytes) -> list[tuple[int, bytes]]:
    """The type and content of each of the values that stand one after another in `content`."""
    values = []
    at = 0
    while at < len(content):
        kind, length, at = content[at], content[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(content[at : at + size], "big"), at + size
        values.append((kind, content[at : at + length]))
        at += length
    return values


def _time(kind: int, content: bytes) -> datetime:
    """A moment; one whose year has two digits lies between 1950 and 2049."""
    text = content.decode("ascii")
    if kind == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
