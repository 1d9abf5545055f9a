"""The owner's side of sharing: a thread that sleeps until the first client comes.

What a server needs, an event loop among it, is imported only then: most stores have no client, and
importing it takes longer than opening a store.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atop.engine.address import listen_unix
from atop.engine.folder import Folder
from atop.engine.published import share_with_group
from atop.errors import StoreError

if TYPE_CHECKING:
    from atop.engine.client import Client
    from atop.engine.limits import Rights
    from atop.engine.messages import Hello
    from atop.engine.server import Server

SOCKET = "socket"
Make = Callable[[Folder, float], "Server"]
_inherited: list[Serving] = []  # kept for ever: its end would close what has its numbers by then
_PASSING_ON = "its owner has closed it"


class Serving:
    """Serves a folder that this process owns to the other processes of the machine.

    Where the file system has no sockets there is nobody to be served, and ``problem`` tells why.
    """

    def __init__(self, folder: Folder, timeout: float, make: Make | None = None) -> None:
        self.server: Server | None = None
        self.problem = ""
        self.on_arrival: Callable[[], object] = lambda: None
        self._folder = folder
        self._timeout = timeout
        self._make = make
        self._begun = threading.Event()
        self._path = folder.path / SOCKET
        self._listener: socket.socket | None = None
        self._wake, self._woken = socket.socketpair()
        self._finish: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="atop-server", daemon=True)
        try:
            self._listener = self._listen(folder.path)
        except (OSError, StoreError) as error:
            self.problem = str(error)
        else:
            self._thread.start()

    def _listen(self, folder: Path) -> socket.socket:
        for left in folder.glob(".socket-*"):  # by somebody who died while making one
            shutil.rmtree(left, ignore_errors=True)
        listener = listen_unix(self._path)
        share_with_group(self._path, folder, 0o660)
        return listener

    def begin(self) -> Server:
        """Serve from now on, without waiting for the first client.

        :raises StoreError: where nobody can be served.
        """
        if self._listener is None:
            raise StoreError(f"{self._folder.path} cannot be served: {self.problem}",
                             str(self._folder.path))
        self._wake.send(b"x")
        self._begun.wait()
        assert self.server is not None
        return self.server

    def count_clients(self) -> int:
        """How many clients there are now."""
        return 0 if self.server is None else len(self.server.clients)

    def stop(self) -> None:
        """Answer what was asked, say good-bye, and end. A second call does nothing."""
        if self._listener is None:
            self._close()
            return
        if self._folder.in_place:
            with suppress(OSError):  # gone, or on a disk that takes nothing more
                self._path.unlink()
        with self._lock:
            self._stopping = True
            finish = self._finish
        if finish is None:
            self._wake.send(b"x")
        else:
            finish()
        if threading.current_thread() is not self._thread:  # which may collect a dropped store
            self._thread.join()
            self._close()

    def abandon(self) -> None:
        """In a forked child: let go of what is the parent's."""
        sockets: list[Any] = [self._listener, self._wake, self._woken]
        if self.server is not None:
            sockets += [client.socket for client in list(self.server.clients)]
        inherited = {each.fileno() for each in sockets if each is not None}
        if self._listener is not None:
            inherited |= _made_to(self._listener)
        for descriptor in inherited:
            with suppress(OSError):
                os.close(descriptor)
        _inherited.append(self)

    def _close(self) -> None:
        for each in (self._listener, self._wake, self._woken):
            if each is not None:
                each.close()
        self._listener = None

    def _run(self) -> None:
        assert self._listener is not None
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        poll.poll()
        with self._lock:
            if self._stopping:
                return
        self._serve(self._listener)

    def _serve(self, listener: socket.socket) -> None:
        import asyncio

        from atop.engine import server

        async def serve() -> None:
            finished = asyncio.Event()
            loop = asyncio.get_running_loop()
            make = self._make or server.Server.of_folder
            served = make(self._folder, self._timeout)
            served.loop = loop

            def finish() -> None:
                served.retire()
                served.soon(finished.set)

            with self._lock:
                self._finish = finish
                if self._stopping:
                    finished.set()
            self.server = served
            same_user = server.same_user(self._folder.path)

            def admit(hello: Hello, client: Client) -> Rights:
                self.on_arrival()
                return same_user(hello, client)

            await served.listen(listener, admit)
            self._begun.set()
            await finished.wait()
            await served.leave(_PASSING_ON)

        server.run(serve())


def _made_to(listener: socket.socket) -> set[int]:
    """The connections made to it, also those that nobody has heard of yet."""
    found = set()
    for each in os.listdir("/dev/fd"):
        with suppress(OSError):  # no socket
            sock = socket.socket(fileno=int(each))
            try:
                if sock.getsockname() == listener.getsockname():
                    found.add(int(each))
            finally:
                sock.detach()
    return found
