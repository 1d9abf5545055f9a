"""Where a store is reached, how to get there, and who is at the other end.

An address is ``atop://host:2972`` or ``atop+unix:///run/pim.sock``. It never holds a secret, so it
may stand in logs, errors and lists of processes. A socket at a path is reached however long the
path is, and nobody can connect to one before it has its mode.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
import socket
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes

from atop.errors import StoreBusy, StoreError, StorePermission, StoreUnreachable, ValueRefused

PORT = 2972
_FORMS = "write atop://host:2972 or atop+unix:///path/to/socket"
_AUTHORITY = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::(.*))?")
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?")

# A socket's address takes 103 bytes on macOS and 107 on Linux; a name of two may be added.
_LONGEST = 100
_FULL_QUEUE_WAIT = 0.005
_IDLE, _INTERVAL, _PROBES = 60, 15, 4


@dataclass(frozen=True)
class TcpAddress:
    """A port of a host, which is a name or a number."""

    host: str
    port: int = PORT

    def __str__(self) -> str:
        host = "[{}]".format(self.host.replace("%", "%25")) if ":" in self.host else self.host
        return f"atop://{host}:{self.port}"


@dataclass(frozen=True)
class UnixAddress:
    """A socket at an absolute path of this machine."""

    path: Path

    def __str__(self) -> str:
        return f"atop+unix://{quote(os.fsencode(self.path))}"


Address = TcpAddress | UnixAddress


@dataclass(frozen=True)
class Peer:
    """The process at the other end of a Unix socket, as the system tells it."""

    pid: int | None
    uid: int
    gid: int


def parse(text: str) -> Address | None:
    """The address that `text` is; ``None`` if it has no ``://``, so that it is a path.

    :raises ValueRefused: when it is an address that cannot be; what may be secret is not told.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        return None
    if scheme.lower() not in ("atop", "atop+unix"):
        raise ValueRefused(f"an address begins with atop:// or atop+unix://: {_FORMS}")
    authority, slash, path = rest.partition("/")
    _refuse_secrets(authority, rest)
    if not text.isprintable():
        raise ValueRefused(f"{text!r} has a character that has to be percent-encoded", text)
    if scheme.lower() == "atop":
        return _parse_tcp(text, authority, path)
    return _parse_unix(text, authority, slash + path)


def _refuse_secrets(authority: str, rest: str) -> None:
    if "@" in unquote(authority):
        raise ValueRefused(
            "an address has no user or password, it would be seen by others: pass token= instead"
        )
    if "?" in rest or "#" in rest:
        raise ValueRefused(
            "an address has no options after ? or #: pass token= and other options as arguments; "
            "in a path write %3F or %23"
        )


def _parse_tcp(text: str, authority: str, path: str) -> TcpAddress:
    if path:
        raise ValueRefused(f"{text}: a server has one store; leave out what follows the host", text)
    match = _AUTHORITY.fullmatch(authority)
    if match is None or ("[" not in authority and authority.count(":") > 1):
        raise ValueRefused(f"{text}: write an IPv6 address in brackets, as in atop://[::1]", text)
    number, name, port = match.groups()
    if not (number or name):
        raise ValueRefused(f"{text} names no host: {_FORMS}", text)
    host = _ipv6(text, number) if number else _host(text, name)
    return TcpAddress(host, PORT if port is None else _port(text, port))


def _ipv6(text: str, number: str) -> str:
    try:
        return str(ipaddress.IPv6Address(number.replace("%25", "%")))
    except ValueError as error:
        raise ValueRefused(f"{text}: {error}; in brackets write an IPv6 address", text) from error


def _host(text: str, name: str) -> str:
    try:
        name.encode("idna")
        valid = _HOST.fullmatch(name) is not None
    except UnicodeError:
        valid = False
    if not valid:
        raise ValueRefused(f"{text}: {name!r} cannot be the name of a host; {_FORMS}", text)
    return name.lower()


def _port(text: str, digits: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", digits) is None or not 0 < int(digits) < 1 << 16:
        raise ValueRefused(f"{text}: a port is a number from 1 to 65535; without one it is {PORT}",
                           text)
    return int(digits)


def _parse_unix(text: str, authority: str, encoded: str) -> UnixAddress:
    if authority:
        raise ValueRefused(f"{text}: write three slashes and an absolute path, as in "
                           "atop+unix:///run/pim.sock", text)
    path = os.fsdecode(unquote_to_bytes(os.fsencode(encoded)))
    if not path.strip("/") or "\0" in path:
        raise ValueRefused(f"{text} names no socket: {_FORMS}", text)
    return UnixAddress(Path(path))


def connect(address: Address, timeout: float | None) -> socket.socket:
    """A connection to the server at `address`; it keeps `timeout`, which is in seconds.

    :raises StoreUnreachable: when nobody answers there.
    :raises StorePermission: when the socket is for others.
    """
    try:
        if isinstance(address, TcpAddress):
            return connect_tcp(address.host, address.port, timeout)
        return connect_unix(address.path, timeout)
    except PermissionError as error:
        raise StorePermission(
            f"{address}: {error.strerror}; ask the store's owner", str(address)
        ) from error
    except (OSError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or error
        raise StoreUnreachable(
            f"{address}: {told}; start the server there, or correct the address", str(address)
        ) from error


def connect_tcp(host: str, port: int, timeout: float | None) -> socket.socket:
    """A connection to `port` of the first of `host`'s addresses that answers.

    :raises OSError: when none does, each within `timeout` seconds.
    """
    sock = socket.create_connection((host, port), timeout)
    try:
        tune(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def tune(sock: socket.socket) -> None:
    """Send small messages at once, and find out in about two minutes that the other end is gone."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    if idle is not None:
        sock.setsockopt(socket.IPPROTO_TCP, idle, _IDLE)
    if hasattr(socket, "TCP_KEEPINTVL"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    if sys.platform == "linux":
        # While something sent is not acknowledged, no probes are sent.
        limit = 1000 * (_IDLE + _PROBES * _INTERVAL)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)


def connect_unix(path: Path, timeout: float | None) -> socket.socket:
    """A connection to the process that listens at `path`; it keeps `timeout`, in seconds.

    :raises FileNotFoundError: when there is no socket.
    :raises ConnectionRefusedError: when nobody listens at it any longer.
    :raises TimeoutError: when whoever listens takes nobody in.
    :raises PermissionError: when the socket is for others.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        with _short(path) as name:
            _connect(sock, name, time.monotonic() + (timeout or 0))
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(sock: socket.socket, name: str, end: float) -> None:
    """Connect; a socket with a timeout is told at once when the queue is full, so ask again."""
    while True:
        try:
            return sock.connect(name)
        except BlockingIOError as error:
            if time.monotonic() >= end:
                raise TimeoutError("the server takes nobody in") from error
        time.sleep(_FULL_QUEUE_WAIT)


def listen_unix(path: Path, mode: int = 0o600, backlog: int = 128) -> socket.socket:
    """A socket that listens at `path`; one that a dead process left there is replaced.

    It is made in a folder that only we can enter and renamed when it has its mode and listens, so
    nobody meets it half-made, whatever the umask. Who closes it removes the path.

    :raises StoreBusy: when another process listens there.
    :raises StoreError: when the path holds something else, or no socket can be made.
    """
    path = path.absolute()
    try:
        _check_stale(path)
        return _bind(path, mode, backlog)
    except PermissionError as error:
        raise StorePermission(
            f"cannot listen at {path}: {error.strerror}; change the owner or mode of {path.parent}",
            str(path),
        ) from error
    except OSError as error:
        raise StoreError(
            f"cannot listen at {path}: {error.strerror}; name a socket in a folder on a local disk",
            str(path),
        ) from error


def _check_stale(path: Path) -> None:
    """Make sure that nothing is lost when `path` is replaced."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StoreError(f"{path} is not a socket: move it away, or name another", str(path))
        connect_unix(path, 0).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return
    except TimeoutError:
        pass
    raise StoreBusy(
        f"another process listens at {path}: end it, or name another socket", str(path)
    )


def _bind(path: Path, mode: int, backlog: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with tempfile.TemporaryDirectory(prefix=".socket-", dir=path.parent) as private:
            made = Path(private) / "s"
            with _short(made.parent) as folder:
                sock.bind(f"{folder}/s")
            made.chmod(mode)
            sock.listen(backlog)
            made.rename(path)
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for `path` that fits into a socket's address: for a long one, of a symbolic link."""
    path = path.absolute()
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    temporary = tempfile.gettempdir()
    where = temporary if len(os.fsencode(temporary)) <= _LONGEST // 2 else "/tmp"
    with tempfile.TemporaryDirectory(prefix="atop-", dir=where) as private:
        link = Path(private) / "l"
        link.symlink_to(path)
        yield str(link)


def peer(sock: socket.socket) -> Peer:
    """Who is at the other end of a connected Unix socket; a system may not tell its `pid`."""
    if sys.platform == "linux":
        ucred = struct.Struct("=iII")
        pid, uid, gid = ucred.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, ucred.size)
        )
        return Peer(pid or None, uid, gid)
    return _peer_bsd(sock)


def _peer_bsd(sock: socket.socket) -> Peer:
    """Of a ``struct xucred`` the second field is the user, the first of its groups the group."""
    level, peercred, peerpid = 0, 1, 2
    xucred = struct.Struct("@IIh16I")
    _, uid, count, *groups = xucred.unpack(sock.getsockopt(level, peercred, xucred.size))
    try:
        pid = sock.getsockopt(level, peerpid) if sys.platform == "darwin" else None
    except OSError:
        pid = None
    return Peer(pid or None, uid, groups[0] if count > 0 else _gid(uid))


def _gid(uid: int) -> int:
    return pwd.getpwuid(uid).pw_gid


def may_talk(who: Peer, folder: os.stat_result) -> bool:
    """Whether `who` may use the store in `folder` through its owner, this process.

    We may, root may, and the folder's owner. So may its group if the folder's mode gives it all:
    through us a process can write, so rights to read alone are not enough.
    """
    if who.uid in (os.geteuid(), 0, folder.st_uid):
        return True
    shared = folder.st_mode & stat.S_IRWXG == stat.S_IRWXG
    return shared and folder.st_gid in _groups(who)


def _groups(who: Peer) -> set[int]:
    try:
        user = pwd.getpwuid(who.uid)
    except KeyError:
        return {who.gid}
    return {who.gid, *os.getgrouplist(user.pw_name, user.pw_gid)}
