"""Who is let in over the network, and what the others are told on both sides."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from atop import Item, Store
from atop.engine import wire
from atop.engine.admission import Admission
from atop.engine.messages import Get
from atop.engine.tls import client_context
from atop.errors import (
    AtopError,
    ProtocolError,
    ReadOnlyStore,
    StoreError,
    StorePermission,
    StoreUnreachable,
    ValueRefused,
)
from tests.sharing.serving import READING, TOKEN, Here, Keys, Raw, free_port, until

PAST = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)


def refused(url: str, error: type[AtopError], **options: Any) -> str:
    """What is told to a client that is not let in."""
    began = time.monotonic()
    with pytest.raises(error) as raised:
        Store(url, **{"timeout": 3.0, **options})
    assert time.monotonic() - began < 5
    assert TOKEN not in str(raised.value)
    return str(raised.value)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_client_with_a_token(secure: Here, keys: Keys) -> None:
    with secure.open(token=TOKEN, ca=keys.ca) as store:
        with store.transaction():
            store.add(Item(name="Ann"))
        assert repr(store) == f"<Store {secure.url}>"
        assert store.path is None
        assert store.url == secure.url


def test_what_goes_over_the_wire_is_tls_1_3(secure: Here, keys: Keys) -> None:
    with Raw(secure.port, client_context(keys.ca)) as raw:
        assert isinstance(raw.sock, ssl.SSLSocket)
        assert raw.sock.version() == "TLSv1.3"
        assert raw.greet(TOKEN).number == 1


def test_a_token_that_is_only_for_reading(secure: Here, keys: Keys) -> None:
    with secure.open(token=READING, ca=keys.ca) as store:
        assert len(store) == 0
        with pytest.raises(ReadOnlyStore, match="may only read"):
            store.begin()
        with pytest.raises(ReadOnlyStore):
            store.checkpoint()


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "\ud800x", "x" * 10_000])
def test_a_wrong_token(
    token: str, secure: Here, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    told = refused(secure.url, AtopError, token=token, ca=keys.ca)
    if "\ud800" not in token:
        assert "asks for a token: pass token=" in told
        (line,) = warnings(caplog)
        assert "is not let in: the server asks for a token" in line
        assert not token or token not in caplog.text
    with secure.open(token=TOKEN, ca=keys.ca) as store:
        assert len(store) == 0


def test_a_client_that_does_not_know_the_authority(
    secure: Here, keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Keys(tmp_path, "other")
    assert "unknown authority" in refused(secure.url, StoreError, token=TOKEN, ca=other.ca)
    until(lambda: warnings(caplog))
    (line,) = warnings(caplog)
    assert line.startswith("no TLS with 127.0.0.1:")


def test_a_name_that_the_certificate_does_not_have(keys: Keys, tmp_path: Path) -> None:
    issued = keys.authority.issue_cert("example.org")
    issued.private_key_pem.write_to_path(str(keys.key))
    keys.cert.write_bytes(issued.cert_chain_pems[0].bytes())
    with Here(tmp_path / "s.atop", keys.admission()) as here:
        assert "is for another host" in refused(here.url, StoreError, token=TOKEN, ca=keys.ca)


def test_an_expired_certificate_of_a_server(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atop.engine.tls._check_today", lambda path: None)
    keys.cert, keys.key = keys.issue("expired", not_after=PAST)
    with Here(tmp_path / "s.atop", keys.admission()) as here:
        assert "has expired" in refused(here.url, StoreError, token=TOKEN, ca=keys.ca)


def test_an_older_tls(secure: Here, keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    context = client_context(keys.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        Raw(secure.port, context)
    until(lambda: warnings(caplog))
    assert "has to speak TLS 1.3" in warnings(caplog)[0]


@pytest.mark.parametrize("sent", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"ATOP\0\1\0\0" * 4,
    b"\x16\x03\x01\x02\x00\x01" + b"\0" * 600,
], ids=["HTTP", "no TLS", "half of TLS"])  # fmt: skip
def test_something_else_than_tls(
    sent: bytes, secure: Here, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    with Raw(secure.port) as raw:
        raw.sock.sendall(sent)
        while raw.sock.recv(100):
            pass
    until(lambda: warnings(caplog))
    (line,) = warnings(caplog)
    assert line.startswith("no TLS with 127.0.0.1:")
    with secure.open(token=TOKEN, ca=keys.ca) as store:
        assert len(store) == 0


def test_a_client_that_leaves_in_the_middle_of_the_handshake(secure: Here, keys: Keys) -> None:
    for _ in range(20):
        with Raw(secure.port) as raw:
            raw.sock.sendall(b"\x16\x03\x01\x02\x00")
    until(lambda: not secure.server.clients)


def test_a_client_without_tls(secure: Here) -> None:
    told = refused(secure.url, StoreUnreachable, token=TOKEN, insecure=True)
    assert "leave out insecure=" in told


def test_a_server_without_tls(tmp_path: Path) -> None:
    with Here(tmp_path / "s.atop") as here:
        assert "does not speak TLS" in refused(here.url, ProtocolError, token=TOKEN)


@pytest.mark.parametrize("url", ["atop://example.org", "atop://192.0.2.1:2972", "atop://[fe80::1]"])
def test_tls_is_off_on_this_machine_alone(url: str) -> None:
    assert "is not on this machine" in refused(url, ValueRefused, insecure=True)


def test_options_of_an_address_are_refused_elsewhere(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = [{"token": "x"}, {"ca": "x"}, {"insecure": True}]
    for options in asked:
        for path in (None, tmp_path / "s.atop"):
            with pytest.raises(ValueRefused, match="are for a store's address"):
                Store(path, **options)


def test_client_certificates(keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clients = Keys(tmp_path, "clients")
    admission = Admission(keys.cert, keys.key, clients.ca)
    with Here(tmp_path / "s.atop", admission) as here:
        with here.open(ca=keys.ca, cert=clients.cert, certKey=clients.key) as store:
            with store.transaction():
                store.add(Item())
            (shown,) = here.server.status()["clients"]
            assert shown["name"].startswith("clients-server (process")
        stranger = Keys(tmp_path, "stranger")
        told = refused(here.url, StoreError, ca=keys.ca, cert=stranger.cert, certKey=stranger.key)
        assert "an authority that the other side does not know" in told
        told = refused(here.url, StoreError, ca=keys.ca)
        assert "asks for a client certificate" in told
        assert [line.split(":")[0] for line in warnings(caplog)] == ["no TLS with 127.0.0.1"] * 2


def test_an_expired_certificate_of_a_client(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = Keys(tmp_path, "clients")
    cert, key = clients.issue("expired", not_after=PAST)
    with Here(tmp_path / "s.atop", Admission(keys.cert, keys.key, clients.ca)) as here:
        told = refused(here.url, StoreError, ca=keys.ca, cert=cert, certKey=key)
        assert "expired on 2001" in told
        monkeypatch.setattr("atop.engine.tls._check_today", lambda path: None)
        assert "has expired" in refused(here.url, StoreError, ca=keys.ca, cert=cert, certKey=key)


def test_certificates_and_tokens_are_both_asked_for(keys: Keys, tmp_path: Path) -> None:
    with Here(tmp_path / "s.atop", Admission(keys.cert, keys.key, keys.ca, keys.tokens)) as here:
        mine = {"ca": keys.ca, "cert": keys.cert, "certKey": keys.key}
        assert "token" in refused(here.url, StorePermission, **mine)
        assert "certificate" in refused(here.url, StoreError, ca=keys.ca, token=TOKEN)
        with here.open(token=TOKEN, **mine) as store:
            assert len(store) == 0


@pytest.mark.parametrize(("options", "told"), [
    (["cert"], "belong together"),
    (["cert", "key"], "anybody on the network could change"),
    (["ca"], "can ask for one"),
    (["tokens"], "over TCP there is TLS"),
    ([], "over TCP there is TLS"),
])
def test_a_server_that_asks_for_nothing_is_refused(
    options: list[str], told: str, keys: Keys
) -> None:
    files = {"cert": keys.cert, "key": keys.key, "ca": keys.ca, "tokens": keys.tokens}
    with pytest.raises(ValueRefused, match=told):
        Admission(*(path if name in options else None for name, path in files.items()))


def test_new_certificates_and_tokens(
    secure: Here, keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    admission = secure.admission
    assert admission is not None
    other = Keys(tmp_path, "other")
    with secure.open(token=TOKEN, ca=keys.ca) as old, secure.open(token=READING, ca=keys.ca):
        keys.cert.write_bytes(other.cert.read_bytes())
        keys.key.write_bytes(other.key.read_bytes())
        keys.know(TOKEN, "another")
        assert admission.reload()
        secure.server.soon(secure.server.check_rights)
        until(lambda: len(secure.server.clients) == 1)
        assert len(old) == 0, "its token is still known"
        assert "is dropped: the server asks for a token" in caplog.text
        with secure.open(token="another", ca=other.ca) as new:
            assert len(new) == 0
        refused(secure.url, StorePermission, token=READING, ca=other.ca)
        refused(secure.url, StoreError, token=TOKEN, ca=keys.ca)


def test_what_cannot_be_read_again_stays_as_it_was(
    secure: Here, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    assert secure.admission is not None
    keys.cert.write_text("nonsense")
    keys.tokens.write_text("nonsense")
    assert not secure.admission.reload()
    lines = [line for line in warnings(caplog) if "not read again" in line]
    assert len(lines) == 2
    assert str(keys.cert) in lines[0]
    assert str(keys.tokens) in lines[1]
    with secure.open(token=TOKEN, ca=keys.ca) as store:
        assert len(store) == 0


def test_nobody_there() -> None:
    assert "refused" in refused(f"atop://127.0.0.1:{free_port()}", StoreUnreachable, insecure=True)


def test_a_host_without_a_name() -> None:
    assert "start the server there, or correct the address" in refused(
        "atop://no-such-host.invalid", StoreUnreachable
    )


def test_somebody_who_takes_nobody_in() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as sock:
        port = sock.getsockname()[1]
        began = time.monotonic()
        for insecure in (True, False):
            with pytest.raises(StoreError):
                Store(f"atop://127.0.0.1:{port}", timeout=0.1, insecure=insecure)
        assert time.monotonic() - began < 10


def test_something_else_at_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:

        def serve() -> None:
            for _ in range(2):
                with sock.accept()[0] as client:
                    client.recv(100)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"atop://127.0.0.1:{sock.getsockname()[1]}"
        assert "is no store of Atop's" in refused(url, ProtocolError, insecure=True)
        assert "does not speak TLS" in refused(url, ProtocolError)
        thread.join()


def test_a_request_over_tls_is_split_anywhere(secure: Here, keys: Keys) -> None:
    with Raw(secure.port, client_context(keys.ca)) as raw:
        raw.greet(TOKEN)
        for byte in bytes(wire.pack(Get(2, "items", b"x"))):
            raw.sock.sendall(bytes([byte]))
        assert raw.hear().number == 2
