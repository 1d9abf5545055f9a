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

from atop.engine.log import sync_folder


@dataclass
class PendingFile:
    """A file that a transaction makes."""

    id: int
    path: Path


class FileFolder:
    """The files of one store, by id."""

    def __init__(self, folder: Path | None) -> None:
        self._temporary = None
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="atop-")
            folder = Path(self._temporary.name)
        self.folder = folder
        self._lock = threading.Lock()
        self._holds = 0
        self._doomed: list[int] = []

    def path(self, ident: int) -> Path:
        """Where the committed bytes of a file are."""
        return self.folder / str(ident)

    def create(self) -> tuple[int, Path]:
        """A descriptor open for writing, and the temporary path."""
        descriptor, name = tempfile.mkstemp(prefix="new-", dir=self.folder)
        return descriptor, Path(name)

    def adopt(self, pending: Iterable[PendingFile]) -> None:
        """Give files that are synced their names, durably."""
        adopted = False
        for file in pending:
            final = self.path(file.id)
            if file.path != final:
                file.path.rename(final)
                file.path = final
                adopted = True
        if adopted:
            sync_folder(self.folder)

    def discard(self, pending: Iterable[PendingFile]) -> None:
        """Remove files whose transaction was rolled back."""
        for file in pending:
            file.path.unlink(missing_ok=True)

    def remove(self, idents: Iterable[int]) -> None:
        """Remove files whose deletion is committed, as soon as nobody may still read them."""
        with self._lock:
            self._doomed += idents
            if not self._holds:
                self._remove_doomed()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Remove nothing meanwhile."""
        with self._lock:
            self._holds += 1
        try:
            yield
        finally:
            with self._lock:
                self._holds -= 1
                if not self._holds:
                    self._remove_doomed()

    def sweep(self, exists: Callable[[int], bool]) -> list[str]:
        """Remove what no item stands for; answers the names."""
        swept = []
        for entry in os.scandir(self.folder):
            name = entry.name
            if not (name.isascii() and name.isdigit() and exists(int(name))):
                Path(entry.path).unlink()
                swept.append(name)
        return swept

    def close(self) -> None:
        with self._lock:
            self._remove_doomed()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _remove_doomed(self) -> None:
        for ident in self._doomed:
            with suppress(FileNotFoundError):
                self.path(ident).unlink()
        self._doomed = []
