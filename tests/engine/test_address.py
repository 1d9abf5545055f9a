"""Addresses, the sockets that they lead to, and who is at the other end."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atop.engine.address import (
    Peer,
    TcpAddress,
    UnixAddress,
    connect,
    connect_tcp,
    connect_unix,
    listen_unix,
    may_talk,
    parse,
    peer,
)
from atop.errors import StoreBusy, StoreError, StorePermission, StoreUnreachable, ValueRefused
from tests.conftest import start_child

STRANGER = 54_321
needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a full queue refuses, as if nobody listened"
)
HOLD = """
import os, sys, socket
from pathlib import Path
from atop.engine.address import listen_unix
server = listen_unix(Path(sys.argv[1]))
print("listening", flush=True)
sys.stdin.readline()
os._exit(9)
"""


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def talk(server: socket.socket, path: Path) -> None:
    """A word each way; the sockets are closed."""
    with connect_unix(path, 5) as client:
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
            accepted.sendall(b"there")
            assert client.recv(5) == b"there"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize(("text", "address"), [
    ("atop://example.org", TcpAddress("example.org", 2972)),
    ("atop://example.org/", TcpAddress("example.org", 2972)),
    ("ATOP://Example.ORG:80", TcpAddress("example.org", 80)),
    ("atop://10.0.0.1:65535", TcpAddress("10.0.0.1", 65535)),
    ("atop://my_host-2", TcpAddress("my_host-2")),
    ("atop://bücher.example:1", TcpAddress("bücher.example", 1)),
    ("atop://[::1]", TcpAddress("::1", 2972)),
    ("atop://[2001:DB8:0::1]:443", TcpAddress("2001:db8::1", 443)),
    ("atop://[fe80::1%25eth0]", TcpAddress("fe80::1%eth0")),
    ("atop+unix:///run/pim.sock", UnixAddress(Path("/run/pim.sock"))),
    ("atop+unix:///a%20b/%C3%A9%3F%23%25.s", UnixAddress(Path("/a b/é?#%.s"))),
    ("atop+unix:///a b/é@c:d", UnixAddress(Path("/a b/é@c:d"))),
    ("atop+unix:///odd%FF", UnixAddress(Path(os.fsdecode(b"/odd\xff")))),
])
def test_an_address_is_read(text: str, address: TcpAddress | UnixAddress) -> None:
    assert parse(text) == address
    assert parse(str(address)) == address


@pytest.mark.parametrize("path", ["pim.atop", "/var/lib/pim.atop", "C:\\pim", "atop:", "", "a:/b"])
def test_what_has_no_scheme_is_a_path(path: str) -> None:
    assert parse(path) is None


def test_an_address_is_told_in_full() -> None:
    assert str(TcpAddress("::1")) == "atop://[::1]:2972"
    assert str(TcpAddress("example.org", 80)) == "atop://example.org:80"
    assert str(UnixAddress(Path("/a b/c"))) == "atop+unix:///a%20b/c"


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name and name.strip(b"/.")))
def test_any_path_makes_an_address(name: bytes) -> None:
    address = UnixAddress(Path("/", os.fsdecode(name)))
    assert parse(str(address)) == address


@pytest.mark.parametrize(("text", "told"), [
    ("http://example.org", "begins with atop://"),
    ("atops://example.org", "begins with atop://"),
    ("://example.org", "begins with atop://"),
    ("atop://", "names no host"),
    ("atop://:2972", "names no host"),
    ("atop:///run/x", "leave out what follows the host"),
    ("atop://host/pim", "leave out what follows the host"),
    ("atop://host:0", "a port is a number"),
    ("atop://host:65536", "a port is a number"),
    ("atop://host:", "a port is a number"),
    ("atop://host:-1", "a port is a number"),
    ("atop://host:٣", "a port is a number"),
    ("atop://host:http", "a port is a number"),
    ("atop://::1", "in brackets"),
    ("atop://[::1", "in brackets"),
    ("atop://[::1]x", "in brackets"),
    ("atop://[host]", "write an IPv6 address"),
    ("atop://[]", "names no host"),
    ("atop://a b", "cannot be the name of a host"),
    ("atop://a..b", "cannot be the name of a host"),
    ("atop://" + "a" * 64, "cannot be the name of a host"),
    ("atop://host%2f", "cannot be the name of a host"),
    ("atop://ho\nst", "percent-encoded"),
    ("atop+unix:///a\0b", "percent-encoded"),
    ("atop+unix:///a%00b", "names no socket"),
    ("atop+unix:///", "names no socket"),
    ("atop+unix://", "names no socket"),
    ("atop+unix://run/pim.sock", "three slashes"),
    ("atop+unix://localhost/run/pim.sock", "three slashes"),
])
def test_what_cannot_be_an_address_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueRefused, match=told):
        parse(text)


@pytest.mark.parametrize("text", [
    "atop://anna:geheim@example.org",
    "atop://geheim@example.org:2972",
    "atop://anna%3Ageheim%40example.org",
    "atop://geheim@[::1]:port",
    "atop+unix://geheim@/run/pim.sock",
    "atop://example.org?token=geheim",
    "atop://example.org/?geheim",
    "atop://example.org:x#geheim",
    "atop+unix:///run/pim.sock?token=geheim",
    "http://geheim@example.org/",
])
def test_a_secret_in_an_address_is_refused_and_not_told(text: str) -> None:
    with pytest.raises(ValueRefused) as refused:
        parse(text)
    assert "geheim" not in f"{refused.value} {refused.value.value}"
    assert "token=" in str(refused.value) or text.startswith("http")


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("wanted", [0o600, 0o660])
def test_a_socket_has_its_mode_whatever_the_umask(tmp_path: Path, mask: int, wanted: int) -> None:
    path = tmp_path / "socket"
    with umask(mask), listen_unix(path, wanted) as server:
        assert mode(path) == wanted
        talk(server, path)
    assert [each.name for each in tmp_path.iterdir()] == ["socket"], "something was left behind"


@pytest.mark.parametrize("length", [90, 101, 103, 104, 107, 108, 200, 3000])
def test_a_socket_is_reached_however_long_its_path_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    folder = tmp_path
    while len(str(folder)) + 120 < length:
        folder /= "f" * 100
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("n" * max(1, length - len(str(folder)) - 1))
    with tempfile.TemporaryDirectory() as temporary:
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        with listen_unix(path) as server:
            talk(server, path)
        assert not os.listdir(temporary), "a link was left behind"
    assert [each.name for each in folder.iterdir()] == [path.name]


def test_a_long_temporary_folder_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("n" * 100) / "socket"
    path.parent.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path.parent))
    with listen_unix(path) as server:
        talk(server, path)


def test_a_relative_path_is_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ("n" * 100)).mkdir()
    monkeypatch.chdir(tmp_path)
    path = Path("n" * 100, "socket")
    with listen_unix(path) as server:
        talk(server, path)
    with pytest.raises(ConnectionRefusedError):
        connect_unix(path, 1)


def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with start_child(HOLD, str(path)) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "listening\n"
        with pytest.raises(StoreBusy, match="another process listens"):
            listen_unix(path)
        child.communicate("\n", timeout=30)
    assert path.is_socket()
    with pytest.raises(ConnectionRefusedError):
        connect_unix(path, 1)
    with listen_unix(path) as server:
        talk(server, path)


def test_nothing_but_a_socket_is_replaced(tmp_path: Path) -> None:
    path, other = tmp_path / "socket", tmp_path / "other"
    path.write_text("mine")
    with pytest.raises(StoreError, match="is not a socket"):
        listen_unix(path)
    assert path.read_text() == "mine"
    path.unlink()
    listen_unix(other).close()
    path.symlink_to(other)
    with pytest.raises(StoreError, match="is not a socket"):
        listen_unix(path)
    assert path.is_symlink()


def test_a_socket_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(StoreError, match="cannot listen"):
            listen_unix(path)
    assert path.is_socket()


@needs_linux
def test_a_server_with_a_full_queue_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with ExitStack() as held:
        held.enter_context(listen_unix(path, backlog=1))
        for _ in range(2):
            held.enter_context(connect_unix(path, 1))
        with pytest.raises(StoreBusy):
            listen_unix(path)
        with pytest.raises(TimeoutError):
            connect_unix(path, 0.05)


@needs_linux
@pytest.mark.parametrize("timeout", [5, None])
def test_a_client_waits_for_its_place_in_the_queue(tmp_path: Path, timeout: float | None) -> None:
    path = tmp_path / "socket"
    with ExitStack() as held:
        server = held.enter_context(listen_unix(path, backlog=1))
        for _ in range(2):
            held.enter_context(connect_unix(path, 1))

        def accept() -> None:
            for _ in range(3):
                accepted.append(held.enter_context(server.accept()[0]))

        accepted: list[socket.socket] = []
        thread = threading.Timer(0.05, accept)
        thread.start()
        last = held.enter_context(connect_unix(path, timeout))
        thread.join()
        last.sendall(b"here")
        assert accepted[2].recv(4) == b"here"
        assert last.gettimeout() == timeout


def test_where_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        connect_unix(tmp_path / "socket", 1)
    with pytest.raises(FileNotFoundError):
        connect_unix(tmp_path / ("n" * 150), 1)
    with pytest.raises(StoreError, match=r"cannot listen at .*No such file"):
        listen_unix(tmp_path / "missing" / "socket")
    address = UnixAddress(tmp_path / "socket")
    with pytest.raises(StoreUnreachable, match=r"No such file.*start the server") as refused:
        connect(address, 1)
    assert refused.value.path == str(address)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do anything")
def test_what_is_for_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listen_unix(path, 0o000):
        with pytest.raises(StorePermission, match="ask the store's owner"):
            connect(UnixAddress(path), 1)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorePermission, match="cannot listen"):
            listen_unix(tmp_path / "other")
    finally:
        tmp_path.chmod(0o700)


def test_a_unix_address_is_connected(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listen_unix(path) as server, connect(UnixAddress(path), 5):
        server.accept()[0].close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_tcp_address_is_connected(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = TcpAddress(host, server.getsockname()[1])
        with connect(address, 5) as client:
            server.accept()[0].close()
            assert client.gettimeout() == 5
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_tcp_address_where_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        connect_tcp("127.0.0.1", port, 1)
    with pytest.raises(StoreUnreachable, match=rf"atop://127.0.0.1:{port}: .*refused; start the"):
        connect(TcpAddress("127.0.0.1", port), 1)
    with pytest.raises(StoreUnreachable, match="correct the address"):
        connect(TcpAddress("no..name"), 1)


def test_the_other_end_is_known(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listen_unix(path) as server, connect_unix(path, 5) as client:
        accepted, _ = server.accept()
        with accepted:
            for each in (client, accepted):
                found = peer(each)
                assert (found.uid, found.gid) == (os.geteuid(), os.getegid())
                assert found.pid == os.getpid() or sys.platform not in ("linux", "darwin")


def folder(path: Path, mode: int, uid: int, gid: int) -> os.stat_result:
    """The status of a folder that need not be, since only root can give one away."""
    fields = list(path.stat())
    fields[0], fields[4], fields[5] = stat.S_IFDIR | mode, uid, gid
    return os.stat_result(fields)


def test_we_and_root_and_the_owner_may_talk(tmp_path: Path) -> None:
    status = folder(tmp_path, 0o700, STRANGER, STRANGER)
    assert may_talk(Peer(None, os.geteuid(), 1), status)
    assert may_talk(Peer(None, 0, 0), status)
    assert may_talk(Peer(None, STRANGER, 1), status)
    assert not may_talk(Peer(None, STRANGER + 1, STRANGER), status)


@pytest.mark.parametrize(("mode", "allowed"), [
    (0o770, True), (0o2770, True), (0o750, False), (0o755, False), (0o707, False), (0o700, False),
])
def test_a_group_may_talk_that_may_do_all(tmp_path: Path, mode: int, allowed: bool) -> None:
    status = folder(tmp_path, mode, STRANGER, STRANGER)
    assert may_talk(Peer(None, STRANGER + 1, STRANGER), status) is allowed
    assert not may_talk(Peer(None, STRANGER + 1, STRANGER + 1), status)


def test_supplementary_groups_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = next(user for user in pwd.getpwall() if user.pw_uid not in (0, os.geteuid()))
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, STRANGER])
    status = folder(tmp_path, 0o770, 0, STRANGER)
    assert may_talk(Peer(None, other.pw_uid, other.pw_gid), status)
    assert not may_talk(Peer(None, STRANGER + 1, other.pw_gid), status), "nobody knows that user"
