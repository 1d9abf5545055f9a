"""Whatever bytes come in: they are a message or a ProtocolError, at no great cost."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from atop.engine import wire
from atop.engine.base import State
from atop.engine.messages import REQUESTS, Apply, Care, Failure, Request, Status
from atop.errors import AtopError, ProtocolError
from tests.engine.vectors import VECTORS


def understand(frame: bytes) -> None:
    """Decode `frame` in every way that there is: it is a message, or a ProtocolError is raised."""
    tried(wire.request, frame)
    told = tried(wire.answer, frame)
    if isinstance(told, Failure):
        assert isinstance(wire.error(told), AtopError)
    elif told is not None and hasattr(told, "body"):
        for kind in REQUESTS:
            tried(wire.body, kind, told.body)


def tried(decode: Callable[..., Any], *args: Any) -> Any:
    try:
        return decode(*args)
    except ProtocolError:
        return None


@pytest.mark.parametrize(("expression", "frame"), VECTORS)
def test_a_message_that_is_cut_short_or_too_long_is_refused(expression: str, frame: bytes) -> None:
    for cut in (*(frame[4:end] for end in range(4, len(frame))), frame[4:] + b"\xc0"):
        for decode in (wire.request, wire.answer):
            with pytest.raises(ProtocolError):
                decode(cut)


@pytest.mark.parametrize(("expression", "frame"), VECTORS)
def test_any_byte_may_be_another_one(expression: str, frame: bytes) -> None:
    for at in range(4, len(frame)):
        flipped = {frame[at] ^ 1 << bit for bit in range(8)}
        for other in flipped | {0x00, 0x7F, 0x90, 0xC0, 0xC1, 0xD9, 0xFF}:
            understand(frame[4:at] + bytes((other,)) + frame[at + 1 :])


NASTY = [
    *(bytes((head,)) + b"\xff\xff\xff\xff" for head in (0xC6, 0xC9, 0xDB, 0xDD, 0xDF)),
    b"\xdc\xff\xff", b"\xde\xff\xff", b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7),
    b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xcb\xff\xf0\0\0\0\0\0\0", b"\xa3\xed\xa0\x80", b"\xd4\x05\x01",
    b"\xd6\xff\0\0\0\1", b"\xc7\x0c\xff" + b"\xff" * 12, b"\xc1", b"\x80", b"\x81\x80\x01",
    b"\x81\x91\x80\x01", b"\x91" * 40, b"\x81" * 40, b"\x81\xa1x" * 40,
]  # fmt: skip
edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(NASTY) | st.binary(max_size=4)),
    min_size=1, max_size=6,
)  # fmt: skip


@seed(2972)
@settings(max_examples=3000)
@given(st.sampled_from([frame[4:] for _, frame in VECTORS]), edits)
def test_mutated_messages_are_messages_or_refused(
    frame: bytes, changes: list[tuple[float, int, bytes]]
) -> None:
    for place, dropped, put in changes:
        at = round(place * len(frame))
        frame = frame[:at] + put + frame[at + dropped :]
    understand(frame)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_understood(frame: bytes) -> None:
    understand(frame)


def hostile(value: bytes) -> list[bytes]:
    """Messages with `value` in every kind of place: a field, a key, what nobody knows."""
    apply = bytes(wire.pack(Apply(1, b"t", State(), {}, "", True, [], []))[4:])
    state = msgspec.msgpack.encode(State())
    at = apply.index(state)
    return [
        value,
        b"\x94" + value,
        b"\x94\xa3Get" + value,
        b"\x94\xa3Get\x01\xa5items" + value,
        b"\x95\xa3Get\x01\xa5items\xc4\0" + value,
        b"\x94\xa7GetMany\x01\xa5items" + value,
        b"\x94\xa7GetMany\x01\xa5items\x91" + value,
        b"\x94\xa4Scan\x01\xa5items" + value,
        apply[:at] + value,
        apply[:at] + b"\x81" + value,
        apply[:at] + b"\x81\xa1x" + value,
        apply[: at + len(state)] + value,
        apply[: at + len(state)] + b"\x81\xa5items" + value,
        apply[: at + len(state)] + b"\x81\xa5items\x93\x90" + value,
        b"\x94\xa6Answer\x01\x02" + value,
        b"\x94\xa6Answer\x01\x02\x91" + value,
        b"\x94\xa6Answer\x01\x02\x81" + value,
        b"\x94\xa6Answer\x01\x02\x81\xa1x" + value,
        b"\x94\xa6Answer\x01\x02\x92\xc3" + value,
        b"\x95\xa7Failure\x01\xa1a\xa1b" + value,
        b"\x95\xa7Failure\x01\xa1a\xa1b\x81\xa3ids" + value,
        b"\x95\xa7Failure\x01\xa1a\xa1b\x81\xa3ids\x91" + value,
        b"\x92\xa7Leaving" + value,
    ]


@pytest.mark.parametrize(
    "value",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x05",
        b"\xdd\x0f\xff\xff\xff" * 900,
        b"\xdf\x0f\xff\xff\xff\x01" * 900,
    ],
    ids=lambda value: value[:5].hex(),
)
def test_a_length_that_is_only_claimed_takes_no_memory(value: bytes) -> None:
    frames = hostile(value)
    tracemalloc.start()
    try:
        for frame in frames:
            understand(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("one", [b"\x91", b"\x81\x01", b"\x81", b"\x81\xa1x", b"\xdd\0\0\0\1"])
def test_depth_is_refused(one: bytes) -> None:
    done = []

    def run() -> None:
        for frame in hostile(one * 100_000 + b"\xc0"):
            for decode in (wire.request, wire.answer):
                with pytest.raises(ProtocolError):
                    decode(frame)
        done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done


@pytest.mark.parametrize("kind", [Care, Status])
def test_depth_in_a_body_is_refused(kind: type[Request]) -> None:
    for one in (b"\x91", b"\x81\xa1x"):
        with pytest.raises(ProtocolError, match="recursion"):
            wire.body(kind, msgspec.Raw(b"\x81\xa1x" + one * 100_000 + b"\xc0"))
