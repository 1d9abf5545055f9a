"""Getting the log on disk: one sync for all commits that wait for it."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_CHUNK = 1 << 20
_TOGETHER = 0.001  # seconds
_A_MOMENT = 0.0001
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)


def _sync(descriptor: int) -> None:
    """Return when what was written is on the disk itself, not in a cache on the way to it."""
    if _FULL_SYNC is None:
        os.fdatasync(descriptor)
    else:
        fcntl.fcntl(descriptor, _FULL_SYNC)


class LogSync:
    """Syncs Berkeley DB's log files outside Berkeley DB.

    Committers write their log records under the latch, let it go and then wait here. The first
    one in syncs for all that were written until then; the others find their commit synced. While
    more commits are `coming`, one waits for these, at most a millisecond: one sync for all
    costs less than one for each. Once a sync has failed every later one does: the system reports
    such an error only once.

    The folder is held open, so that a log is found wherever it is moved meanwhile. ``synced_end``
    is the file, and the place in it, up to which the log is on disk.
    """

    def __init__(
        self, folder: Path, last_file: int, coming: Callable[[], bool] = lambda: False
    ) -> None:
        self._coming = coming
        self._place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._written = (0, last_file, 0)
        self._synced = 0
        self.synced_end = (0, 0)
        self._synced_file = last_file
        self._error: OSError | None = None
        self._descriptor = -1
        self._open(last_file)
        self.syncs = 0

    def written(self, serial: int, last_file: int, end: int = 0) -> None:
        """The commit `serial` is in the log, which ends in file number `last_file`, at `end`."""
        self._written = (serial, last_file, end)

    def wait(self, serial: int) -> None:
        """Return when the commit `serial` is on disk.

        :raises OSError: when that is not known.
        """
        with self._lock:
            if self._error is not None:
                raise OSError(*self._error.args) from self._error
            if self._synced < serial:
                self._await_others()
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
        held, self._descriptor, self._place = (self._descriptor, self._place), -1, -1
        for descriptor in held:
            if descriptor >= 0:
                os.close(descriptor)

    def renew(self) -> None:
        """Write the files of the log once more that are not known to be on disk.

        :raises OSError: as long as the disk does not take them.
        """
        with self._lock:
            for number in range(self._synced_file, self._written[1] + 1):
                with suppress(FileNotFoundError):
                    _renew(f"log.{number:010}", self._place)
            os.fsync(self._place)

    def _await_others(self) -> None:
        latest = time.monotonic() + _TOGETHER
        while self._coming() and time.monotonic() < latest:
            time.sleep(_A_MOMENT)  # no condition is waited for: Ctrl-C may leave its lock to nobody

    def _sync_all(self) -> None:
        target, last_file, end = self._written
        try:
            first = self._synced_file
            if self._descriptor >= 0:  # else there was no such file yet when the log was opened
                _sync(self._descriptor)
                first += 1
            for number in range(first, last_file + 1):
                self._open(number)
                if self._descriptor >= 0:
                    _sync(self._descriptor)
            if last_file >= first:
                os.fsync(self._place)
        except OSError as error:
            self._error = error
            raise
        self._synced, self._synced_file = target, last_file
        self.synced_end = (last_file, end)
        self.syncs += 1

    def _open(self, number: int) -> None:
        """Open a log file in place of the last one; one that is gone was synced by a checkpoint."""
        with suppress(FileNotFoundError):
            opened = os.open(
                f"log.{number:010}", os.O_RDWR | os.O_CLOEXEC, dir_fd=self._place
            )
            old, self._descriptor = self._descriptor, opened  # in one step: Ctrl-C may come
            if old >= 0:
                os.close(old)


def renew_all(folder: Path) -> None:
    """Write every file in `folder` over with what it holds, and sync it.

    After a failed sync the system takes pages for written that are not on the disk. Only writing
    them again brings them there, or another error.
    """
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in sorted(os.listdir(place)):
            _renew(name, place)
        os.fsync(place)
    finally:
        os.close(place)


def _renew(name: str, place: int) -> None:
    descriptor = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=place)
    try:
        at = 0
        while data := os.pread(descriptor, _CHUNK, at):
            at += os.pwrite(descriptor, data, at)
        _sync(descriptor)
    finally:
        os.close(descriptor)


def try_disk(folder: Path) -> None:
    """Raise what is wrong with the disk that `folder` is on, if anything is."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        left = _CHUNK
        while left > 0:
            left -= os.write(file.fileno(), bytes(left))
        _sync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
