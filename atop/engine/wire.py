"""Messages as bytes on a connection; doc/protocol.rst has every one of them.

A connection begins with a preamble from each side, which says the version. After it come frames: a
length of four bytes and so many bytes of MessagePack, in which is one message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Any

import msgspec
from msgspec import Raw, msgpack

from atop import errors
from atop.engine.messages import REQUESTS, Committed, Failure, Leaving, Message, Natural, Request
from atop.errors import AtopError, ProtocolError, StoreError, TransactionError, ValueRefused

VERSION = 1

_PREAMBLE = struct.Struct(">4sHH")
PREAMBLE_BYTES = _PREAMBLE.size
_MAGIC = b"ATOP"
_LENGTH = struct.Struct(">I")

MAX_HELLO = 64 << 10
MAX_REQUEST = 64 << 20
MAX_ANSWER = 0xFFFF_FFFF


class _Got(Message, tag="Answer"):
    number: Natural
    serial: Natural
    body: Raw


_encoder = msgpack.Encoder()
_requests: msgpack.Decoder[Any] = msgpack.Decoder(reduce(or_, REQUESTS))
_answers: msgpack.Decoder[Any] = msgpack.Decoder(_Got | Failure | Committed | Leaving)
_bodies: dict[type[Request], msgpack.Decoder[Any]] = {
    kind: msgpack.Decoder(kind.answer) for kind in REQUESTS
}
_RAISED = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, (StoreError, TransactionError))
} | {"ValueRefused": ValueRefused}
_DATA: dict[str, type] = {"path": str, "pid": int, "ids": list}


def preamble() -> bytes:
    """What each side sends first."""
    return _PREAMBLE.pack(_MAGIC, VERSION, 0)


def check_preamble(got: bytes, who: str) -> None:
    """Make sure that the other side, called `who`, speaks this version.

    :raises ProtocolError: when it does not, or is something else altogether.
    """
    if len(got) != PREAMBLE_BYTES or not got.startswith(_MAGIC):
        raise ProtocolError(f"{who} is no store of Atop's: it began with {got!r}", who)
    _, version, _ = _PREAMBLE.unpack(got)
    if version != VERSION:
        older = "there" if version < VERSION else "here"
        raise ProtocolError(
            f"{who} speaks version {version} of the protocol and this program version {VERSION}: "
            f"install a newer Atop {older}",
            who,
        )


def pack(message: Message) -> bytearray:
    """The frame of a message.

    :raises ValueRefused: when it has more than 4 GiB, half a character, or too large a number.
    """
    frame = bytearray(4)
    try:
        _encoder.encode_into(message, frame, 4)
    except (UnicodeEncodeError, OverflowError) as error:
        raise ValueRefused(f"a message that cannot be sent: {error}") from error
    if len(frame) - 4 > MAX_ANSWER:
        raise ValueRefused(f"a message of {len(frame):,} bytes is too large to be sent")
    _LENGTH.pack_into(frame, 0, len(frame) - 4)
    return frame


def frames(received: bytearray, limit: int) -> Iterator[bytes]:
    """Take the whole frames off the front of what was received.

    :raises ProtocolError: for one that would have more than `limit` bytes.
    """
    at = 0
    try:
        while len(received) - at >= 4:
            (size,) = _LENGTH.unpack_from(received, at)
            if size > limit:
                raise ProtocolError(f"a message of {size:,} bytes, and {limit:,} are allowed")
            if len(received) - at - 4 < size:
                return
            frame = bytes(memoryview(received)[at + 4 : at + 4 + size])
            at += 4 + size
            yield frame
    finally:
        del received[:at]


def request(frame: bytes) -> Any:
    """The request in a frame.

    :raises ProtocolError: when there is none.
    """
    return _decoded(_requests, frame)


def answer(frame: bytes) -> Any:
    """What a server sent; the body of an answer is still raw."""
    return _decoded(_answers, frame)


def body(asked: type[Request], raw: Raw) -> Any:
    """The body of the answer to a request of the class `asked`."""
    return _decoded(_bodies[asked], raw)


def failure(number: int, error: BaseException) -> Failure:
    """What tells a client of `error`: as a StoreError, if it is none that a client may know."""
    kind = next((cls for cls in type(error).__mro__ if cls in _RAISED.values()), StoreError)
    data = {name: _plain(getattr(error, name, None)) for name in _fields(kind)}
    return Failure(number, kind.__name__, _plain(str(error)), _checked(data))


def error(told: Failure) -> AtopError:
    """The error that a server has told."""
    kind = _RAISED.get(told.error, StoreError)
    return kind(told.message, **_checked({name: told.data.get(name) for name in _fields(kind)}))


def _fields(kind: type[AtopError]) -> tuple[str, ...]:
    if issubclass(kind, errors.Conflict):
        return ("ids",)
    if issubclass(kind, errors.StoreBusy):
        return ("path", "pid")
    return ("path",) if issubclass(kind, StoreError) else ()


def _checked(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if isinstance(value, _DATA[name])}


def _plain(value: Any) -> Any:
    """The same in MessagePack's types; of a path that is not UTF-8, with the bytes escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return list(value) if isinstance(value, tuple) else value


def _decoded(decoder: msgpack.Decoder[Any], data: bytes | Raw) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, MemoryError) as error:
        raise ProtocolError(f"a message that is none of the protocol's: {error}") from error
