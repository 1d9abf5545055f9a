"""TLS: real handshakes on the loopback, certificates that are wrong, and the words for it."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from atop.engine.certificate import validity
from atop.engine.tls import (
    Certificates,
    accept_tls,
    client_context,
    connect_tls,
    explained,
    server_context,
)
from atop.errors import ProtocolError, StoreError, StorePermission, StoreUnreachable

PAST = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)


@dataclass
class Pair:
    """The files of a certificate with its chain, and of its key."""

    cert: Path
    key: Path


class Authority:
    """An authority, its certificate in the file `path`, and what it issues beside it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.ca = trustme.CA()
        self._folder = folder / name
        self._folder.mkdir()
        self.path = self._folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.path))

    def issue(
        self, *hosts: str, not_before: datetime | None = None, not_after: datetime | None = None
    ) -> Pair:
        issued = self.ca.issue_cert(*hosts, not_before=not_before, not_after=not_after)
        cert, key = self._folder / f"{hosts[0]}.pem", self._folder / f"{hosts[0]}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return Pair(cert, key)


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "other")


def serving(pair: Pair, client_ca: Authority | None = None) -> ssl.SSLContext:
    return server_context(pair.cert, pair.key, client_ca.path if client_ca else None)


def unchecked(pair: Pair) -> ssl.SSLContext:
    """A server that does not look at its own certificate first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    return context


class Meeting:
    """A client and a server that have met on the loopback; what each of them said about it."""

    def __init__(
        self, server: Callable[[socket.socket], ssl.SSLSocket], client: ssl.SSLContext, host: str
    ) -> None:
        self.server_error: StoreError | None = None
        self.client_error: StoreError | None = None
        self.got = b""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=self._serve, args=(listener, server))
            thread.start()
            sock = socket.create_connection(listener.getsockname(), 5)
            try:
                with connect_tls(sock, client, host) as tls, explained(host):
                    tls.sendall(b"hello")
                    self.got = tls.recv(5)
                    self.version = tls.version()
                    self.shown = tls.getpeercert()
            except StoreError as error:
                self.client_error = error
            finally:
                thread.join()

    def _serve(
        self, listener: socket.socket, server: Callable[[socket.socket], ssl.SSLSocket]
    ) -> None:
        sock, _ = listener.accept()
        sock.settimeout(5)
        try:
            with server(sock) as tls:
                tls.sendall(tls.recv(5).upper())
        except StoreError as error:
            self.server_error = error

    @property
    def told(self) -> str:
        """What the client was told."""
        assert self.client_error is not None, "the client noticed nothing"
        assert not self.got
        return str(self.client_error)


def meet(server: ssl.SSLContext, client: ssl.SSLContext, host: str = "localhost") -> Meeting:
    return Meeting(lambda sock: accept_tls(sock, server, "the visitor"), client, host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "bücher.example"])
def test_they_talk(ours: Authority, host: str) -> None:
    meeting = meet(serving(ours.issue(host)), client_context(ours.path), host)
    assert (meeting.server_error, meeting.client_error) == (None, None)
    assert meeting.got == b"HELLO"
    assert meeting.version == "TLSv1.3"


def test_a_client_with_a_certificate_is_let_in(ours: Authority, other: Authority) -> None:
    server = serving(ours.issue("localhost"), client_ca=other)
    pair = other.issue("anna@example.org")
    assert meet(server, client_context(ours.path, pair.cert, pair.key)).got == b"HELLO"
    both = pair.cert.with_name("both.pem")
    both.write_bytes(pair.key.read_bytes() + pair.cert.read_bytes())
    assert meet(server, client_context(ours.path, both)).got == b"HELLO"


def test_a_client_without_a_certificate_is_told(ours: Authority) -> None:
    meeting = meet(serving(ours.issue("localhost"), client_ca=ours), client_context(ours.path))
    assert "asks for a client certificate" in meeting.told
    assert "the visitor: the client has shown no certificate" in str(meeting.server_error)


def test_a_client_with_a_certificate_of_others_is_told(ours: Authority, other: Authority) -> None:
    pair = other.issue("anna@example.org")
    client = client_context(ours.path, pair.cert, pair.key)
    meeting = meet(serving(ours.issue("localhost"), client_ca=ours), client)
    assert "from an authority that the other side does not know" in meeting.told
    assert "unknown authority" in str(meeting.server_error)


def test_a_server_of_an_unknown_authority(ours: Authority, other: Authority) -> None:
    meeting = meet(serving(ours.issue("localhost")), client_context(other.path))
    assert "unknown authority: pass the file of the authority" in meeting.told
    assert "does not know" in str(meeting.server_error)
    assert "unknown authority" in meet(serving(ours.issue("localhost")), client_context()).told


def test_a_server_of_another_name(ours: Authority) -> None:
    server = serving(ours.issue("example.org"))
    for host in ("localhost", "127.0.0.1"):
        told = meet(server, client_context(ours.path), host).told
        assert told.startswith(f"{host}: its certificate is for another host")
        assert "call the host by a name in its certificate" in told


def test_a_server_whose_certificate_has_expired(ours: Authority) -> None:
    server = unchecked(ours.issue("localhost", not_after=PAST))
    assert "has expired: it has to be renewed" in meet(server, client_context(ours.path)).told


def test_a_server_whose_certificate_is_not_valid_yet(ours: Authority) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    server = unchecked(ours.issue("localhost", not_before=tomorrow))
    assert "not valid yet: check the clocks" in meet(server, client_context(ours.path)).told


def test_the_servers_own_certificate_can_be_what_is_trusted(ours: Authority) -> None:
    pair = ours.issue("localhost")
    assert meet(serving(pair), client_context(pair.cert)).got == b"HELLO"


def test_an_older_tls_is_refused(ours: Authority) -> None:
    server = unchecked(ours.issue("localhost"))
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    assert "it has to speak TLS 1.3" in meet(server, client_context(ours.path)).told
    client = client_context(ours.path)
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    meeting = meet(serving(ours.issue("localhost")), client)
    assert "TLS 1.3" in meeting.told
    assert "TLS 1.3" in str(meeting.server_error)


def test_a_server_that_does_not_speak_tls(ours: Authority) -> None:
    def answer(sock: socket.socket) -> ssl.SSLSocket:
        with sock, suppress(ConnectionError):
            sock.sendall(b"ATOP\0\1\0\0" * 10)
            while sock.recv(1 << 16):
                pass
        raise StoreError("no TLS here")

    meeting = Meeting(answer, client_context(ours.path), "localhost")
    assert "does not speak TLS" in meeting.told
    assert isinstance(meeting.client_error, ProtocolError)


def test_a_server_that_hangs_up(ours: Authority) -> None:
    def hang_up(sock: socket.socket) -> ssl.SSLSocket:
        with sock:
            sock.recv(1)
        raise StoreError("no TLS here")

    meeting = Meeting(hang_up, client_context(ours.path), "localhost")
    assert "does not answer in TLS" in meeting.told
    assert isinstance(meeting.client_error, StoreUnreachable)


def test_a_server_that_says_nothing(ours: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname(), 0.05) as sock:
            with pytest.raises(StoreUnreachable, match="does not answer in TLS"):
                connect_tls(sock, client_context(ours.path), "localhost")
            assert sock.fileno() == -1


def test_a_client_that_does_not_speak_tls(ours: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname(), 5) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
            client.shutdown(socket.SHUT_WR)
            sock, _ = listener.accept()
            with pytest.raises(ProtocolError, match="the client does not speak TLS"):
                accept_tls(sock, serving(ours.issue("localhost")))


def test_files_that_are_missing(ours: Authority, tmp_path: Path) -> None:
    pair, none = ours.issue("localhost"), tmp_path / "none.pem"
    calls: list[Callable[[], ssl.SSLContext]] = [
        lambda: server_context(none, pair.key),
        lambda: server_context(pair.cert, none),
        lambda: server_context(pair.cert, pair.key, none),
        lambda: client_context(none),
        lambda: client_context(None, none),
    ]
    for call in calls:
        with pytest.raises(StoreError, match=r"none.pem cannot be read \(No such file") as refused:
            call()
        assert refused.value.path == str(none)
    with pytest.raises(StoreError, match="Is a directory"):
        server_context(tmp_path, pair.key)
    with pytest.raises(StoreError, match="is a key without a certificate"):
        client_context(key=pair.key)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_files_that_we_may_not_read(ours: Authority) -> None:
    pair = ours.issue("localhost")
    pair.key.chmod(0o000)
    with pytest.raises(StorePermission, match="let the user of this process read it"):
        serving(pair)


def test_files_that_are_not_pem(ours: Authority, tmp_path: Path) -> None:
    pair, text = ours.issue("localhost"), tmp_path / "text"
    text.write_bytes(b"\xff\x00 no certificate")
    with pytest.raises(StoreError, match="holds no certificate in PEM"):
        server_context(text, pair.key)
    with pytest.raises(StoreError, match="holds no certificate in PEM"):
        server_context(pair.key, pair.key)
    with pytest.raises(StoreError, match="holds no certificate in PEM"):
        client_context(text)
    with pytest.raises(StoreError, match="holds no private key in PEM"):
        server_context(pair.cert, pair.cert)


@pytest.mark.parametrize("content", [
    "",
    "MIIB",
    "Zm9v",
    "####",
    "MAA=",
])
def test_files_that_are_damaged(ours: Authority, content: str) -> None:
    pair = ours.issue("localhost")
    pair.cert.write_text(
        f"-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n"
    )
    with pytest.raises(StoreError, match="is damaged"):
        serving(pair)
    with pytest.raises(StoreError, match="is damaged"):
        client_context(pair.cert)
    pair.key.write_text(f"-----BEGIN PRIVATE KEY-----\n{content}\n-----END PRIVATE KEY-----\n")
    with pytest.raises(StoreError, match="cannot be used"):
        server_context(ours.issue("example.org").cert, pair.key)


def test_a_key_of_another_certificate(ours: Authority) -> None:
    one, two = ours.issue("localhost"), ours.issue("example.org")
    with pytest.raises(StoreError, match="is not the key of"):
        server_context(one.cert, two.key)


def test_a_key_of_another_kind(ours: Authority) -> None:
    one = ours.issue("localhost")
    rsa = ours.ca.issue_cert("example.org", key_type=trustme.KeyType.RSA)
    rsa.private_key_pem.write_to_path(str(one.key))
    with pytest.raises(StoreError, match="is not the key of"):
        serving(one)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(ours: Authority) -> None:
    pair = ours.issue("localhost")
    locked = pair.key.with_suffix(".locked")
    locked.write_bytes(_locked(pair.key.read_bytes()))
    with pytest.raises(StoreError, match="has a passphrase: store the key without one"):
        server_context(pair.cert, locked)


def _locked(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"geheim"),
    )


def test_a_certificate_that_is_out_of_date_is_not_served(ours: Authority) -> None:
    with pytest.raises(StoreError, match="expired on 2001-02-03 04:05:06 UTC: renew it"):
        serving(ours.issue("localhost", not_after=PAST))
    future = datetime(2045, 6, 7, 8, 9, 10, tzinfo=UTC)
    late = ours.issue("localhost", not_before=future)
    with pytest.raises(StoreError, match="not valid before 2045-06-07 08:09:10 UTC: set the clock"):
        serving(late)
    with pytest.raises(StoreError, match="not valid before"):
        client_context(ours.path, late.cert, late.key)


@pytest.mark.parametrize("end", [
    datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2050, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
])
def test_the_end_of_a_certificate_is_read(ours: Authority, end: datetime) -> None:
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    pem = ours.ca.issue_cert("localhost", not_before=begin, not_after=end).cert_chain_pems[0]
    assert validity(ssl.PEM_cert_to_DER_cert(pem.bytes().decode())) == (begin, end)


def test_any_piece_of_a_certificate_is_no_certificate_or_the_same(ours: Authority) -> None:
    pem = ours.ca.issue_cert("localhost").cert_chain_pems[0].bytes().decode()
    der = ssl.PEM_cert_to_DER_cert(pem)
    whole = validity(der)
    for length in range(len(der)):
        try:
            assert validity(der[:length]) == whole
        except ValueError:
            continue


def test_new_connections_use_new_certificates(ours: Authority, other: Authority) -> None:
    pair = ours.issue("localhost")
    certificates = Certificates(pair.cert, pair.key)
    before = certificates.context
    new = other.issue("localhost")
    pair.cert.write_bytes(new.cert.read_bytes())
    pair.key.write_bytes(new.key.read_bytes())
    assert meet(certificates.context, client_context(ours.path)).got == b"HELLO"
    certificates.reload()
    assert meet(certificates.context, client_context(other.path)).got == b"HELLO"
    assert meet(before, client_context(ours.path)).got == b"HELLO"
    assert "unknown authority" in meet(certificates.context, client_context(ours.path)).told


def test_a_bad_reload_keeps_the_certificates(ours: Authority) -> None:
    pair = ours.issue("localhost")
    certificates = Certificates(pair.cert, pair.key, ours.path)
    before = certificates.context
    pair.cert.write_bytes(ours.issue("localhost", not_after=PAST).cert.read_bytes())
    with pytest.raises(StoreError, match="expired on 2001-02-03"):
        certificates.reload()
    pair.cert.unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        certificates.reload()
    assert certificates.context is before
    assert before.verify_mode is ssl.CERT_REQUIRED
