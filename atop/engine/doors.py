"""Where a server listens: ports, sockets, and what it was started with."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atop.engine.address import PORT, TcpAddress, UnixAddress, listen_unix
from atop.engine.admission import Admission
from atop.engine.client import Admit
from atop.engine.server import same_user
from atop.engine.tls import Certificates
from atop.errors import StoreError, ValueRefused

_PLACE = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]*))(?::(\d{1,5}))?")
_BACKLOG = 1024


@dataclass(frozen=True)
class Door:
    """A socket that listens; who is let in; and the path that goes with it, if we made one."""

    sock: socket.socket
    name: str
    admit: Admit
    certificates: Certificates | None = None
    path: Path | None = None

    def close(self) -> None:
        """Listen no more."""
        self.sock.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Doors:
    """Makes doors: over TCP by `admission`, over Unix sockets for the users of `folder`.

    With `insecure` a port is open without TLS, and only to this machine.
    """

    admission: Admission | None
    folder: Path | None
    insecure: bool = False

    def tcp(self, place: str) -> list[Door]:
        """Doors at all addresses of `place`, which is ``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT``.

        :raises ValueRefused: when it is none, or may not be open like this.
        :raises StoreError: when it cannot be listened at.
        """
        doors = []
        try:
            for family, sockaddr in _resolve(place):
                self._check(sockaddr[0])
                doors.append(self._door(_listen(place, family, sockaddr)))
        except BaseException:
            for door in doors:
                door.close()
            raise
        return doors

    def unix(self, path: Path) -> Door:
        """A door at `path`, for the users of the store's folder; without one, for our own user."""
        path = path.absolute()
        return Door(listen_unix(path, backlog=_BACKLOG), str(UnixAddress(path)),
                    same_user(self.folder or path), path=path)

    def passed(self, sock: socket.socket) -> Door:
        """A door out of a socket that we were started with."""
        if sock.family != socket.AF_UNIX:
            self._check(sock.getsockname()[0])
            return self._door(sock)
        name = sock.getsockname()
        if not isinstance(name, str) or not name:
            raise ValueRefused("a Unix socket that is passed needs a path: write ListenStream=/...")
        return Door(sock, str(UnixAddress(Path(name))), same_user(self.folder or Path(name)))

    def _check(self, host: str) -> None:
        """Make sure that a port at `host` may be open."""
        if self.admission is None:
            raise ValueRefused(
                "over TCP there is TLS, and clients show who they are: pass --tls-cert and "
                "--tls-key, and --tokens or --client-ca"
            )
        if self.insecure and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            raise ValueRefused(
                f"{host} is not only for this machine, and without TLS anybody on the way could "
                "read and change everything: listen at localhost, or pass a certificate", host
            )

    def _door(self, sock: socket.socket) -> Door:
        assert self.admission is not None
        name = str(TcpAddress(*sock.getsockname()[:2]))
        return Door(sock, name, self.admission.admit, self.admission.certificates)


def _resolve(place: str) -> list[tuple[int, Any]]:
    match = _PLACE.fullmatch(place.strip())
    port = PORT if match is None or match[3] is None else int(match[3])
    host = (match[1] or match[2]) if match else ""
    if not host or port > 0xFFFF:
        raise ValueRefused(f"{place!r} is no place to listen at: write HOST:PORT, such as "
                           "localhost:2972, 0.0.0.0:2972 or [::]:2972", place)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise StoreError(f"{place}: {getattr(error, 'strerror', None) or error}; name a host of "
                         "this machine") from error
    return list(dict.fromkeys((each[0], each[4]) for each in found))


def _listen(place: str, family: int, sockaddr: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise StoreError(f"cannot listen at {place}: {error.strerror}; name another port, or a "
                         "host of this machine") from error
    return sock
