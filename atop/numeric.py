"""Order-preserving encoding of numbers, the part of ``keys.py`` that is about numbers.

Numbers of all types are ordered by their exact value, and equal values have equal bytes:
``True``, ``1``, ``1.0`` and ``Decimal(1)`` are one key. Nothing here depends on the decimal
context, and nothing signals in it. The layout is in ``doc/format.rst``.
"""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_ETINY, Decimal
from math import inf, isnan, nextafter
from struct import Struct

NUMBER = 0x20
NAN = 0x30

# What int() and str() convert by default. Longer integers decode as Decimal: it can be printed,
# and Decimal("1E+999999") is not written out as a million digits.
INT_DIGITS = 4300

_EXACT, _INEXACT = 0, 1
_EXACT_INTS = 2**53  # up to here every int is a double
_LONG = Struct(">Q")
_SIGNED = Struct(">q")
_DOUBLE = Struct(">d")
_POSITIVE = Struct(">BdB")
_NEGATIVE = Struct(">BQB")
_EXPONENT_BIAS = 2**63
_INVERT = bytes(range(255, -1, -1))
_PAIRS = [f"{pair:02}" for pair in range(100)]


def encode_int(value: int) -> bytes:
    if 0 <= value <= _EXACT_INTS:
        return _POSITIVE.pack(NUMBER, -float(value), _EXACT)
    if -_EXACT_INTS <= value < 0:
        return encode_float(float(value))
    return encode_decimal(Decimal(value))


def encode_float(value: float) -> bytes:
    if value >= 0.0:
        # Negating flips the sign bit and nothing else; adding 0.0 turns -0.0 into 0.0.
        return _POSITIVE.pack(NUMBER, -(value + 0.0), _EXACT)
    if value < 0.0:
        (bits,) = _SIGNED.unpack(_DOUBLE.pack(value))
        return _NEGATIVE.pack(NUMBER, ~bits, _EXACT)
    return bytes((NAN,))


def encode_decimal(value: Decimal) -> bytes:
    if value.is_nan():
        return bytes((NAN,))
    nearest = float(value)
    exact = Decimal.from_float(nearest)  # to compare with a float would signal FloatOperation
    if exact == value:
        return encode_float(nearest)
    floor = nextafter(nearest, -inf) if exact > value else nearest
    return encode_float(floor)[:-1] + bytes((_INEXACT,)) + _tail(value)


def decode_number(data: bytes, offset: int) -> tuple[int | float | Decimal, int]:
    """The number whose eight bytes of double begin at ``offset``, and the offset after it.

    An int if it is integral, else a float if one is equal, else a Decimal; a Decimal also if it
    is integral with more than ``INT_DIGITS`` digits. Raises ValueError, IndexError or
    struct.error for what is not a number.
    """
    floor = _decode_double(data, offset)
    exactness = data[offset + 8]
    if exactness == _INEXACT:
        return _decode_tail(data, offset + 9, floor < 0)
    if exactness != _EXACT or isnan(floor):
        raise ValueError("no such number")
    return int(floor) if floor.is_integer() else floor, offset + 9


def _decode_double(data: bytes, offset: int) -> float:
    (bits,) = _LONG.unpack_from(data, offset)
    bits ^= 1 << 63 if data[offset] & 0x80 else (1 << 64) - 1
    (value,) = _DOUBLE.unpack(_LONG.pack(bits))
    assert isinstance(value, float)
    return value


def _tail(value: Decimal) -> bytes:
    """What orders the values between two neighbouring doubles; complemented for negative ones."""
    significant = bytes(value.as_tuple().digits).rstrip(b"\0")
    if len(significant) % 2:
        significant += b"\0"
    pairs = [
        10 * tens + ones + 1 for tens, ones in zip(significant[::2], significant[1::2], strict=True)
    ]
    tail = _LONG.pack(value.adjusted() + _EXPONENT_BIAS) + bytes(pairs) + b"\0"
    return tail.translate(_INVERT) if value.is_signed() else tail


def _decode_tail(data: bytes, offset: int, negative: bool) -> tuple[int | Decimal, int]:
    end = data.index(0xFF if negative else 0x00, offset + 8)
    tail = data[offset:end]
    if negative:
        tail = tail.translate(_INVERT)
    adjusted = _LONG.unpack_from(tail)[0] - _EXPONENT_BIAS
    digits = "".join([_PAIRS[pair - 1] for pair in tail[8:]]).rstrip("0")
    exponent = adjusted - len(digits) + 1
    if digits[0] == "0" or exponent < MIN_ETINY or adjusted > MAX_EMAX:
        raise ValueError("no such number")
    value = Decimal(f"{'-' if negative else ''}{digits}E{exponent}")
    integral = exponent >= 0 and adjusted < INT_DIGITS
    return int(value) if integral else value, end + 1
