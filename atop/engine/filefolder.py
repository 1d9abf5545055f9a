"""The folder of external files: written aside, adopted by a commit, removed after one.

A file has a temporary name until the transaction that makes it is about to commit; then it is
synced and renamed to its id, and the folder is synced, before the commit itself. Whatever a crash
leaves between the two is swept when the store is recovered.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from atop.engine.base import NewFile
from atop.engine.log import sync_folder
from atop.engine.published import share_with_group
from atop.errors import StoreError, StorePermission, TransactionLost


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file that a transaction makes: its bytes are at `path`, called `name` in the folder."""

    id: int
    name: str
    path: Path


class FileFolder:
    """The files of one store, by id."""

    def __init__(self, folder: Path | None) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._folder = folder
        self._lock = threading.Lock()
        self._holds = 0
        self.held_elsewhere: Callable[[], bool] = lambda: False
        self._doomed: list[int] = []

    @property
    def folder(self) -> Path:
        """Where they are; of a store in memory, a temporary folder."""
        if self._folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="atop-")
            self._folder = Path(self._temporary.name)
        return self._folder

    def path(self, ident: int) -> Path:
        """Where the committed bytes of a file are."""
        return self.folder / str(ident)

    def name(self, ident: int) -> str:
        """What to call a file, for people."""
        return str(self.path(ident))

    def create(self) -> tuple[int, Path]:
        """A descriptor open for writing, and the temporary path."""
        descriptor, name = tempfile.mkstemp(prefix="new-", dir=self.folder)
        if self._temporary is None:
            share_with_group(descriptor, self.folder.parent, 0o660)
        return descriptor, Path(name)

    def finish(self, path: Path, size: int, sha256: str) -> str:
        """The name for :meth:`adopt` of a created file, all of which is on disk."""
        return path.name

    def open(self, ident: int, size: int, sha256: str) -> BinaryIO:
        """The committed bytes of a file, to be read; `size` and `sha256` are what they should be.

        Bytes that come from another machine are compared with that when they are read in order.

        :raises StorePermission: when we may not read them.
        """
        try:
            return self.path(ident).open("rb")
        except PermissionError as error:
            raise StorePermission(
                f"{self.path(ident)}: permission denied; change its owner or mode",
                str(self.path(ident)),
            ) from error

    def read(self, ident: int, offset: int, size: int) -> bytes:
        """At most `size` committed bytes from `offset` on; none at the end.

        :raises StoreError: when there is no such file.
        """
        try:
            with self.path(ident).open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except FileNotFoundError as error:
            raise StoreError(f"there is no file {ident}: it was deleted, or is lost") from error

    def kept(self, files: Iterable[PendingFile]) -> None:
        """These are committed, and what there is of them beside :meth:`open` is not needed."""

    def adopt(self, files: Iterable[NewFile]) -> None:
        """Give files that are synced the names of their ids, durably.

        :raises TransactionLost: when one is not there any more.
        """
        adopted = False
        for ident, name in files:
            self._spare(ident)
            try:
                if self._temporary is None:
                    share_with_group(self.folder / name, self.folder.parent, 0o640)
                (self.folder / name).rename(self.path(ident))
            except FileNotFoundError as error:
                raise TransactionLost(
                    "a file of the transaction was swept when the store changed hands: begin again"
                ) from error
            adopted = True
        if adopted:
            sync_folder(self.folder)

    def _spare(self, ident: int) -> None:
        """What was doomed by that id was in no commit: a transaction that was cut off had made it,
        and it waits for snapshots to end; now the id has other bytes."""
        with self._lock:
            if ident in self._doomed:
                self._doomed.remove(ident)

    def disown(self, files: Iterable[NewFile]) -> None:
        """Remove files that were adopted for a commit that did not come."""
        for ident, _ in files:
            with suppress(OSError):
                self.path(ident).unlink()

    def discard(self, path: Path, name: str = "") -> None:
        """Remove a file that was created, and is not wanted; `name` is what `finish` gave."""
        path.unlink(missing_ok=True)

    def remove(self, idents: Iterable[int]) -> None:
        """Remove files whose deletion is committed, as soon as nobody may still read them."""
        with self._lock:
            self._doomed += idents
            if not self._holds:
                self._remove_doomed()

    @property
    def doomed(self) -> bool:
        """Whether there are files yet to be removed."""
        return bool(self._doomed)

    def hold(self) -> None:
        """Remove nothing until :meth:`let_go`."""
        with self._lock:
            self._holds += 1

    def let_go(self) -> None:
        """One who held has ended."""
        with self._lock:
            self._holds -= 1
            if not self._holds:
                self._remove_doomed()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Remove nothing meanwhile."""
        self.hold()
        try:
            yield
        finally:
            self.let_go()

    def sweep(self, exists: Callable[[int], bool]) -> list[str]:
        """Remove what no item stands for, also in a snapshot; answers the names."""
        swept = []
        for entry in os.scandir(self.folder):
            name = entry.name
            if name.isascii() and name.isdigit() and str(int(name)) == name:
                if exists(int(name)):
                    continue
                self.remove([int(name)])
            else:
                Path(entry.path).unlink()
            swept.append(name)
        return swept

    def close(self) -> None:
        with self._lock:
            self._remove_doomed()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _remove_doomed(self) -> None:
        if not self._doomed or self.held_elsewhere():
            return
        for ident in self._doomed:
            with suppress(FileNotFoundError):
                self.path(ident).unlink()
        self._doomed = []
