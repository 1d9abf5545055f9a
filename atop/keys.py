"""Index keys as bytes: what sorts before, sorts before as bytes too.

Every encoding is self-delimiting: none begins with another, so whatever follows a key (an item
id, the next element of a tuple) never changes where it sorts. The layout, with test vectors, is
in ``doc/format.rst``:

====  ==============  ====================================================================
code  type            then
====  ==============  ====================================================================
10    None            nothing
20    number          order-preserving double, exactness, more digits
30    NaN             nothing
40    bytes           escaped, 00
50    str             UTF-8, escaped, 00
60    date            ordinal, 4 bytes
70    naive datetime  microseconds since 0001-01-01, 8 bytes
80    aware datetime  microseconds since a day before 0001-01-01 UTC, 8 bytes
90    timedelta       days + 2**31, seconds, microseconds, 4 bytes each
a0    UUID            16 bytes
b0    tuple           the elements' encodings, 00
====  ==============  ====================================================================

No code, and nothing that follows a prefix made by ``encode_prefix``, begins with ff. Numbers are
in ``numeric.py``, dates and times in ``temporal.py``.
"""

from __future__ import annotations

import reprlib
import struct
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import nan
from typing import Any, TypeAlias
from uuid import UUID

from atop.errors import DamagedStore, IndexKeyError
from atop.native import encode_key
from atop.numeric import (
    NAN,
    NUMBER,
    decode_number,
    encode_decimal,
    encode_float,
    encode_int,
)
from atop.temporal import (
    AWARE,
    DATE,
    NAIVE,
    TIMEDELTA,
    decode_aware,
    decode_date,
    decode_naive,
    decode_timedelta,
    encode_date,
    encode_datetime,
    encode_timedelta,
)

__all__ = ["MAX_DEPTH", "Key", "decode", "encode", "encode_prefix"]

Key: TypeAlias = (
    "bool | int | float | Decimal | bytes | str | date | datetime | timedelta | UUID"
    " | tuple[Key, ...] | None"
)

MAX_DEPTH = 32
"""How deep tuples may be nested in tuples, the outermost counted."""

_NONE = b"\x10"
_BYTES = b"\x40"
_STR = b"\x50"
_UUID = b"\xa0"
_TUPLE = b"\xb0"
_END = b"\0"


def encode(value: object) -> bytes:
    """The bytes that sort as ``value`` does; equal numbers of different types share them.

    Raises :class:`IndexKeyError` for a value that has no place in the order of keys.
    """
    encoded = encode_key(value, ENCODERS)
    return _encode_subclass(value) if encoded is None else encoded


def encode_prefix(value: str | bytes | tuple[Key, ...]) -> bytes:
    """What exactly the encodings of values begin with that begin with ``value``.

    A tuple begins with ``value`` if its leading elements equal those of ``value``. The prefix
    with ``b"\\xff"`` appended sorts after all of these. Raises :class:`IndexKeyError` for other
    types.
    """
    if not isinstance(value, (str, bytes, tuple)):
        raise IndexKeyError(f"{_named(value)} is no prefix: use str, bytes or a tuple", value)
    return encode(value)[:-1]


def decode(data: bytes, offset: int = 0) -> tuple[Key, int]:
    """The value whose encoding begins at ``offset``, and the offset after it.

    It equals what was encoded. A number comes back as the plainest type that holds it (see
    :func:`~atop.numeric.decode_number`), an aware datetime in UTC, a NaN as ``float("nan")``.
    Raises :class:`DamagedStore` if the bytes are not an encoding.
    """
    assert offset >= 0
    try:
        return _decode(data, offset, depth=0)
    except (IndexError, ValueError, OverflowError, struct.error) as error:
        raise DamagedStore(
            f"not an index key at offset {offset} ({error}): verify the store"
        ) from error


def _encode_none(_value: None) -> bytes:
    return _NONE


def _encode_bytes(value: bytes) -> bytes:
    # ff is escaped as well, so that ff sorts after whatever continues a prefix.
    escaped = value.replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01")
    return _BYTES + escaped.replace(b"\xfe", b"\xfe\x01").replace(b"\xff", b"\xfe\x02") + _END


def _encode_str(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return _STR + raw.replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01") + _END


def _encode_uuid(value: UUID) -> bytes:
    return _UUID + value.bytes


def _encode_tuple(value: tuple[object, ...], depth: int = 1) -> bytes:
    if depth > MAX_DEPTH:
        raise IndexKeyError(f"tuples in an index key are nested over {MAX_DEPTH} deep", value)
    elements = [
        _encode_tuple(element, depth + 1) if isinstance(element, tuple) else encode(element)
        for element in value
    ]
    return _TUPLE + b"".join(elements) + _END


# A datetime is a date too, so it comes first for _encode_subclass.
ENCODERS: dict[type, Callable[[Any], bytes]] = {
    type(None): _encode_none,
    str: _encode_str,
    int: encode_int,
    bool: encode_int,
    float: encode_float,
    Decimal: encode_decimal,
    bytes: _encode_bytes,
    datetime: encode_datetime,
    date: encode_date,
    timedelta: encode_timedelta,
    UUID: _encode_uuid,
    tuple: _encode_tuple,
}


def _encode_subclass(value: object) -> bytes:
    for kind, encoder in ENCODERS.items():
        if isinstance(value, kind):
            try:
                return encoder(value)
            except IndexKeyError:
                raise
            except (TypeError, ValueError, struct.error) as error:  # such as pandas.NaT
                raise _refusal(value) from error
    raise _refusal(value)


def _refusal(value: object) -> IndexKeyError:
    return IndexKeyError(
        f"{_named(value)} cannot be an index key: use None, bool, int, float, Decimal, str, bytes,"
        " date, datetime, timedelta, UUID, or a tuple of these",
        value,
    )


def _named(value: object) -> str:
    try:
        shown = reprlib.repr(value)
    except Exception:  # a broken __repr__ must not hide what is wrong
        shown = object.__repr__(value)
    return f"{shown} of type {type(value).__qualname__}"


def _decode(data: bytes, offset: int, depth: int) -> tuple[Key, int]:
    code = data[offset]
    if code == _TUPLE[0]:
        return _decode_tuple(data, offset + 1, depth + 1)
    decoder = _DECODERS.get(code)
    if decoder is None:
        raise ValueError(f"unknown type code {code:#04x}")
    return decoder(data, offset + 1)


def _decode_none(_data: bytes, offset: int) -> tuple[None, int]:
    return None, offset


def _decode_nan(_data: bytes, offset: int) -> tuple[float, int]:
    return nan, offset


def _decode_bytes(data: bytes, offset: int) -> tuple[bytes, int]:
    end = data.index(0, offset)
    # In this order: undoing fe 01 first would make an fe 02 of fe 01 02.
    raw = data[offset:end].replace(b"\xfe\x02", b"\xff").replace(b"\xfe\x01", b"\xfe")
    return raw.replace(b"\x01\x01", b"\x00").replace(b"\x01\x02", b"\x01"), end + 1


def _decode_str(data: bytes, offset: int) -> tuple[str, int]:
    end = data.index(0, offset)
    raw = data[offset:end].replace(b"\x01\x01", b"\x00").replace(b"\x01\x02", b"\x01")
    return raw.decode("utf-8", "surrogatepass"), end + 1


def _decode_uuid(data: bytes, offset: int) -> tuple[UUID, int]:
    return UUID(bytes=data[offset : offset + 16]), offset + 16


def _decode_tuple(data: bytes, offset: int, depth: int) -> tuple[tuple[Key, ...], int]:
    if depth > MAX_DEPTH:
        raise ValueError(f"tuples nested over {MAX_DEPTH} deep")
    elements: list[Key] = []
    while data[offset] != _END[0]:
        element, offset = _decode(data, offset, depth)
        elements.append(element)
    return tuple(elements), offset + 1


_DECODERS: dict[int, Callable[[bytes, int], tuple[Key, int]]] = {
    _NONE[0]: _decode_none,
    NUMBER: decode_number,
    NAN: _decode_nan,
    _BYTES[0]: _decode_bytes,
    _STR[0]: _decode_str,
    DATE: decode_date,
    NAIVE: decode_naive,
    AWARE: decode_aware,
    TIMEDELTA: decode_timedelta,
    _UUID[0]: _decode_uuid,
}
