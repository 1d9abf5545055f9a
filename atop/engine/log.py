"""Getting the log on disk: one sync for all commits that wait for it."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path


def _sync(descriptor: int) -> None:
    """Return when what was written is on the disk itself, not in a cache on the way to it."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


class LogSync:
    """Syncs Berkeley DB's log files outside Berkeley DB.

    Committers write their log records under the latch, let it go and then wait here. The first
    one in syncs for all that were written until then; the others find their commit synced. Once a
    sync has failed every later one does: the system reports such an error only once.
    """

    def __init__(self, folder: Path, last_file: int) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._written = (0, last_file)
        self._synced = 0
        self._synced_file = last_file
        self._error: OSError | None = None
        self._descriptor = -1
        self._open(last_file)
        self.syncs = 0

    def written(self, serial: int, last_file: int) -> None:
        """The commit `serial` is in the log, which ends in file number `last_file`."""
        self._written = (serial, last_file)

    def wait(self, serial: int) -> None:
        """Return when the commit `serial` is on disk.

        :raises OSError: when that is not known.
        """
        with self._lock:
            if self._error is not None:
                raise OSError(*self._error.args) from self._error
            if self._synced < serial:
                self._sync_all()

    def close(self) -> None:
        """Sync for those who still wait, and let the log go.

        :raises OSError: when it is not known what is on disk.
        """
        with self._lock:
            try:
                if self._error is None and self._synced < self._written[0]:
                    self._sync_all()
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Let the log go as it is."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _sync_all(self) -> None:
        target, last_file = self._written
        try:
            _sync(self._descriptor)
            for number in range(self._synced_file + 1, last_file + 1):
                self._open(number)
                _sync(self._descriptor)
            if last_file > self._synced_file:
                sync_folder(self._folder)
        except OSError as error:
            self._error = error
            raise
        self._synced, self._synced_file = target, last_file
        self.syncs += 1

    def _open(self, number: int) -> None:
        """Open a log file in place of the last one; one that is gone was synced by a checkpoint."""
        with suppress(FileNotFoundError):
            opened = os.open(self._folder / f"log.{number:010}", os.O_RDWR | os.O_CLOEXEC)
            old, self._descriptor = self._descriptor, opened  # in one step: Ctrl-C may come
            if old >= 0:
                os.close(old)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
