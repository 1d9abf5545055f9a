"""A store at an address: a connection to its server, made again when it is lost."""

from __future__ import annotations

import os
import random
import socket
import ssl
import time
import weakref
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from atop.engine import messages
from atop.engine.address import Address, TcpAddress, connect
from atop.engine.base import ITEMS, Engine
from atop.engine.connection import Connection
from atop.engine.lasting import FindOut, Lasting
from atop.engine.messages import Hello
from atop.engine.owner import command
from atop.engine.remote import RemoteEngine
from atop.engine.remotefiles import RemoteFiles
from atop.engine.remotekeeper import RemoteKeeper
from atop.engine.remoteturn import RemoteTurn
from atop.engine.tls import client_context, connect_tls, explained
from atop.errors import StoreClosed, StoreUnreachable, ValueRefused

_LONGEST_PAUSE = 0.5
_LEAST_PATIENCE = 0.1
_RESPITE = 0.5

_links: weakref.WeakSet[RemoteLink] = weakref.WeakSet()
_forking: list[RemoteLink] = []


@dataclass(frozen=True)
class Access:
    """What a client shows to a server, and how it knows the server; nothing of it is ever told.

    `ca` is the authority that the server's certificate is from, if it is not one of the system's;
    `cert` and `cert_key` are ours. `insecure` does without TLS, on this machine alone.
    """

    token: str = field(default="", repr=False)
    ca: Path | None = None
    cert: Path | None = None
    cert_key: Path | None = None
    insecure: bool = False

    def context(self, address: Address) -> ssl.SSLContext | None:
        """What TLS with that server needs; ``None`` where there is none.

        :raises ValueRefused: when there has to be TLS and is not to be.
        """
        if not isinstance(address, TcpAddress):
            return None
        if not self.insecure:
            return client_context(self.ca, self.cert, self.cert_key)
        if not _is_loopback(address.host):
            raise _elsewhere(address)
        return None


class Called:
    """One connection to a server."""

    def __init__(self, address: Address, access: Access, read_only: bool, patience: float) -> None:
        self.connection = _connect(address, access, patience)
        try:
            _greet(self.connection, access, read_only)
        except StoreUnreachable as error:
            self.connection.close()
            if isinstance(address, TcpAddress) and access.insecure:
                raise StoreUnreachable(f"{error}; if it speaks TLS, leave out insecure=",
                                       error.path) from error
            raise
        except BaseException:
            self.connection.close()
            raise
        kind = RemoteEngine if isinstance(address, TcpAddress) else _AskingEngine
        self.engine: RemoteEngine = kind(self.connection)
        self.keeper = RemoteKeeper(self.connection)

    def turn(self, timeout: float, find_out: FindOut) -> RemoteTurn:
        return self.engine.writer(timeout, find_out)

    def outcome(self, turn: bytes, serial: int, token: bytes) -> bool | None:
        return self.engine.outcome(serial, token, turn)

    def close(self) -> None:
        """Hang up."""
        self.connection.close()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's."""
        self.connection.abandon()


class RemoteLink(Lasting[Called]):
    """The engine of the store at `address`."""

    def __init__(
        self, address: Address, access: Access, *, read_only: bool, timeout: float
    ) -> None:
        super().__init__(str(address), timeout)
        self.address = address
        self.files = RemoteFiles(self, self.place)
        self._access = access
        self._read_only = read_only
        self._found = False
        self._given_up = -_RESPITE
        self._attach()
        self._found = True
        _links.add(self)

    @property
    def engine(self) -> Engine:
        """What is asked, whichever connection there is."""
        return self

    @property
    def connection(self) -> Connection:
        """The connection that there is now."""
        return self._try(lambda engine: self._behind(engine).connection)

    @property
    def welcome(self) -> messages.Welcome:
        """What the server said of itself."""
        welcome = self.connection.welcome
        assert welcome is not None
        return welcome

    def ask(self, kind: type[messages.Request], *fields: Any) -> Any:
        """The body of the answer."""
        return self._try(lambda engine: self._behind(engine).engine.ask(kind, *fields))[1]

    def _is_there(self, engine: Engine) -> bool:
        backing = self._backing
        return backing is not None and backing.engine is engine and not backing.connection.lost

    def _find(self) -> Called:
        """Call once at first, so that a wrong address is told at once; later until it is back."""
        begun = time.monotonic()
        if begun < self._given_up + _RESPITE:
            raise StoreUnreachable(f"{self.place} is out of reach: try again later", self.place)
        pause = 0.01
        while True:
            left = begun + self.patience - time.monotonic()
            try:
                return self._call(max(left, _LEAST_PATIENCE))
            except (StoreUnreachable, StoreClosed):
                if not self._found:
                    raise
                if left <= pause:
                    self._given_up = time.monotonic()
                    raise
            time.sleep(pause * (0.5 + random.random()))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _call(self, patience: float) -> Called:
        called = Called(self.address, self._access, self._read_only, patience)
        called.connection.timeout = self.patience
        return called


class _AskingEngine(RemoteEngine):
    """Over a Unix socket a server tells of no commits: there it costs little to ask."""

    @property
    def serial(self) -> int:
        return self.ask(messages.GetMany, ITEMS, [])[0]


def _connect(address: Address, access: Access, patience: float) -> Connection:
    context = access.context(address)
    sock = connect(address, patience)
    if isinstance(address, TcpAddress):
        if context is not None:
            sock = connect_tls(sock, context, address.host)
        else:
            _check_loopback(sock, address)
    return Connection(sock, str(address), patience)


def _check_loopback(sock: socket.socket, address: Address) -> None:
    try:
        near = _is_loopback(sock.getpeername()[0])
    except OSError as error:
        sock.close()
        raise StoreUnreachable(f"{address} has hung up: try again", str(address)) from error
    if not near:
        sock.close()
        raise _elsewhere(address)


def _greet(connection: Connection, access: Access, read_only: bool) -> None:
    """Say who we are. Only now is it known what the server thinks of our certificate."""
    try:
        connection.greet(
            lambda number: Hello(number, os.getpid(), socket.gethostname(), command(),
                                 str(access.token), read_only)
        )
    except StoreUnreachable as error:
        if isinstance(error.__cause__, ssl.SSLError):
            with explained(connection.place):
                raise error.__cause__ from None
        raise


def _elsewhere(address: Address) -> ValueRefused:
    return ValueRefused(
        f"{address} is not on this machine, and without TLS anybody on the way could read and "
        "change everything: leave out insecure=",
        str(address),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


def _before_fork() -> None:
    _forking.extend(_links)
    for link in _forking:
        link.hold()


def _after_fork_in_parent() -> None:
    while _forking:
        _forking.pop().let_go()


def _after_fork_in_child() -> None:
    while _forking:
        _forking.pop().abandon()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
