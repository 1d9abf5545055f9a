"""The wire is what doc/protocol.rst says."""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atop.engine import messages, wire
from atop.engine.address import PORT
from atop.engine.base import TABLES, Range, State
from atop.engine.messages import (
    REQUESTS,
    Answer,
    Care,
    Columns,
    Committed,
    Count,
    Failure,
    Get,
    GetMany,
    Leaving,
    Look,
    Message,
    Request,
    Status,
)
from atop.errors import (
    AtopError,
    Conflict,
    DuplicateKey,
    IndexKeyError,
    ProtocolError,
    StoreBusy,
    StoreError,
    StoreFull,
    TransactionError,
    ValueRefused,
)
from tests.engine.vectors import ASKED, DOCUMENT, MEANT, VECTORS, meant

TOLD = (Answer, Failure, Committed, Leaving)

numbers = st.integers(0, 2**63 - 1)
short = st.binary(max_size=8)
plain = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False) | st.text() | short,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    type(None): st.none(),
    bool: st.booleans(),
    int: numbers,
    float: st.floats(0, allow_nan=False),
    str: st.text(max_size=8),
    bytes: short,
    Any: plain,
    State: st.builds(State, numbers, numbers, st.fixed_dictionaries(dict.fromkeys(TABLES, numbers)),
                     short, st.floats(allow_nan=False)),
    Range: st.builds(Range, st.none() | short, st.none() | short, numbers, numbers, st.booleans()),
    Columns: st.lists(st.tuples(short, st.tuples(st.none() | short, st.booleans())), max_size=3)
    .map(lambda rows: Columns([key for key, _ in rows], [pair for _, pair in rows], False)),
}  # fmt: skip


def values(kind: Any) -> st.SearchStrategy[Any]:
    """What a field of the type `kind` may be."""
    if kind in SIMPLE:
        return SIMPLE[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return values(inner[0])
    if origin in (Union, UnionType):
        return st.one_of(*map(values, inner))
    if origin is list:
        return st.lists(values(inner[0]), max_size=3)
    if origin is tuple:
        return st.tuples(*map(values, inner))
    if origin is dict:
        return st.dictionaries(values(inner[0]), values(inner[1]), max_size=3)
    return st.builds(kind, *map(values, fields(kind)))


def fields(kind: type) -> list[Any]:
    hints = get_type_hints(kind, include_extras=True)
    return [hint for hint in hints.values() if get_origin(hint) is not ClassVar]


def content(message: Message) -> bytes:
    """A frame without its length."""
    return bytes(wire.pack(message)[4:])


def received(expected: Message, asked: type[Request], frame: bytes) -> Message:
    """What the other side understands, with the body of an answer to a request of class `asked`."""
    if isinstance(expected, Request):
        return wire.request(frame)  # type: ignore[no-any-return]
    got = wire.answer(frame)
    if isinstance(expected, Answer):
        return Answer(got.number, got.serial, wire.body(asked, got.body))
    return got  # type: ignore[no-any-return]


@pytest.mark.parametrize(("expression", "frame"), VECTORS)
def test_a_message_is_the_frame_that_the_document_shows(expression: str, frame: bytes) -> None:
    message = meant(expression)
    assert wire.pack(message).hex() == frame.hex()
    assert list(wire.frames(bytearray(frame), len(frame))) == [frame[4:]]
    asked = ASKED.get(getattr(message, "number", 0), Care)
    assert received(message, asked, frame[4:]) == message


@pytest.mark.parametrize("kind", [*REQUESTS, *TOLD])
def test_the_document_has_every_message(kind: type[Message]) -> None:
    assert kind in {type(message) for message, _ in MEANT}, f"{kind.__name__} has no test vector"
    text = DOCUMENT.read_text("utf-8")
    named = re.escape(f"``{kind.__name__}``")
    told = re.findall(rf"^{named}(?:[^`\n]*  |\n(?:    .*\n)+)", text, re.MULTILINE)
    names = [name for name in kind.__struct_fields__ if name != "number"]
    in_order = r"\b.*\b".join(["", *names, ""])
    assert any(re.search(in_order, each, re.DOTALL) for each in told), (kind.__name__, names)


@pytest.mark.parametrize("kind", [kind for kind in REQUESTS if kind.answer is not None])
def test_the_document_has_an_answer_to_every_kind_of_request(kind: type[Request]) -> None:
    told = {ASKED[message.number] for message, _ in MEANT if isinstance(message, Answer)}
    alike = {asked.answer for asked in told if asked is not Care}
    assert kind in told or kind.answer in alike, f"no answer to {kind.__name__} has a test vector"


def test_the_document_has_every_error() -> None:
    text = DOCUMENT.read_text("utf-8")
    for name in wire._RAISED:
        assert f"``{name}``" in text, name


def test_the_document_has_the_preamble_and_the_port() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert f"``{wire.preamble().hex()}``" in text
    assert f"port\n{PORT}" in text


def test_the_preamble_of_this_version_is_taken() -> None:
    wire.check_preamble(wire.preamble(), "the server")


@pytest.mark.parametrize(
    ("got", "told"),
    [
        (b"ATOP\0\2\0\0", "speaks version 2 .* install a newer Atop here"),
        (b"ATOP\0\0\0\0", "speaks version 0 .* install a newer Atop there"),
        (b"HTTP/1.1", "is no store of Atop's: it began with b'HTTP/1.1'"),
        (b"ATOP", "is no store of Atop's"),
        (b"", "is no store of Atop's"),
    ],
)
def test_another_preamble_is_refused(got: bytes, told: str) -> None:
    with pytest.raises(ProtocolError, match=told):
        wire.check_preamble(got, "the server")


@pytest.mark.parametrize("kind", [*REQUESTS, *TOLD])
@settings(max_examples=30)
@given(data=st.data())
def test_messages_come_back(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(values(kind))
    assert received(message, Care, content(message)) == message


@pytest.mark.parametrize("kind", REQUESTS)
@settings(max_examples=30)
@given(data=st.data())
def test_bodies_of_answers_come_back(kind: type[Request], data: st.DataObject) -> None:
    told = Answer(1, 2, data.draw(values(type(None) if kind.answer is None else kind.answer)))
    assert received(told, kind, content(told)) == told


@given(st.lists(st.sampled_from([frame for _, frame in VECTORS]), max_size=8), st.data())
def test_a_stream_has_the_same_frames_however_it_is_split(
    sent: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    buffer = bytearray()
    got: list[bytes] = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        buffer += stream[start:stop]
        got += wire.frames(buffer, 1 << 20)
    assert got == [frame[4:] for frame in sent]
    assert not buffer


def test_frames_taken_before_one_that_is_too_large_are_kept() -> None:
    buffer = bytearray(wire.pack(Look(1)) + b"\xff\xff\xff\xff")
    taken = wire.frames(buffer, 100)
    assert wire.request(next(taken)) == Look(1)
    with pytest.raises(ProtocolError, match="4,294,967,295 bytes, and 100 are allowed"):
        next(taken)


@given(st.binary(max_size=64))
def test_any_bytes_are_frames_or_too_large(stream: bytes) -> None:
    buffer = bytearray(stream)
    try:
        got = b"".join(len(each).to_bytes(4, "big") + each for each in wire.frames(buffer, 32))
    except ProtocolError:
        return
    assert got + buffer == stream


@pytest.mark.parametrize(
    "message",
    [
        Look(-1),
        Look(2**63),
        messages.Reserve(1, -1),
        messages.ReadFile(1, 1, 0, -1),
        messages.TakeTurn(1, b"t", -1.0),
        messages.TakeTurn(1, b"t", float("nan")),
        messages.Stage(1, b"t", "items", Columns([b"k"], [(None, True)], False)),
    ],
)
def test_values_that_no_field_may_have_are_refused(message: Message) -> None:
    if isinstance(message, messages.Stage):
        message.columns.keys.append(b"l")
    with pytest.raises(ProtocolError):
        wire.request(content(message))


@pytest.mark.parametrize("message", [Get(1, "\ud800", b""), Look(2**64), Look(-(2**63) - 1)])
def test_what_messagepack_cannot_say_is_not_sent(message: Message) -> None:
    with pytest.raises(ValueRefused, match="cannot be sent"):
        wire.pack(message)


def test_bodies_of_another_type_are_refused() -> None:
    for kind, told in ((Count, None), (Get, "text"), (GetMany, b"k"), (Look, 7), (Status, [])):
        with pytest.raises(ProtocolError):
            wire.body(kind, msgspec.Raw(msgspec.msgpack.encode(told)))


def kinds(root: type[AtopError]) -> list[type[AtopError]]:
    return [root, *(each for kind in root.__subclasses__() for each in kinds(kind))]


def told(error: BaseException) -> AtopError:
    """The error that a client raises when its server has met `error`."""
    failure = wire.answer(content(wire.failure(5, error)))
    assert failure.number == 5
    return wire.error(failure)


@pytest.mark.parametrize("kind", kinds(StoreError) + kinds(TransactionError))
def test_errors_come_back(kind: type[Any]) -> None:
    data: dict[str, Any] = {}
    if issubclass(kind, StoreError):
        data["path"] = "pim.atop"
    if kind is StoreBusy:
        data["pid"] = 4711
    if issubclass(kind, Conflict):
        data["ids"] = (5, 2**63)
    for given_data in ({}, data):
        error = kind("say what to do", **given_data)
        again = told(error)
        assert type(again) is kind
        assert str(again) == "say what to do"
        assert vars(again) == vars(error)


def test_errors_of_values_are_told_without_them() -> None:
    assert type(told(ValueRefused("no", object()))) is ValueRefused
    assert type(told(IndexKeyError("no", object()))) is ValueRefused
    assert type(told(DuplicateKey("no", 1, None, "name", 2))) is ValueRefused


def test_other_errors_are_store_errors() -> None:
    assert type(told(UnicodeDecodeError("utf-8", b"", 0, 0, ""))) is StoreError
    assert type(told(KeyError("k"))) is StoreError
    assert type(told(KeyboardInterrupt())) is StoreError
    assert type(wire.error(Failure(1, "Unheard", "of", {"path": "here"}))) is StoreError
    assert type(wire.error(Failure(1, "SystemExit", "", {}))) is StoreError


def test_data_of_another_type_is_left_out() -> None:
    busy = wire.error(Failure(1, "StoreBusy", "busy", {"path": 3, "pid": "x", "ids": [1]}))
    assert isinstance(busy, StoreBusy)
    assert (busy.path, busy.pid) == (None, None)
    conflict = wire.error(Failure(1, "WriteConflict", "", {"ids": 5}))
    assert isinstance(conflict, Conflict)
    assert conflict.ids == ()


def test_a_path_that_is_not_utf8_is_told_with_its_bytes_escaped() -> None:
    error = told(StoreFull("no room in z\udcfc", "z\udcfc"))
    assert isinstance(error, StoreFull)
    assert (str(error), error.path) == ("no room in z\\udcfc", "z\\udcfc")
