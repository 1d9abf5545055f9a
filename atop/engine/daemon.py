"""A process that only serves: it begins, obeys signals and clients, and ends in order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from atop.engine import server as serving
from atop.engine import systemd
from atop.engine.admission import Admission
from atop.engine.doors import Door
from atop.engine.folder import Folder
from atop.engine.keyring import Secret
from atop.engine.limits import Limits
from atop.engine.link import find_keyring
from atop.engine.owned import Owned
from atop.engine.owner import Wanted
from atop.engine.server import Server
from atop.engine.upstream import Upstream, UpstreamKeeper
from atop.errors import AtopError, StoreBusy

log = logging.getLogger("atop.server")

_LOOK_EVERY = 0.02
_STOP, _RELOAD, _GONE, _STILL = "stop", "reload", "gone", "still"


class Site(Protocol):
    """A store that this process serves."""

    server: Server
    name: str
    closed: threading.Event

    def quiet(self, stilled: Callable[[], object]) -> None:
        """Let nobody begin to write; call `stilled` when nobody writes any more."""

    def close(self) -> None:
        """End it in order. A second call does nothing."""


class FolderSite:
    """A folder that this process owns; whoever has it open lets go of it within `timeout`.

    :raises StoreBusy: when that does not happen.
    """

    def __init__(
        self,
        path: Path,
        *,
        cache_bytes: int,
        timeout: float,
        read_only: bool,
        limits: Limits,
        secret: Secret | None = None,
    ) -> None:
        def make(folder: Folder, patience: float) -> Server:
            return Server.of_folder(folder, patience, read_only=read_only, limits=limits)

        self.name = str(path)
        keyring = find_keyring(path.absolute(), False, secret, timeout)
        self._owned = _own(path.absolute(), timeout, lambda: Owned(
            path.absolute(), False, cache_bytes, timeout, make, keyring
        ))
        self.closed = self._owned.closed
        self.server = self._owned.begin_serving()

    def quiet(self, stilled: Callable[[], object]) -> None:
        self._last_turn = self._owned.engine.ask_turn(
            "the server, which ends", os.getpid(), stilled
        )

    def close(self) -> None:
        self._owned.close()


class UpstreamSite:
    """A store that is read through another server."""

    def __init__(self, upstream: Upstream, *, timeout: float, limits: Limits) -> None:
        self.name = upstream.place
        self.closed = upstream.failed
        self.server = Server(
            upstream, upstream.files, UpstreamKeeper(upstream),
            timeout=timeout, read_only=True, slow=True, limits=limits,
        )
        self.server.about = upstream.about
        self._upstream = upstream
        self._ended = False
        self._begun = threading.Event()
        self._thread = threading.Thread(
            target=lambda: serving.run(self._serve()), name="atop-server", daemon=True
        )
        self._thread.start()
        self._begun.wait()
        upstream.told = self.server.committed

    def quiet(self, stilled: Callable[[], object]) -> None:
        stilled()

    def close(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._upstream.close()
        self.server.retire()
        self.server.soon(self._finished.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._finished = asyncio.Event()
        self.server.loop = asyncio.get_running_loop()
        self._begun.set()
        await self._finished.wait()
        await self.server.leave("its server ends")


class Daemon:
    """Serves a `site` through `doors` until it is told to stop.

    Who writes then has `timeout` seconds to come to an end.
    """

    def __init__(
        self, site: Site, doors: Sequence[Door], admission: Admission | None, *, timeout: float
    ) -> None:
        self._site = site
        self._doors = doors
        self._admission = admission
        self._timeout = timeout
        self._told: SimpleQueue[str] = SimpleQueue()

    def run(self, pid_file: Path | None = None) -> bool:
        """Serve; answers whether it ended because somebody asked for that."""
        handlers = {number: signal.signal(number, self._on_signal)
                    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            self._open(pid_file)
            asked = self._wait()
            systemd.notify("STOPPING=1")
            if asked:
                self._drain()
            return asked
        finally:
            self._site.close()
            for door in self._doors:
                door.close()
            if pid_file is not None:
                _remove(pid_file)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            log.info("%s is served no more", self._site.name)

    def _on_signal(self, number: int, frame: Any) -> None:
        self._told.put(_RELOAD if number == signal.SIGHUP else _STOP)

    def _open(self, pid_file: Path | None) -> None:
        server = self._site.server
        assert server.loop is not None
        server.on_stop = lambda: self._told.put(_STOP)
        names = [door.name for door in self._doors]
        about = server.about
        server.about = lambda: {"addresses": names, **about()}
        for door in self._doors:
            listening = server.listen(door.sock, door.admit, door.certificates)
            asyncio.run_coroutine_threadsafe(listening, server.loop).result()
            log.info("%s is served at %s", self._site.name, door.name)
        if not self._doors:
            log.info("%s is served in its folder", self._site.name)
        threading.Thread(target=self._watch, name="atop-watch", daemon=True).start()
        if pid_file is not None:
            pid_file.write_text(f"{os.getpid()}\n", "ascii")
        systemd.notify("READY=1", f"MAINPID={os.getpid()}", f"STATUS=serves {self._site.name}")

    def _watch(self) -> None:
        """The disk may fail, and then the store closes by itself."""
        self._site.closed.wait()
        self._told.put(_GONE)

    def _wait(self) -> bool:
        while True:
            told = self._told.get()
            if told == _RELOAD:
                self._reload()
            else:
                if told == _GONE:
                    log.error("%s has failed: see what was logged before", self._site.name)
                return told == _STOP

    def _reload(self) -> None:
        systemd.notify(*systemd.reloading())
        if self._admission is not None and self._admission.reload():
            log.info("certificates and tokens are read again")
        self._site.server.soon(self._site.server.check_rights)
        systemd.notify("READY=1")

    def _drain(self) -> None:
        """Let those who write come to their end, but no longer than they may wait themselves."""
        log.info("%s is about to end", self._site.name)
        server = self._site.server
        server.soon(server.close_doors)
        with suppress(AtopError):
            self._site.quiet(lambda: self._told.put(_STILL))
            end = time.monotonic() + self._timeout
            while True:
                try:
                    told = self._told.get(timeout=max(0.0, end - time.monotonic()))
                except Empty:
                    log.warning("a transaction is cut off, which did not end in %g s",
                                self._timeout)
                    return
                if told != _RELOAD:
                    return


def _own(path: Path, patience: float, own: Callable[[], Owned]) -> Owned:
    """Own the folder, as soon as those who only read it have let go."""
    end = time.monotonic() + patience
    wanted: Wanted | None = None
    try:
        while True:
            try:
                return own()
            except StoreBusy:
                if time.monotonic() > end:
                    raise
            if wanted is None:
                wanted = Wanted(path)
            time.sleep(_LOOK_EVERY)
    finally:
        if wanted is not None:
            wanted.close()


def _remove(pid_file: Path) -> None:
    with suppress(OSError):
        if pid_file.read_text("ascii", "replace").strip() == str(os.getpid()):
            pid_file.unlink()
