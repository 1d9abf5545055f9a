"""The care of a store's folder, below the objects: what is done to all of it at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from atop.engine import compaction
from atop.engine.backup import copy_open
from atop.engine.base import ITEMS, TABLES
from atop.engine.environment import COMMITS
from atop.engine.filefolder import FileFolder
from atop.engine.folder import Folder
from atop.engine.pagecheck import table_damage
from atop.engine.progress import Progress
from atop.errors import ReadOnlyStore, StoreError

Figures = dict[str, int]


class Blemish(NamedTuple):
    """A damaged `table`, or a file that no item stands for, whose `table` is nothing."""

    table: str
    damage: str


class Keeper:
    """The care of a store in memory, where there is little to do."""

    def __init__(self, files: FileFolder) -> None:
        self._files = files

    def checkpoint(self) -> None:
        """Write to the tables what only the log has, and drop the logs not needed any more."""

    def compact(self, progress: Progress) -> tuple[int, list[str]]:
        """Give unused room back: how many bytes that was, and the tables that were left out."""
        return 0, []

    def blemishes(self, timeout: float, progress: Progress) -> list[Blemish]:
        """What Berkeley DB's verifier finds, and files that nobody knows; no writer has a turn.

        :raises StoreBusy: when the turn has not come after `timeout` seconds.
        """
        return []

    def figures(self) -> Figures:
        """``files`` and ``file_bytes``; ``table_bytes`` and ``log_bytes``; ``page_hits``,
        ``page_misses`` and ``log_syncs`` since the store was opened; ``checkpointed_at`` in seconds
        since 1970, and the number of ``clients``; what there is of these."""
        sizes = []
        with suppress(FileNotFoundError), os.scandir(self._files.folder) as entries:
            for entry in entries:
                if entry.name.isdigit():
                    with suppress(FileNotFoundError):  # removed meanwhile
                        sizes.append(entry.stat(follow_symlinks=False).st_size)
        return {"files": len(sizes), "file_bytes": sum(sizes)}

    def copy_to(self, folder: Path, progress: Progress) -> int:
        """Copy what a backup needs into `folder`; answers the serial of the last commit in it.

        :raises StoreError: where there is nothing to copy.
        """
        raise StoreError("a store in memory has no folder to copy: add its items to one that has")


class FolderKeeper(Keeper):
    """The care of a folder that this process owns."""

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder.files)
        self._folder = folder
        self._engine = folder.engine
        self._environment = folder.engine.environment

    def checkpoint(self) -> None:
        self._check_writable()
        self._engine.checkpoint()

    def compact(self, progress: Progress) -> tuple[int, list[str]]:
        self._check_writable()
        self._engine.checkpoint()
        before = self._table_bytes()
        left_out = compaction.compact(self._engine, progress)
        return before - self._table_bytes(), left_out

    def blemishes(self, timeout: float, progress: Progress) -> list[Blemish]:
        folder = self._environment.folder
        tables = {folder / name: name for name in (*TABLES, COMMITS)}
        progress("pages", 0, len(tables))
        with self._still(timeout):
            damage = table_damage(
                list(tables),
                self._folder.password or "",
                lambda done: progress("pages", done, len(tables)),
            )
            found = [Blemish(tables[path], f"{path}: {text}") for path, text in damage.items()]
            if not any(blemish.table == ITEMS for blemish in found):
                found += self._strays()  # reading a bad page may never end
        return found

    def figures(self) -> Figures:
        self._engine.check()
        pages = self._environment.handle.memp_stat()[0]
        logs = self._environment.folder.glob("log.*")
        return super().figures() | {
            "table_bytes": self._table_bytes(),
            "log_bytes": sum(path.stat().st_size for path in logs),
            "page_hits": pages["cache_hit"],
            "page_misses": pages["cache_miss"],
            "log_syncs": self._engine.syncs,
            "checkpointed_at": self._environment.checkpointed_at,
            "clients": self._folder.engine.clients(),
        }

    def copy_to(self, folder: Path, progress: Progress) -> int:
        return copy_open(self._folder, folder, progress)

    def _table_bytes(self) -> int:
        environment = self._environment
        return sum((environment.folder / name).stat().st_size for name in environment.tables)

    def _strays(self) -> list[Blemish]:
        try:
            names = os.listdir(self._files.folder)
        except FileNotFoundError:  # each item whose file was in it will tell
            return []
        return [
            Blemish("", f"{str(self._files.folder / name)!r} has no item")
            for name in names
            if not (self._files.passing(name) or self._has_item(name))
        ]

    def _has_item(self, name: str) -> bool:
        if not (name.isascii() and name.isdigit() and len(name) < 19):
            return False
        return self._engine.get(ITEMS, int(name).to_bytes(8, "big"))[1] is not None

    def _check_writable(self) -> None:
        if self._folder.read_only:
            path = str(self._folder.path)
            raise ReadOnlyStore(f"{path} is open for reading only", path)

    @contextmanager
    def _still(self, timeout: float) -> Iterator[None]:
        """Nobody writes meanwhile, and the files of the tables have all that was committed."""
        if self._folder.read_only:
            yield
            return
        turn = self._engine.writer(timeout)
        try:
            self._engine.checkpoint()
            with self._environment.paused():
                yield
        finally:
            turn.release()
