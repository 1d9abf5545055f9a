"""A folder while this process owns it: open, served to others, and announced to them."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from atop.engine.base import Turn
from atop.engine.failures import translated
from atop.engine.folder import open_folder
from atop.engine.keeping import FolderKeeper, Keeper
from atop.engine.keyring import Keyring
from atop.engine.lasting import FindOut
from atop.engine.published import Published, hold_all
from atop.engine.serving import Make, Serving

if TYPE_CHECKING:
    from atop.engine.server import Server


class Owned:
    """The folder while this process owns it, and serves it to others."""

    def __init__(
        self, path: Path, read_only: bool, cache_bytes: int, timeout: float,
        make: Make | None = None, keyring: Keyring | None = None,
    ) -> None:
        self.folder = open_folder(
            path, read_only=read_only, cache_bytes=cache_bytes, keyring=keyring
        )
        self.engine = self.folder.engine
        self.keeper: Keeper = FolderKeeper(self.folder)
        self.closed = threading.Event()
        self._published: Published | None = None
        self._kept: Published | None = None
        self._serving: Serving | None = None
        try:
            if not read_only:
                self._serve(timeout, make)
        except BaseException:
            self.close()
            raise

    def turn(self, timeout: float, find_out: FindOut) -> Turn:
        return self.engine.writer(timeout)

    def outcome(self, turn: bytes, serial: int, token: bytes) -> bool | None:
        return self.engine.outcome(serial, token)

    def close(self) -> None:
        """Finish what is applied, and let others have the folder. A second call does nothing.

        The files that our snapshots see stay until :meth:`forget`.
        """
        if self.closed.is_set():
            return
        self.closed.set()
        try:
            if self._serving is not None:
                self._serving.stop()
        finally:
            try:
                with translated(str(self.folder.path)):
                    self._kept = hold_all(self.folder.path, self.folder.files.held_serials)
                    self.folder.close()
            finally:
                if self._published is not None:
                    self._published.close()

    def let_go(self, serial: int) -> None:
        """A snapshot of `serial` has ended since this was closed."""
        if self._kept is not None:
            self._kept.let_go(serial)

    def forget(self) -> None:
        """No snapshot of ours is open, or another one keeps its files."""
        if self._kept is not None:
            self._kept.close()

    def abandon(self) -> None:
        """In a forked child: all of this is the parent's."""
        self.forget()
        if self._serving is not None:
            self._serving.abandon()
        if self._published is not None:
            self._published.close()
        self.folder.abandon()

    def new_file(self) -> str | None:
        self.engine.check_writable()
        return None

    def begin_serving(self) -> Server:
        """Serve also while there is no client yet; answers the server."""
        assert self._serving is not None
        return self._serving.begin()

    def _serve(self, timeout: float, make: Make | None) -> None:
        self._published = Published(self.folder.path, to_write=True)
        self._published.write(self.engine.serial)
        self._published.on_disk(0)
        self.folder.is_held_before = self._published.is_held_before
        self.engine.announce = self._announce
        self.engine.on_disk = self._published.on_disk
        self.engine.on_failure = self._give_up
        self._serving = Serving(self.folder, timeout, make)
        self.engine.clients = self._serving.count_clients
        self._serving.on_arrival = self._welcome

    def _welcome(self) -> None:
        """A client is about to be let in, which is to see the last commit."""
        assert self._published is not None
        with self.engine.latch, translated(str(self.folder.path)):
            self._published.restore(self.engine.serial)

    def _announce(self, serial: int) -> None:
        """Clients that cannot be told of a commit would go on reading what was before it."""
        assert self._published is not None
        try:
            self._published.write(serial)
        except OSError:
            if self._serving is not None and self._serving.server is not None:
                self._give_up()
        if self._serving is not None and self._serving.server is not None:
            self._serving.server.committed(serial)

    def _give_up(self) -> None:
        """The store has to be recovered: whoever asks for something next does it."""
        threading.Thread(target=self._leave, name="atop-giving-up", daemon=True).start()

    def _leave(self) -> None:
        with suppress(Exception):
            self.close()
