"""The server that a store's owner has for its clients: where they connect, and what they share.

One thread, in which an event loop answers all clients; nothing in it waits for a disk or a turn.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from atop.engine import address
from atop.engine.base import Engine
from atop.engine.bdb import BerkeleyEngine
from atop.engine.client import Admit, Client
from atop.engine.filefolder import FileFolder
from atop.engine.folder import Folder
from atop.engine.host import Done, Timer
from atop.engine.keeping import FolderKeeper, Keeper
from atop.engine.limits import Limits, Rights, check_room
from atop.engine.messages import Hello
from atop.errors import StoreClosed, StoreError, StorePermission

if TYPE_CHECKING:
    from atop.engine.tls import Certificates

log = logging.getLogger("atop.server")

_FAREWELL = 2.0
_ACCEPTING = 10  # rounds of the loop in which who was just accepted becomes a client
_TELL_AGAIN = 0.05
_BACKLOG = 1024
_MEASURED = 1000


def same_user(folder: Path) -> Admit:
    """Let in, over a Unix socket, who may use the folder itself."""

    def admit(hello: Hello, client: Client) -> Rights:
        if client.peer is None or not address.may_talk(client.peer, folder.stat()):
            raise StorePermission(
                f"{folder} belongs to another user: ask for the folder's group to have it",
                str(folder),
            )
        return Rights(f"process {hello.pid} ({hello.command})", hello.read_only)

    return admit


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` in an event loop: that of uvloop where it is installed, which answers sooner."""
    factory: Callable[[], asyncio.AbstractEventLoop]
    try:
        from uvloop import new_event_loop as factory
    except ImportError:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


class Server:
    """Answers the clients of one store: the :class:`~atop.engine.host.Host` of services.

    When the engine is `slow`, since it asks another server, nothing is read in the loop itself.
    """

    def __init__(
        self,
        engine: Engine,
        files: FileFolder,
        keeper: Keeper,
        *,
        timeout: float,
        read_only: bool = False,
        slow: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.engine = engine
        self.files = files
        self.keeper = keeper
        self.timeout = timeout
        self.read_only = read_only
        self.slow = slow
        self.limits = limits or Limits()
        self.clients: set[Client] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.began = time.time()
        self.retired = False
        self.on_stop = _refuse_to_stop
        self.about: Callable[[], dict[str, Any]] = dict
        self._strangers: dict[Client, None] = {}
        self._guests: set[Client] = set()
        self._count = 0
        self._took: deque[float] = deque(maxlen=_MEASURED)
        self._newest = 0
        self._telling = False
        self._workers = ThreadPoolExecutor(32 if slow else 4, "atop-worker")
        self._carers = ThreadPoolExecutor(2, "atop-care")
        self._syncer = Syncer(self)
        self._servers: list[asyncio.Server] = []

    @classmethod
    def of_folder(
        cls, folder: Folder, timeout: float, *, read_only: bool = False,
        limits: Limits | None = None,
    ) -> Server:
        """A server for the folder that this process owns."""
        return cls(folder.engine, folder.files, FolderKeeper(folder), timeout=timeout,
                   read_only=read_only, limits=limits)

    # What services need

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        assert self.loop is not None
        return self.loop.call_later(seconds, call)

    def soon(self, call: Callable[[], None]) -> None:
        assert self.loop is not None
        with suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(call)

    def aside(self, work: Callable[[], Any], done: Done) -> None:
        self._do(self._workers, work, done)

    def care(self, work: Callable[[], Any], done: Done) -> None:
        self._do(self._carers, work, done)

    def synced(self, serial: int, done: Done) -> None:
        if len(self.clients) > 1:
            self._syncer.wait(serial, done)
        else:  # nobody else is held up
            self._syncer.sync([(serial, done)])()

    def end_turn(self, token: bytes) -> None:
        for client in self.clients:
            if client.service is not None:
                client.service.end_turn(token)

    def stop(self) -> None:
        self.on_stop()

    def status(self) -> dict[str, Any]:
        turn = self.engine.turn if isinstance(self.engine, BerkeleyEngine) else None
        took = sorted(self._took)
        return {
            "pid": os.getpid(),
            "since": self.began,
            "serial": self.engine.serial,
            "read_only": self.read_only,
            "turn": turn.holder if turn else "",
            "turn_s": round(turn.held_for, 3) if turn else 0.0,
            "waiting": turn.waiting if turn else 0,
            "answered": self._count,
            "median_us": _rank(took, 0.5),
            "p99_us": _rank(took, 0.99),
            "slowest_us": _rank(took, 1.0),
            **self.about(),
            "clients": [client.status() for client in self._guests],
        }

    # What clients need

    def arrived(self, client: Client) -> None:
        """Somebody has connected, and is still to say who he is."""
        self.clients.add(client)
        self._strangers[client] = None
        if len(self._strangers) > self.limits.strangers:
            next(iter(self._strangers)).drop("too many others have not said who they are either")

    def check_room(self) -> None:
        """Raise :class:`StoreBusy` when one more client would be too many."""
        check_room(len(self._guests), self.limits)

    def met(self, client: Client) -> None:
        """It has been let in."""
        self._strangers.pop(client, None)
        self._guests.add(client)

    def parted(self, client: Client) -> None:
        """It is about to be hung up on."""
        self._strangers.pop(client, None)
        self._guests.discard(client)

    def gone(self, client: Client) -> None:
        """The connection is no more."""
        self.clients.discard(client)
        self.parted(client)

    def answered(self, seconds: float) -> None:
        """A request was answered after so long."""
        self._count += 1
        self._took.append(seconds)

    # Beginning and ending

    async def listen(
        self, sock: socket.socket, admit: Admit, certificates: Certificates | None = None
    ) -> None:
        """Accept clients on `sock`, which listens already; with TLS if there are certificates."""
        assert self.loop is not None
        server = await self.loop.create_server(
            lambda: Client(self, admit, certificates), sock=sock, backlog=_BACKLOG
        )
        self._servers.append(server)

    def check_rights(self) -> None:
        """Hang up on whoever would not be let in any more, or with other rights."""
        for client in list(self.clients):
            client.check_rights()

    def retire(self) -> None:
        """Accept nobody and nothing more, and answer what waits for the disk; in any thread."""
        self.soon(self._retire)
        self._syncer.close()
        for pool in (self._workers, self._carers):
            pool.shutdown(wait=True, cancel_futures=True)

    async def leave(self, reason: str) -> None:
        """Hang up, when all clients have what was answered."""
        self._retire()
        for _ in range(_ACCEPTING):
            await asyncio.sleep(0)
        for client in list(self.clients):
            client.leave(reason)
        end = time.monotonic() + _FAREWELL
        while self.clients and time.monotonic() < end:
            await asyncio.sleep(0.001)

    def close_doors(self) -> None:
        """Accept nobody more."""
        for server in self._servers:
            server.close()

    def _retire(self) -> None:
        self.retired = True
        self.close_doors()

    def _do(self, pool: ThreadPoolExecutor, work: Callable[[], Any], done: Done) -> None:
        def run() -> None:
            try:
                result, error = work(), None
            except BaseException as raised:
                result, error = None, raised
            self.soon(lambda: done(result, error))

        try:
            pool.submit(run)
        except RuntimeError as error:  # the server, or all of the program, is ending
            raise StoreClosed("the server is about to end") from error

    # Telling of commits

    def committed(self, serial: int) -> None:
        """Tell clients that cannot see it themselves of a commit; in any thread.

        In the loop it is told at once, so that it goes out before its author is answered.
        """
        self._newest = max(self._newest, serial)
        if self.loop is _running_loop():
            self._tell()
        elif not self._telling and any(client.distant for client in list(self.clients)):
            self._telling = True
            self.soon(self._tell)

    def _tell(self) -> None:
        """Who does not read what is sent is told when he does, and then of the newest alone."""
        self._telling = False
        told = [client.tell(self._newest) for client in self.clients if client.distant]
        if not (all(told) or self.retired):
            self._telling = True
            self.later(_TELL_AGAIN, self._tell)


def _refuse_to_stop() -> None:
    raise StoreError(
        f"process {os.getpid()} has the store open for itself, and serves others beside: end that "
        "program instead"
    )


def _rank(took: list[float], part: float) -> int:
    """What so large a part of the requests took at most, in microseconds."""
    return round(1e6 * took[round(part * (len(took) - 1))]) if took else 0


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Syncer:
    """Waits for the disk in a thread of its own, for all commits that have come meanwhile."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._condition = threading.Condition()
        self._waiting: list[tuple[int, Done]] = []
        self._thread: threading.Thread | None = None
        self._closing = False

    def wait(self, serial: int, done: Done) -> None:
        """Call `done` in the loop when the commit is on disk."""
        with self._condition:
            self._waiting.append((serial, done))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="atop-syncer", daemon=True)
                self._thread.start()
            self._condition.notify()

    def close(self) -> None:
        """Return when all that waited have their answer."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def sync(self, waiting: list[tuple[int, Done]]) -> Callable[[], None]:
        """Wait for the disk here; answers what is then to be called in the loop."""
        engine = cast(BerkeleyEngine, self._server.engine)
        error: BaseException | None = None
        try:
            engine.sync(max(serial for serial, _ in waiting))
            engine.relieve()
        except BaseException as raised:
            error = raised

        def tell() -> None:
            for _, done in waiting:
                done(None, error)

        return tell

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._waiting:
                    if self._closing:
                        return
                    self._condition.wait()
                waiting, self._waiting = self._waiting, []
            self._server.soon(self.sync(waiting))
