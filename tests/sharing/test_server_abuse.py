"""Clients that break the protocol: each is hung up on, the log says why, nobody else notices."""

from __future__ import annotations

import logging
import random
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from atop import Item, Store
from atop.engine import messages, wire
from atop.engine.base import Range, State
from atop.engine.messages import Answer, Columns, Failure, Hello
from atop.errors import ProtocolError, StoreBusy, StoreUnreachable
from tests.checking import check_store
from tests.engine.vectors import VECTORS
from tests.sharing.serving import Here, Raw, until

TURN = b"t" * 16


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    """A server with little patience; afterwards another client still works, and all is whole."""
    with Here(tmp_path / "s.atop", greeting=0.4, half_message=0.4, unanswered=20,
              request=1 << 20) as server:
        with server.open() as other, other.transaction():
            other.pool("people", "name").addItem(Item(name="Ann"))
        yield server
        with server.open() as other:
            with other.transaction():
                other.pool("people").addItem(Item(name="Bob"))
            assert [each.name for each in other.pool("people").queryIndex("name")] == ["Ann", "Bob"]
    with Store(tmp_path / "s.atop") as again:
        check_store(again)


def dropped(here: Here, caplog: pytest.LogCaptureFixture, raw: Raw) -> str:
    """Why that client was hung up on: it was told, and a line of the log tells the same."""
    with raw:
        reason = raw.farewell()
    until(lambda: not here.server.clients)
    lines = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(lines) == 1, lines
    assert reason in lines[0]
    return reason


BEFORE = {
    "garbage": (b"\xde\xad\xbe\xef" * 10, "no store of Atop's"),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "no store of Atop's"),
    "a newer version": (b"ATOP\0\2\0\0", "install a newer Atop here"),
    "an older version": (b"ATOP\0\0\0\0", "install a newer Atop there"),
    "a huge length": (b"ATOP\0\1\0\0\xff\xff\xff\xff", "4,294,967,295 bytes, and 65,536"),
    "no message": (b"ATOP\0\1\0\0\0\0\0\1\xc1", "none of the protocol's"),
    "an empty message": (b"ATOP\0\1\0\0\0\0\0\0", "none of the protocol's"),
    "an answer": (b"ATOP\0\1\0\0" + bytes(wire.pack(Answer(1, 1, 1))), "none of the protocol's"),
    "a request before Hello": (
        b"ATOP\0\1\0\0" + bytes(wire.pack(messages.Look(1))), "begins with who is there"),
}


@pytest.mark.parametrize("case", BEFORE)
def test_nonsense_at_the_begin(case: str, here: Here, caplog: pytest.LogCaptureFixture) -> None:
    sent, told = BEFORE[case]
    raw = Raw(here.port)
    raw.sock.sendall(sent)
    assert raw.bytes(8) == wire.preamble(), "the version of the server is always told"
    assert told in dropped(here, caplog, raw)


AFTER = {
    "a second Hello": (Hello(2, 1, "", ""), "Hello in the middle"),
    "a table that is not there": (messages.Get(2, "nothing", b"x"), "there is no table"),
    "rows of items by number": (messages.Scan(2, "items", Range(skip=1)), "only the index"),
    "too many ids": (messages.Reserve(2, 1 << 40), "ids at once"),
    "a turn without a name": (messages.TakeTurn(2, b"t", 1.0), "token of its own"),
    "a file of somebody else": (messages.FileData(2, "../FORMAT", b"x"), "no new file of this"),
    "care that does not exist": (messages.Care(2, "burn"), "no care called"),
    "too many rows": (messages.Scan(2, "index", Range(limit=1 << 40)), "no numbers of rows"),
}


@pytest.mark.parametrize("case", AFTER)
def test_nonsense_later(case: str, here: Here, caplog: pytest.LogCaptureFixture) -> None:
    request, told = AFTER[case]
    raw = Raw(here.port)
    raw.greet()
    raw.say(request)
    assert told in dropped(here, caplog, raw)


def test_a_message_that_is_too_large(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    raw = Raw(here.port)
    welcome = raw.greet()
    limit = wire.body(Hello, welcome.body).max_request
    raw.sock.sendall((limit + 1).to_bytes(4, "big") + b"x" * 1000)
    assert "1,048,577 bytes, and 1,048,576 are allowed" in dropped(here, caplog, raw)


def test_a_number_that_is_in_use(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    raw = Raw(here.port)
    raw.greet()
    raw.say(messages.TakeTurn(2, TURN, 5.0), messages.TakeTurn(3, b"u" * 16, 5.0))
    raw.say(messages.TakeTurn(3, b"v" * 16, 5.0))
    assert "two requests have the number 3" in dropped(here, caplog, raw)


def test_too_many_requests_at_once(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    raw = Raw(here.port)
    raw.greet()
    raw.say(*(messages.TakeTurn(number, bytes([number]) * 16, 5.0) for number in range(2, 40)))
    assert "more than 20 requests at once" in dropped(here, caplog, raw)


@pytest.mark.parametrize("sent", [
    b"", b"ATO", b"ATOP\0\1\0\0", b"ATOP\0\1\0\0\0\0\0\x10half",
], ids=["nothing", "half a preamble", "a preamble", "half a Hello"])
def test_who_is_silent_is_hung_up_on(
    sent: bytes, here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    raw = Raw(here.port)
    raw.sock.sendall(sent)
    if len(sent) >= 8:
        raw.bytes(8)
    began = time.monotonic()
    with raw:
        while raw.sock.recv(100):
            pass
    assert 0.2 < time.monotonic() - began < 3
    until(lambda: not here.server.clients)
    assert "no whole message in 0.4 s" in caplog.text


def test_who_sends_slowly_is_hung_up_on(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    raw = Raw(here.port)
    raw.greet()
    frame = bytes(wire.pack(messages.Get(2, "items", b"x" * 500)))
    began = time.monotonic()
    with suppress(OSError):
        for byte in frame:
            raw.sock.sendall(bytes([byte]))
            time.sleep(0.02)
    assert time.monotonic() - began < 5
    assert "no whole message in 0.4 s" in dropped(here, caplog, raw)


def test_a_client_that_only_waits_is_left_alone(here: Here) -> None:
    with Raw(here.port) as raw:
        raw.greet()
        time.sleep(1.0)
        raw.say(messages.Count(2, None, None))
        assert raw.hear().number == 2


def test_a_client_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    with Here(tmp_path / "s.atop", buffered=1 << 20) as here:
        with here.open(durable=False) as other:
            with other.transaction():
                other.pool("large", "text").addItem(Item(text="x" * 200, data=bytes(1 << 20)))
            with Raw(here.port) as raw:
                raw.greet()
                # What it has asked for, and is not taken off its hands, would be 3 GB.
                (key,) = [(2).to_bytes(8, "big")]
                raw.sock.settimeout(0.5)
                with suppress(TimeoutError):
                    for number in range(2, 3000):
                        raw.say(messages.Get(number, "items", key))
                (stuck,) = [each for each in here.server.clients if each._choked]
                assert stuck._pipe.buffered < 10 << 20
                for number in range(200):
                    with other.transaction():
                        other.add(Item(number=number))
                assert len(other) == 202


def test_a_client_that_is_told_of_commits_and_does_not_read(tmp_path: Path) -> None:
    with Here(tmp_path / "s.atop") as here:
        with Raw(here.port) as raw, here.open(durable=False) as other:
            raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            serial = raw.greet().serial
            idle = next(each for each in here.server.clients
                        if each.hello and each.hello.command == "a test")
            for number in range(3000):
                with other.transaction():
                    other.add(Item(number=number))
            assert idle._pipe.buffered < 1000
            last = other.engine.serial
            while serial < last:
                serial = raw.hear().serial


def test_no_number_wants_no_answer(here: Here) -> None:
    with Raw(here.port) as raw:
        raw.greet()
        raw.say(*(messages.ReadFile(0, 1, 0, 10) for _ in range(10)))
        raw.say(messages.Care(0, "figures"), messages.Care(0, "checkpoint"), messages.NewFile(0),
                messages.TakeTurn(0, TURN, 1.0))
        raw.say(messages.Care(9, "figures"))
        assert raw.hear().number == 9


def test_a_thousand_connections_at_once(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    raws: list[Raw] = []
    try:
        with Here(tmp_path / "s.atop", clients=950) as here, here.open() as other:
            for _ in range(1000):
                raws.append(Raw(here.port))
            answers = [raw.greet() for raw in raws]
            welcome = [each for each in answers if isinstance(each, Answer | wire._Got)]
            refused = [each for each in answers if isinstance(each, Failure)]
            assert (len(welcome), len(refused)) == (949, 51)
            assert {each.error for each in refused} == {"StoreBusy"}
            with pytest.raises(StoreBusy, match="950 clients already"):
                here.open(timeout=0.1)
            with other.transaction():
                other.add(Item(here=True))
            for raw in raws:
                raw.close()
            until(lambda: len(here.server.clients) == 1)
            with here.open() as another:
                assert len(another) == 1
    finally:
        for raw in raws:
            raw.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_strangers_do_not_keep_others_out(tmp_path: Path) -> None:
    with Here(tmp_path / "s.atop", strangers=10) as here:
        silent = [Raw(here.port) for _ in range(50)]
        with here.open() as store:
            assert len(store) == 0
        until(lambda: len(here.server.clients) <= 10)
        for raw in silent:
            raw.close()


def test_a_turn_of_a_client_that_is_hung_up_on_is_free_at_once(here: Here) -> None:
    with Raw(here.port) as raw:
        raw.greet()
        raw.say(messages.TakeTurn(2, TURN, 1.0))
        raw.hear()
        with here.open(timeout=3.0) as other:
            raw.sock.sendall(b"\xff" * 8)
            began = time.monotonic()
            with other.transaction():
                other.add(Item())
            assert time.monotonic() - began < 0.9


def test_a_commit_that_breaks_the_rules_changes_nothing(
    here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    raw = Raw(here.port)
    raw.greet()
    raw.say(messages.TakeTurn(2, TURN, 1.0))
    state = wire.body(messages.TakeTurn, raw.hear().body)[0]
    new = State(state.serial + 1, 1, dict(state.counts), b"n" * 16, 0.0)
    rows = Columns([b"b", b"a"], [(b"1", False), (b"2", False)], True)
    raw.say(messages.Apply(3, TURN, new, {"items": rows}, "", False, [], []))
    assert "in order of their keys" in dropped(here, caplog, raw)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_bytes_come_in(seed: int, here: Here) -> None:
    """Frames of all messages, changed at random, for a few seconds."""
    dice = random.Random(seed)
    frames = [frame for _, frame in VECTORS if not frame[5:].startswith(b"\xa4Stop")]
    end = time.monotonic() + 2.0
    with here.open(durable=False) as other:
        while time.monotonic() < end:
            with suppress(OSError), Raw(here.port) as raw:
                raw.sock.settimeout(0.2)
                raw.greet()
                for _ in range(dice.randrange(1, 10)):
                    raw.sock.sendall(changed(dice, dice.choice(frames)))
                if dice.random() < 0.2:
                    raw.sock.recv(1000)
            assert len(other) == 2


def changed(dice: random.Random, frame: bytes) -> bytes:
    """A few bytes are others, or missing, or come twice; the length may fit again."""
    body = bytearray(frame[4:])
    for _ in range(dice.choice([0, 1, 1, 2, 5])):
        at = dice.randrange(len(body))
        match dice.randrange(4):
            case 0:
                body[at] = dice.randrange(256)
            case 1:
                body[at] ^= 1 << dice.randrange(8)
            case 2:
                del body[at : at + dice.randrange(1, 5)]
            case _:
                body[at:at] = body[at : at + dice.randrange(1, 20)]
        if not body:
            break
    length = len(body) if dice.random() < 0.95 else dice.choice([0, 1, 1 << 20, 0xFFFFFFFF])
    return length.to_bytes(4, "big") + bytes(body)


def test_a_client_hears_why(here: Here) -> None:
    with here.open() as store:
        with pytest.raises((ProtocolError, StoreUnreachable), match="no table"):
            store._link.connection.ask(messages.Get, "nothing", b"x")  # type: ignore[union-attr]
        assert len(store) == 2, "and is let in again"


