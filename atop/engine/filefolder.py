"""The folder of external files: written aside, adopted by a commit, removed after one.

A file has a temporary name until the transaction that makes it is about to commit; then it is
synced and renamed to its id, and the folder is synced, before the commit itself. Whatever a crash
leaves between the two is swept when the store is recovered.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import tempfile
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from atop.engine.base import NewFile
from atop.engine.failures import explain
from atop.engine.log import sync_folder
from atop.engine.published import share_with_group
from atop.engine.sealed import CHUNK, AsIs, Sealer, Unsealed, plain_size
from atop.errors import DamagedStore, StorePermission, TransactionLost


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file that a transaction makes: its bytes are at `path`, called `name` in the folder."""

    id: int
    name: str
    path: Path


class Temporary:
    """A new folder, which goes with the process that made it: a forked child leaves it alone."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="atop-"))
        self._pid = os.getpid()
        self.cleanup = weakref.finalize(self, _remove_own, self.path, self._pid)

    @property
    def ours(self) -> bool:
        """Whether this process has made it."""
        return self._pid == os.getpid()


def _remove_own(path: Path, pid: int) -> None:
    if pid == os.getpid():
        shutil.rmtree(path, ignore_errors=True)


class FileFolder:
    """The files of one store, by id, sealed if there is a `key`."""

    def __init__(self, folder: Path | None, key: bytes | None = None) -> None:
        self._key = key
        self._temporary: Temporary | None = None
        self._folder = folder
        self._lock = threading.Lock()
        self._held: Counter[int] = Counter()
        self.held_elsewhere: Callable[[int], bool] = lambda serial: False
        self._doomed: OrderedDict[int, int] = OrderedDict()

    @property
    def folder(self) -> Path:
        """Where they are; of a store in memory, a temporary folder."""
        if self._folder is None:
            self._temporary = Temporary()
            self._folder = self._temporary.path
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
        _begun.add(name)
        if self._temporary is None:
            share_with_group(descriptor, self.folder.parent, 0o660)
        return descriptor, Path(name)

    def sealer(self) -> Sealer | AsIs:
        """What turns the bytes of a new file into those that are written."""
        return AsIs() if self._key is None else Sealer(self._key)

    def finish(self, path: Path, size: int, sha256: str) -> str:
        """The name for :meth:`adopt` of a created file, all of which is on disk."""
        return path.name

    def open(
        self, ident: int, size: int, sha256: str, seen_at: int | None = None
    ) -> BinaryIO:
        """The committed bytes of a file, to be read; `size` and `sha256` are what they should be.

        `seen_at` is the serial of the snapshot in which it was found, if it was in one.

        Sealed bytes are compared with that now, and those that come from another machine when they
        are read in order.

        :raises StorePermission: when we may not read them.
        :raises DamagedStore: when they are sealed, and not as they were written.
        """
        path = self.path(ident)
        try:
            if self._key is None:
                return open(path, "rb", opener=_itself)
            return _buffered(Unsealed(_unbuffered(path), self._key, str(path), size, sha256))
        except PermissionError as error:
            raise StorePermission(
                f"{path}: permission denied; change its owner or mode", str(path)
            ) from error
        except FileNotFoundError as error:
            raise DamagedStore(
                f"{path} is missing: restore a backup with `atopdb restore`", str(path)
            ) from error
        except OSError as error:
            raise explain(error, str(path)) from error

    def open_new(self, path: Path) -> BinaryIO:
        """The bytes of a created file that is complete, to be read."""
        if self._key is None:
            return open(path, "rb", opener=_itself)
        return _buffered(Unsealed(_unbuffered(path), self._key, str(path)))

    def size(self, ident: int) -> int | None:
        """How many bytes a file has, as its length on disk tells; ``None`` if it has lost some."""
        try:
            length = self.path(ident).stat().st_size
        except FileNotFoundError:
            return None
        return length if self._key is None else plain_size(length)

    def read(self, ident: int, offset: int, size: int) -> bytes:
        """At most `size` committed bytes from `offset` on; none at the end.

        :raises FileNotFoundError: when there is no such file.
        """
        with self.open_new(self.path(ident)) as file:
            file.seek(offset)
            return file.read(size)

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
            _begun.discard(str(self.folder / name))
            adopted = True
        if adopted:
            sync_folder(self.folder)

    def _spare(self, ident: int) -> None:
        """What was doomed by that id was in no commit: a transaction that was cut off had made it,
        and it waits for snapshots to end; now the id has other bytes."""
        with self._lock:
            self._doomed.pop(ident, None)

    def disown(self, files: Collection[NewFile]) -> None:
        """Remove files that were adopted for a commit that did not come, durably."""
        for ident, _ in files:
            with suppress(OSError):
                self.path(ident).unlink()
        if files:
            with suppress(OSError):
                sync_folder(self.folder)

    def discard(self, path: Path, name: str = "") -> None:
        """Remove a file that was created, and is not wanted; `name` is what `finish` gave."""
        path.unlink(missing_ok=True)
        _begun.discard(str(path))

    def remove(self, idents: Iterable[int], serial: int) -> None:
        """Remove files that the commit `serial` has deleted, as soon as nobody may read them."""
        with self._lock:
            self._doomed.update(dict.fromkeys(idents, serial))
            self._remove_doomed()

    def remove_freed(self) -> None:
        """Remove the files that waited for snapshots that have ended since, wherever they were."""
        with self._lock:
            self._remove_doomed()

    def clear(self, idents: Iterable[int]) -> None:
        """Other items are given these ids: what waits to be removed by them was in no commit."""
        with self._lock:
            found = [ident for ident in idents if self._doomed.pop(ident, None) is not None]
        for ident in found:
            self.path(ident).unlink(missing_ok=True)
        if found:
            sync_folder(self.folder)

    def passing(self, name: str) -> bool:
        """Whether what is called `name` is still written, or waits for snapshots to end."""
        if str(self.folder / name) in _begun:
            return True
        with self._lock:
            return name in map(str, self._doomed)

    @property
    def doomed(self) -> bool:
        """Whether there are files yet to be removed."""
        return bool(self._doomed)

    def is_held_before(self, serial: int) -> bool:
        """Whether anybody, here or elsewhere, has a snapshot older than the commit `serial`."""
        with self._lock:
            return self._is_held_before(serial)

    @property
    def held_serials(self) -> list[int]:
        """What is held now, as often as it is."""
        with self._lock:
            return list(self._held.elements())

    def hold(self, serial: int) -> None:
        """Until :meth:`let_go` of it, remove nothing that was deleted after the commit `serial`."""
        with self._lock:
            self._held[serial] += 1

    def let_go(self, serial: int) -> None:
        """One who held `serial` has ended."""
        with self._lock:
            self._held[serial] -= 1
            if not self._held[serial]:
                del self._held[serial]
                self._remove_doomed()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Remove nothing meanwhile."""
        self.hold(0)
        try:
            yield
        finally:
            self.let_go(0)

    def sweep(
        self,
        exists: Callable[[int], bool],
        serial: int,
        keep: Callable[[Path], bool] = lambda path: False,
    ) -> list[str]:
        """Remove what no item stands for after the last commit, `serial`; answers the names.

        Who still has an older snapshot keeps what may have been deleted since.
        """
        swept = []
        for entry in os.scandir(self.folder):
            name = entry.name
            if entry.is_dir(follow_symlinks=False):
                continue
            if name.isascii() and name.isdigit() and str(int(name)) == name:
                if exists(int(name)) or keep(Path(entry.path)):
                    continue
                self.remove([int(name)], serial)
            else:
                Path(entry.path).unlink()
            swept.append(name)
        if swept:
            sync_folder(self.folder)  # their ids are given again, and no file is to come back then
        return swept

    def close(self) -> None:
        with self._lock:
            self._remove_doomed()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _remove_doomed(self) -> None:
        """Remove what was deleted before the oldest snapshot; the rest waits, in its order."""
        free = -1
        while self._doomed:
            ident, serial = next(iter(self._doomed.items()))
            if serial != free:
                if self._is_held_before(serial):
                    return
                free = serial
            with suppress(FileNotFoundError):
                self.path(ident).unlink()
            del self._doomed[ident]

    def _is_held_before(self, serial: int) -> bool:
        oldest = min(self._held, default=None)
        return (oldest is not None and oldest < serial) or self.held_elsewhere(serial)


_begun: set[str] = set()
"""The paths of what this process has created, until it is adopted or discarded."""


def _itself(path: str, flags: int) -> int:
    """A descriptor for what is at `path`, not for what it leads to."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise _not_written(path, "is a symbolic link") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_written(path, "is not a file")
    return descriptor


def _not_written(path: str, state: str) -> DamagedStore:
    return DamagedStore(
        f"{path} {state}, and not what was written: restore a backup with `atopdb restore`", path
    )


def _unbuffered(path: Path) -> BinaryIO:
    return cast(BinaryIO, open(path, "rb", buffering=0, opener=_itself))


def _buffered(stream: Unsealed) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(stream, CHUNK))
