"""Order-preserving encoding of dates and times, the part of ``keys.py`` that is about them.

Aware datetimes are ordered by their instant, so that one instant is one key in every zone; naive
ones by what they show, in a section of their own. The layout is in ``doc/format.rst``.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from struct import Struct

DATE = 0x60
NAIVE = 0x70
AWARE = 0x80
TIMEDELTA = 0x90

_DATE_LAYOUT = Struct(">BI")
_DATETIME_LAYOUT = Struct(">BQ")
_TIMEDELTA_LAYOUT = Struct(">BIII")
_INT = Struct(">I")
_LONG = Struct(">Q")
_TRIPLE = Struct(">III")

_DAY = 86_400_000_000
_MICROSECOND = timedelta(microseconds=1)
_ALMOST_A_DAY = timedelta(days=1) - _MICROSECOND  # the largest offset from UTC that there is
_DAYS_BIAS = 2**31


def encode_date(value: date) -> bytes:
    return _DATE_LAYOUT.pack(DATE, value.toordinal())


def encode_datetime(value: datetime) -> bytes:
    # By fields: subclasses have arithmetic of their own, with smaller ranges.
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    since = (value.toordinal() - 1) * _DAY + seconds * 1_000_000 + value.microsecond
    offset = value.utcoffset()
    if offset is None:
        return _DATETIME_LAYOUT.pack(NAIVE, since)
    return _DATETIME_LAYOUT.pack(AWARE, since - offset // _MICROSECOND + _DAY)


def encode_timedelta(value: timedelta) -> bytes:
    return _TIMEDELTA_LAYOUT.pack(
        TIMEDELTA, value.days + _DAYS_BIAS, value.seconds, value.microseconds
    )


def decode_date(data: bytes, offset: int) -> tuple[date, int]:
    return date.fromordinal(*_INT.unpack_from(data, offset)), offset + 4


def decode_naive(data: bytes, offset: int) -> tuple[datetime, int]:
    (since,) = _LONG.unpack_from(data, offset)
    return datetime.min + timedelta(microseconds=since), offset + 8


def decode_aware(data: bytes, offset: int) -> tuple[datetime, int]:
    since = timedelta(microseconds=_LONG.unpack_from(data, offset)[0] - _DAY)
    shift = timedelta(0)
    if since < timedelta(0):
        shift = _ALMOST_A_DAY
    elif since > datetime.max - datetime.min:
        shift = -_ALMOST_A_DAY
    return (datetime.min + (since + shift)).replace(tzinfo=timezone(shift)), offset + 8


def decode_timedelta(data: bytes, offset: int) -> tuple[timedelta, int]:
    days, seconds, microseconds = _TRIPLE.unpack_from(data, offset)
    return timedelta(days - _DAYS_BIAS, seconds, microseconds), offset + 12
