"""Index keys: their bytes sort as Python sorts the values, and come back as equal values."""

from __future__ import annotations

import decimal
import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction
from itertools import pairwise
from math import inf, isnan, nan, nextafter
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import fdb.tuple
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atop.errors import DamagedStore, IndexKeyError
from atop.keys import MAX_DEPTH, Key, decode, encode, encode_prefix

FORMAT = Path(__file__).parent.parent / "doc" / "format.rst"
DOUBLE_MAX = nextafter(inf, 0)
NAMES: dict[str, object] = {
    kind.__name__: kind for kind in (date, datetime, timedelta, timezone, Decimal, UUID)
} | {"inf": inf, "nan": nan}

Case = Callable[[Any], Any]
offsets = st.integers(-86_399_999_999, 86_399_999_999).map(
    lambda microseconds: timezone(timedelta(microseconds=microseconds))
)
text = st.text(
    st.characters(exclude_categories=[]) | st.sampled_from("\0\1\2\ud800\udfff\U0010ffff")
)
binary = st.binary() | st.lists(st.sampled_from([0, 1, 2, 0xFD, 0xFE, 0xFF])).map(bytes)
integers = st.integers() | st.integers(-(2**70), 2**70) | st.sampled_from([10**400, -(2**1024)])
floats = st.floats(allow_nan=False)
decimals = (
    st.decimals(allow_nan=False)
    | st.builds(Decimal.scaleb, st.integers(-999, 999).map(Decimal), st.integers(-500, 500))
    | st.builds(
        lambda sign, digits, exponent: Decimal((sign, digits, exponent)),
        st.integers(0, 1),
        st.lists(st.integers(0, 9), min_size=1, max_size=40).map(tuple),
        st.integers(-(10**15), 10**15),
    )
)


def neighbours(value: float) -> st.SearchStrategy[int | float | Decimal]:
    """Numbers closer to a double than the next one is."""
    exact = Decimal.from_float(value)
    with decimal.localcontext(prec=1000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN):
        less, more = exact - Decimal("1E-420"), exact + Decimal("1E-420")
    return st.sampled_from([value, exact, less, more, int(value)])


close_numbers = st.floats(allow_nan=False, allow_infinity=False).flatmap(neighbours)
numbers = st.booleans() | integers | floats | decimals | close_numbers
moments = st.datetimes(timezones=offsets)
scalars = (
    st.none()
    | numbers
    | binary
    | text
    | st.dates()
    | st.datetimes()
    | moments
    | st.timedeltas()
    | st.uuids()
)
keys: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8
)

SECTIONS: list[Callable[[Any], bool]] = [
    lambda value: value is None,
    lambda value: isinstance(value, (int, float, Decimal)),
    lambda value: isinstance(value, bytes),
    lambda value: isinstance(value, str),
    lambda value: isinstance(value, date) and not isinstance(value, datetime),
    lambda value: isinstance(value, datetime) and value.tzinfo is None,
    lambda value: isinstance(value, datetime),
    lambda value: isinstance(value, timedelta),
    lambda value: isinstance(value, UUID),
    lambda value: isinstance(value, tuple),
]


def place(value: Any) -> tuple[int, Any]:
    """What Python sorts by: the section of the type, then the value itself."""
    section = next(n for n, holds in enumerate(SECTIONS) if holds(value))
    if value is None:
        return section, 0
    if isinstance(value, tuple):
        return section, tuple(place(element) for element in value)
    return section, value


def agree(low: Any, high: Any) -> None:
    """The encodings compare as the values do."""
    expected, got = (place(low), place(high)), (encode(low), encode(high))
    assert (got[0] < got[1]) == (expected[0] < expected[1]), f"{low!r} < {high!r}"
    assert (got[0] == got[1]) == (expected[0] == expected[1]), f"{low!r} == {high!r}"


def vectors() -> list[tuple[str, bytes]]:
    """The rows ``value  hex`` of the section "Index keys" in doc/format.rst."""
    section = FORMAT.read_text("utf-8").split("\nIndex keys\n----------\n")[1]
    section = re.split(r"\n[^\n]+\n-{4,}\n", section)[0]
    rows = re.findall(r"^``(.+)``  +``([0-9a-f]+)``$", section, re.MULTILINE)
    return [(value, bytes.fromhex(encoding)) for value, encoding in rows]


def test_the_document_has_vectors() -> None:
    assert len(vectors()) > 40


@pytest.mark.parametrize(("expression", "encoding"), vectors())
def test_vectors(expression: str, encoding: bytes) -> None:
    value = eval(expression, NAMES.copy())
    assert encode(value).hex() == encoding.hex()
    decoded, end = decode(encoding)
    assert end == len(encoding)
    if encoding == encode(nan):
        assert isinstance(decoded, float)
        assert isnan(decoded)
    else:
        assert decoded == value
        assert hash(decoded) == hash(value)


@given(keys, keys)
def test_bytes_sort_as_values(low: Any, high: Any) -> None:
    agree(low, high)


@given(numbers, numbers)
@example(0.1, Decimal("0.1"))
@example(2**53, 2**53 + 1)
@example(DOUBLE_MAX, Decimal("1E+309"))
@example(-inf, Decimal("-1E+999999999999999999"))
@example(0, Decimal("1E-1999999999999999997"))
@example(-0.0, Decimal("-1E-1999999999999999997"))
def test_numbers_sort_by_exact_value(low: Any, high: Any) -> None:
    agree(low, high)
    agree(high, low)


@given(st.floats(allow_nan=False, allow_infinity=False).flatmap(lambda f: st.lists(neighbours(f))))
def test_numbers_between_two_doubles_sort(values: list[Any]) -> None:
    for low, high in pairwise(values):
        agree(low, high)


@given(moments, moments)
def test_instants_sort(low: datetime, high: datetime) -> None:
    agree(low, high)


@given(text, text)
def test_strings_sort_by_code_point(low: str, high: str) -> None:
    agree(low, high)


@given(binary, binary)
def test_bytes_sort_as_bytes(low: bytes, high: bytes) -> None:
    agree(low, high)


def test_sections_are_in_order() -> None:
    utc = datetime.min.replace(tzinfo=UTC)
    values: list[Key] = [
        *(None, -inf, -(10**400), -1, 0, Decimal("0.1"), 0.1, 2, 2.5, Decimal("2.6"), 10**40),
        *(Decimal("1E+999999"), inf, nan, b"", b"\xff", "", "\U0010ffff", date.min, date.max),
        *(datetime.min, datetime.max, utc, timedelta.min, timedelta.max, UUID(int=0)),
        *(UUID(int=2**128 - 1), (), (None,), (None, None), (1,), (nan,), ("a",), ((),)),
    ]
    encodings = [encode(value) for value in values]
    assert encodings == sorted(encodings)
    assert len(set(encodings)) == len(encodings)


@pytest.mark.parametrize(
    "equals",
    [
        [True, 1, 1.0, Decimal(1), Decimal("1.000")],
        [False, 0, -0.0, Decimal("-0"), Decimal("0E+9999"), Decimal("-0E-9999")],
        [inf, Decimal("Infinity")],
        [-inf, Decimal("-Infinity")],
        [0.1, Decimal.from_float(0.1)],
        [10**400, Decimal("1E+400"), Decimal("10E+399")],
        [nan, -nan, Decimal("nan"), Decimal("-NaN12"), Decimal("sNaN")],
    ],
)
def test_equal_numbers_are_one_key(equals: list[Any]) -> None:
    assert len({encode(value) for value in equals}) == 1


@given(keys, st.binary(), st.binary())
def test_round_trip_wherever_it_stands(value: Any, before: bytes, after: bytes) -> None:
    encoding = encode(value)
    decoded, end = decode(before + encoding + after, len(before))
    assert end == len(before + encoding)
    assert place(decoded) == place(value)
    assert hash(decoded) == hash(value)
    assert encode(decoded) == encoding


@given(binary | text)
@example(b"\xfe\x02")
@example("\1\1\0\2")
def test_escapes_come_back(value: bytes | str) -> None:
    assert decode(encode(value)) == (value, len(encode(value)))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, int),
        (3.0, int),
        (1e308, int),
        (Decimal("1E+300"), int),
        (10**4299 + 1, int),
        (10**4300 + 1, Decimal),
        (-(7**20000), Decimal),
        (Decimal("1E+999999999999999999"), Decimal),
        (2.5, float),
        (Decimal("2.5"), float),
        (Decimal("2.6"), Decimal),
        (inf, float),
        (Decimal("-inf"), float),
    ],
    ids=lambda value: type(value).__name__,
)
def test_numbers_decode_plainly(value: Any, kind: type) -> None:
    decoded, _ = decode(encode(value))
    assert type(decoded) is kind
    assert decoded == value
    assert hash(decoded) == hash(value)


@given(keys, keys)
@example("", "\0")
@example(b"", b"\0")
def test_no_encoding_begins_with_another(one: Any, other: Any) -> None:
    first, second = encode(one), encode(other)
    assert first == second or not second.startswith(first)


@given(keys, keys, st.integers(0, 2**64 - 1))
@example("", "\0", 0)
def test_nine_ff_bound_a_key_with_its_items(one: Any, other: Any, item: int) -> None:
    bound = encode(one) + b"\xff" * 9
    entry = encode(other) + item.to_bytes(8, "big")
    assert (entry < bound) == (encode(other) <= encode(one))


@given(
    st.tuples(text, text)
    | st.tuples(binary, binary)
    | st.tuples(*[st.lists(scalars).map(tuple)] * 2)
)
@example((b"", b"\xff" * 10))
@example(("a", "a\0"))
def test_prefix_is_of_exactly_what_begins_with_it(pair: Any) -> None:
    start, rest = pair
    prefix, whole = encode_prefix(start), encode(start + rest)
    assert whole.startswith(prefix)
    assert whole < prefix + b"\xff"
    begins = place(rest[: len(start)]) == place(start)
    assert encode(rest).startswith(prefix) == begins


@pytest.mark.parametrize(("prefix", "other"), [("", b""), (b"", ""), ((), "a")])
def test_prefix_is_of_one_type(prefix: Any, other: Any) -> None:
    assert not encode(other).startswith(encode_prefix(prefix))


FDB_KINDS: list[st.SearchStrategy[Any]] = [
    st.none() | binary | st.text(st.characters(codec="utf-8")) | st.uuids(),
    st.none() | st.integers(-(2**80), 2**80),
    st.none() | floats.map(lambda value: value + 0.0),
]


@given(st.sampled_from(FDB_KINDS).flatmap(lambda kind: st.tuples(*[st.lists(kind)] * 2)))
def test_tuples_sort_as_foundationdb_sorts_them(pair: tuple[list[Any], list[Any]]) -> None:
    low, high = map(tuple, pair)
    theirs = fdb.tuple.pack(low) < fdb.tuple.pack(high)
    assert (encode(low) < encode(high)) == theirs


@given(numbers)
def test_the_decimal_context_does_not_matter(value: Any) -> None:
    expected = encode(value)
    strict = decimal.Context(prec=1, Emax=1, Emin=-1, traps=list(decimal.Context().flags))
    with decimal.localcontext(strict) as context:
        encoding = encode(value)
        decoded, _ = decode(encoding)
        assert not any(context.flags.values()), "a flag was raised in the caller's context"
    assert encoding == expected
    assert decoded == value


def test_huge_exponents_are_not_written_out() -> None:
    started = time.perf_counter()
    for text_ in ("1E+999999999999999999", "-1E+999999999999999999", "1E-1999999999999999997"):
        value = Decimal(text_)
        assert decode(encode(value))[0] == value
    assert time.perf_counter() - started < 1


class Colour(IntEnum):
    RED = 1


class Size(StrEnum):
    LARGE = "large"


class Name(NamedTuple):
    last: str
    first: str


class Stamp(datetime):
    """Like pandas': its own arithmetic, with a small range."""

    def __sub__(self, other: Any) -> Any:
        raise OverflowError("out of bounds")


class NotATime(datetime):
    """Like pandas' NaT: a datetime that has no date."""

    def toordinal(self) -> int:
        raise ValueError("NotATime does not support toordinal")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, 1),
        (Size.LARGE, "large"),
        (Name("Smith", "Bob"), ("Smith", "Bob")),
        (Stamp(2024, 5, 6, 7), datetime(2024, 5, 6, 7)),
        ((Stamp(2024, 5, 6), Colour.RED), (datetime(2024, 5, 6), 1)),
    ],
)
def test_subclasses_are_like_their_base(value: Any, plain: Any) -> None:
    assert encode(value) == encode(plain)


def test_fold_matters_only_where_it_changes_the_instant() -> None:
    naive = datetime(2024, 10, 27, 2, 30)
    assert encode(naive) == encode(naive.replace(fold=1))
    aware = naive.replace(tzinfo=ZoneInfo("Europe/Berlin"))
    assert encode(aware) < encode(aware.replace(fold=1))


@pytest.mark.parametrize(
    "value",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=23, minutes=59))),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=23, minutes=59))),
    ],
)
def test_instants_outside_of_utc_come_back(value: datetime) -> None:
    decoded, _ = decode(encode(value))
    assert decoded == value
    assert hash(decoded) == hash(value)
    assert isinstance(decoded, datetime)
    assert decoded.utcoffset()


def test_datetimes_come_back_in_utc() -> None:
    value = datetime(2024, 5, 6, tzinfo=timezone(timedelta(hours=2)))
    decoded, _ = decode(encode(value))
    assert isinstance(decoded, datetime)
    assert decoded.tzinfo is UTC


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "value",
    [[1], {}, object(), 1j, Fraction(1, 3), bytearray(), Mute(), [10**5000], NotATime(1, 1, 1)],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_a_key_is_named(value: Any) -> None:
    for key in (value, ("a", (value,))):
        with pytest.raises(IndexKeyError) as caught:
            encode(key)
        assert caught.value.value is value
        assert type(value).__name__ in str(caught.value)
        assert "Decimal" in str(caught.value), "the message says what can be a key"
        assert len(str(caught.value)) < 300


def test_a_refusal_shows_the_value() -> None:
    with pytest.raises(IndexKeyError, match=re.escape("['red', 'blue'] of type list cannot be")):
        encode(["red", "blue"])


@pytest.mark.parametrize("value", [1, None, ["a"]])
def test_only_what_has_a_beginning_is_a_prefix(value: Any) -> None:
    with pytest.raises(IndexKeyError, match="use str, bytes or a tuple"):
        encode_prefix(value)


def nested(depth: int) -> Any:
    value: Any = ()
    for _ in range(depth - 1):
        value = (value,)
    return value


def test_nesting_has_a_limit() -> None:
    assert decode(encode(nested(MAX_DEPTH)))[0] == nested(MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(IndexKeyError, match="nested over 32 deep"):
            encode(nested(depth))
        with pytest.raises(DamagedStore, match="nested over 32 deep"):
            decode(b"\xb0" * depth + b"\0" * depth)


@given(keys)
def test_truncated_is_damaged(value: Any) -> None:
    encoding = encode(value)
    for end in range(len(encoding)):
        with pytest.raises(DamagedStore):
            decode(encoding[:end])


CODES = st.sampled_from([0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xA0, 0xB0])


@given(st.builds(lambda code, rest: bytes([code]) + rest, CODES, st.binary(max_size=40)))
def test_any_bytes_are_a_key_or_damaged(data: bytes) -> None:
    try:
        value, end = decode(data)
    except DamagedStore:
        return
    assert 0 < end <= len(data)
    encode(value)


@given(keys, st.data())
def test_changed_bytes_are_a_key_or_damaged(value: Any, data: st.DataObject) -> None:
    changed = bytearray(encode(value))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    test_any_bytes_are_a_key_or_damaged.hypothesis.inner_test(bytes(changed))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "00",
        "ff",
        "11",
        "20 800000000000000002",
        "20 fff800000000000000",
        "20 bff000000000000001 8000000000000000 00",
        "20 bff000000000000001 8000000000000000 0100",
        "20 bff000000000000001 8000000000000000 6500",
        "20 bff000000000000001 ffffffffffffffff 0b00",
        "20 bff000000000000001 0000000000000000 0b00",
        "50 ff 00",
        "60 00000000",
        "60 ffffffff",
        "70 ffffffffffffffff",
        "80 ffffffffffffffff",
        "90 ffffffff 00000000 00000000",
        "b0 11 00",
    ],
)
def test_what_is_no_key_is_damaged(damaged: str) -> None:
    with pytest.raises(DamagedStore, match="not an index key at offset 2"):
        decode(b"ab" + bytes.fromhex(damaged), 2)


@pytest.mark.parametrize("value", ["\0" * 1_000_000, (None,) * 200_000, ("a",) * 200_000])
def test_decoding_takes_linear_time(value: Any) -> None:
    encoding = encode(value)
    started = time.perf_counter()
    assert decode(encoding)[0] == value
    assert time.perf_counter() - started < 2
