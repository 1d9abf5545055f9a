"""A folder while another process owns it, whose client this one is."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from atop.engine.address import connect_unix, may_talk, peer
from atop.engine.base import Turn
from atop.engine.connection import Connection
from atop.engine.keeping import Keeper
from atop.engine.keyring import Keyring, check
from atop.engine.lasting import FindOut
from atop.engine.messages import Hello
from atop.engine.owner import command
from atop.engine.published import Published
from atop.engine.remote import RemoteEngine
from atop.engine.remotekeeper import RemoteKeeper
from atop.engine.serving import SOCKET
from atop.errors import StorePermission


class Joined:
    """The folder while another process owns it, whose client this one is."""

    def __init__(
        self, path: Path, read_only: bool, patience: float, keyring: Keyring | None = None
    ) -> None:
        sock = connect_unix(path / SOCKET, patience)
        self.connection = Connection(sock, str(path), patience)
        self.connection.pid = peer(sock).pid
        self.published: Published | None = None
        try:
            _check_owner(path, sock)
            check(path, keyring)
            self.welcome = self.connection.greet(
                lambda number: Hello(number, os.getpid(), socket.gethostname(), command(),
                                     read_only=read_only)
            )
            self.published = Published(path, to_write=False)
        except BaseException:
            self.close()
            self.forget()
            raise
        self.engine: RemoteEngine = RemoteEngine(self.connection, self.published)
        self.keeper: Keeper = RemoteKeeper(self.connection)

    def turn(self, timeout: float, find_out: FindOut) -> Turn:
        return self.engine.writer(timeout, find_out)

    def outcome(self, turn: bytes, serial: int, token: bytes) -> bool | None:
        return self.engine.outcome(serial, token, turn)

    def new_file(self) -> str | None:
        return self.engine.new_file()

    def drop_file(self, name: str) -> None:
        self.engine.drop_file(name)

    def close(self) -> None:
        """Hang up. The files that our snapshots see stay until :meth:`forget`."""
        self.connection.close()

    def let_go(self, serial: int) -> None:
        """A snapshot of `serial` has ended since this was closed."""
        if self.published is not None:
            self.published.let_go(serial)

    def forget(self) -> None:
        """No snapshot of ours is open, or another one keeps its files."""
        if self.published is not None:
            self.published.close()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's."""
        self.connection.abandon()
        self.forget()


def _check_owner(path: Path, sock: socket.socket) -> None:
    who = peer(sock)
    if not may_talk(who, path.stat()):
        raise StorePermission(
            f"{path} is open in process {who.pid} of another user: ask for the folder's group to "
            "have it",
            str(path),
        )
