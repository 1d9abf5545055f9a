"""A Berkeley DB environment in private memory: opened, recovered, checkpointed, closed.

One process has it, one handle is open on it, and it has always been recovered: a caller cannot
use it in any other way.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from berkeleydb import db

from atop.engine import rows
from atop.engine.base import INDEX, TABLES
from atop.engine.failures import TROUBLE, explain_opening
from atop.errors import NotAStore, StoreError

COMMITS = "commits"
PAGE_BYTES = 4096
_LOG_FILE_BYTES = 10 << 20
_LOG_FILES_DUE = 3
_LOG_FILES_OVERDUE = 8
_LOG_BUFFER = 1 << 20
_OPEN = db.DB_CREATE | db.DB_PRIVATE | db.DB_THREAD | db.DB_INIT_MPOOL
_RECOVERED = _OPEN | db.DB_INIT_TXN | db.DB_INIT_LOG


class Environment:
    """The environment in `folder` and its tables, each a handle in ``tables``."""

    def __init__(
        self,
        folder: Path,
        cache_bytes: int,
        *,
        read_only: bool = False,
        fatal: bool = False,
        password: str | None = None,
    ) -> None:
        self.folder = folder
        self.read_only = read_only
        self.tables: dict[str, Any] = {}
        self.check_place: Callable[[], None] = lambda: None
        self._halted = False
        self._busy = threading.Lock()
        self._paused = False
        self._written_file = self._checked_file = 0
        self.checkpointed_at = 0
        self._checkpointer: _Checkpointer | None = None
        check_config(folder)
        self.handle = db.DBEnv()
        try:
            if password is not None:
                self.handle.set_encrypt(password, db.DB_ENCRYPT_AES)
            self._encrypted = db.DB_ENCRYPT if password is not None else 0
            self._open(cache_bytes, db.DB_RECOVER_FATAL if fatal else db.DB_RECOVER)
        except BaseException as error:
            self.close(checkpoint=False)
            if isinstance(error, db.DBError):
                raise explain_opening(error, str(folder)) from error
            raise

    @property
    def last_log_file(self) -> int:
        """The number of the log file that is being written."""
        return self.log_end[0]

    @property
    def log_end(self) -> tuple[int, int]:
        """The number of the log file that is being written, and where in it the log ends."""
        return rows.log_end(self.handle)

    def checkpoint(self) -> None:
        """Write what the log has and the tables lack, and drop the logs that are not needed."""
        with self._busy:
            self._checkpoint()

    def checkpoint_in_background(self, failed: Callable[[BaseException], object]) -> None:
        """Start a thread that makes a checkpoint whenever one is due."""
        self._checkpointer = _Checkpointer(self.checkpoint, failed)

    def written(self, last_file: int) -> None:
        """The log ends in file number `last_file` now: wake who makes checkpoints if one is due."""
        self._written_file = last_file
        if last_file - self._checked_file >= _LOG_FILES_DUE and self._checkpointer is not None:
            self._checkpointer.wake()

    def relieve(self) -> None:
        """Make a checkpoint here and now if it is overdue, unless a backup needs the logs."""
        while self._written_file - self._checked_file >= _LOG_FILES_OVERDUE:
            if self._paused or self._halted:
                return
            self.checkpoint()

    def halt(self) -> None:
        """Make no checkpoint any more: it is not known what of the log is on disk."""
        self._halted = True

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What a backup holds: no checkpoint is made and no log removed meanwhile."""
        with self._busy:
            self._paused = True
            try:
                yield
            finally:
                self._paused = False

    def close(self, *, checkpoint: bool = True) -> None:
        """Close in order: thread, checkpoint, tables, environment; all of it, whatever fails."""
        if self._checkpointer is not None:
            self._checkpointer.stop()
        with self._busy:
            try:
                if checkpoint and not self.read_only:
                    self._checkpoint()
            finally:
                self._close()

    def abandon(self, *others: Any) -> None:
        """In a forked child: keep handles for ever, since closing them would harm the parent."""
        for handle in (self.handle, *self.tables.values(), *others):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))

    def _open(self, cache_bytes: int, recover: int) -> None:
        self.handle.set_cachesize(cache_bytes >> 30, cache_bytes & ((1 << 30) - 1), 1)
        if self.read_only:
            self.handle.open(str(self.folder), _OPEN, 0o600)
        else:
            self.handle.set_lg_bsize(_LOG_BUFFER)
            self.handle.set_lg_max(_LOG_FILE_BYTES - 1)  # Berkeley DB rounds up what it fills
            self.handle.set_lg_filemode(0o600)
            self.handle.open(str(self.folder), _RECOVERED | recover, 0o600)
            self._written_file = self._checked_file = self.last_log_file
        for name in (*TABLES, COMMITS):
            self.tables[name] = self._open_table(name)
        if not self.read_only:  # now that the first log file is there: small stores stay small
            self.handle.log_set_config(db.DB_LOG_ZERO, True)

    def _open_table(self, name: str) -> Any:
        table = db.DB(self.handle)
        recnum = db.DB_RECNUM if name == INDEX else 0
        table.set_flags(db.DB_CHKSUM | recnum | self._encrypted)
        table.set_pagesize(PAGE_BYTES)
        table.set_get_returns_none(2)
        access = db.DB_RDONLY if self.read_only else db.DB_CREATE | db.DB_AUTO_COMMIT
        try:
            table.open(name, dbtype=db.DB_BTREE, flags=access | db.DB_THREAD, mode=0o600)
        except BaseException:
            with suppress(db.DBError):
                table.close()
            raise
        return table

    def _checkpoint(self) -> None:
        if self._halted:
            return
        self.check_place()
        last_file = self._written_file
        self.handle.txn_checkpoint(0, 0, db.DB_FORCE)
        self._checked_file = last_file
        self.checkpointed_at = round(time.time())
        self.handle.log_archive(db.DB_ARCH_REMOVE)

    def _close(self) -> None:
        """What the checkpoint wrote is all there is to keep."""
        for table in self.tables.values():
            with suppress(db.DBError):
                table.close(db.DB_NOSYNC)
        self.tables = {}
        with suppress(db.DBError):
            self.handle.close()


class _Checkpointer:
    """Makes checkpoints in a thread of its own, so that no commit waits for one."""

    def __init__(
        self, checkpoint: Callable[[], None], failed: Callable[[BaseException], object]
    ) -> None:
        self._checkpoint = checkpoint
        self._failed = failed
        self._wanted = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="atop-checkpoint", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._wanted.set()

    def stop(self) -> None:
        self._stopping = True
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._stopping:
                return
            try:
                self._checkpoint()
            except (*TROUBLE, StoreError) as error:
                self._failed(error)


def check_config(folder: Path) -> None:
    """Refuse a folder with settings of its own.

    :raises NotAStore: naming the file.
    """
    config = folder / "DB_CONFIG"
    if os.path.lexists(config):
        raise NotAStore(
            f"{config} would change how Berkeley DB works: move it away, then open the store",
            str(config),
        )
