"""The serial of a store's last commit, where every process on the machine can see it.

A client asks for it whenever it reads what it has in memory, so that has to cost less than a round
trip: eight bytes in the file ``serial``, written by the owner before anybody is told of a commit.
The file is only looked at, never mapped: one that somebody cuts off harms nobody. A lock on it
tells the owner that clients have snapshots, whose files have to stay.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

from atop.errors import StoreUnreachable

FILE = "serial"
_BYTES = 8


class _File:
    """A descriptor that is closed when nobody has it any more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)


class Published:
    """The file in `folder`, which who may use the `folder` may read; an owner is one `to_write` it.

    It is closed when nobody reads it any more, in whatever thread.
    """

    def __init__(self, folder: Path, *, to_write: bool) -> None:
        self._folder = folder
        self._file: _File | None = self._open(to_write)
        self._lost: list[_File] = []
        self._written = -1
        self._lock = threading.Lock()
        self._holds = 0
        self._held_at = 0

    def write(self, serial: int) -> None:
        """There is a commit `serial` now."""
        file = self._file
        if file is not None and serial != self._written:
            for each in (file, *self._lost):
                os.pwrite(each.fileno(), serial.to_bytes(_BYTES, "big"), 0)
            self._written = serial

    def restore(self, serial: int) -> None:
        """Make sure that a new client finds the file, which somebody may have removed."""
        file = self._file
        if file is not None and not os.fstat(file.fileno()).st_nlink:
            self._lost.append(file)
            self._file, self._written = self._open(to_write=True), -1
        self.write(serial)

    def read(self) -> int:
        """The serial of the last commit; 0 if the file does not tell."""
        file = self._file
        if file is None:
            raise StoreUnreachable("the connection to the store's owner was closed")
        return int.from_bytes(os.pread(file.fileno(), _BYTES, 0), "big")

    def hold(self) -> None:
        """A client has a snapshot: the owner is to remove no file until :meth:`let_go`."""
        with self._lock:
            if not self._holds and self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_SH)
                self._held_at = self.read()
            self._holds += 1

    def let_go(self) -> bool:
        """One snapshot has ended; answers whether it was the last one, and kept what was changed.

        Then the owner may have files to remove.
        """
        with self._lock:
            self._holds -= 1
            if self._holds or self._file is None:
                return False
            fcntl.flock(self._file, fcntl.LOCK_UN)
            return self.read() != self._held_at

    def close(self) -> None:
        """Let it go. A second call does nothing."""
        self._file, self._lost = None, []

    def _open(self, to_write: bool) -> _File:
        access = os.O_RDWR | os.O_CREAT if to_write else os.O_RDONLY
        access |= os.O_CLOEXEC | os.O_NOFOLLOW
        file = _File(os.open(self._folder / FILE, access, 0o600))
        if to_write:
            share_with_group(file.fileno(), self._folder, 0o640)
        return file


def is_held(folder: Path) -> bool:
    """For the owner: whether any client has a snapshot."""
    try:
        descriptor = os.open(folder / FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def last_published(folder: Path) -> int:
    """The serial that the last owner wrote, or 0: nobody has the folder now."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(folder / FILE, flags)
    except OSError:
        return 0
    try:
        told = os.read(descriptor, _BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)
    return int.from_bytes(told, "big") if len(told) == _BYTES else 0


def share_with_group(path: int | Path, folder: Path, mode: int) -> None:
    """Give what is at `path` the `mode`, if the `folder` is for all of its group to use."""
    status = folder.stat()
    if status.st_mode & stat.S_IRWXG != stat.S_IRWXG:
        return
    with suppress(PermissionError):
        os.chown(path, -1, status.st_gid)
    os.chmod(path, mode)
