"""The serial of a store's last commit, where every process on the machine can see it.

A client asks for it whenever it reads what it has in memory, so that has to cost less than a round
trip: eight bytes in the file ``serial``, written by the owner before anybody is told of a commit.
The file is only looked at, never mapped: one that somebody cuts off harms nobody. A lock on a
number in it tells the owner that a client has a snapshot of that serial, whose files have to stay.

Eight more bytes are the serial of the last commit that is known to be on disk. They are not synced
themselves: what they say is so, but there may have been more.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from atop.engine.rangelocks import is_locked_below, share, unlock_below
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
        self._held: Counter[int] = Counter()

    def write(self, serial: int) -> None:
        """There is a commit `serial` now."""
        file = self._file
        if file is not None and serial != self._written:
            for each in (file, *self._lost):
                os.pwrite(each.fileno(), serial.to_bytes(_BYTES, "big"), 0)
            self._written = serial

    def on_disk(self, serial: int) -> None:
        """The commit `serial`, and all before it, are on disk; whoever made them is told next."""
        file = self._file
        if file is not None:
            with suppress(OSError):
                os.pwrite(file.fileno(), serial.to_bytes(_BYTES, "big"), _BYTES)

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

    def hold(self, serial: int | None = None) -> int:
        """A client has a snapshot of the last serial, or of `serial`, if that is older.

        Until :meth:`let_go` of what this answers, the owner removes no file that a later commit has
        deleted. An older one may have lost files before.
        """
        with self._lock:
            file, last = self._file, self.read()
            assert file is not None
            while True:
                held = last if serial is None else min(serial, last)
                if held not in self._held:
                    share(file.fileno(), held)
                    seen, last = last, self.read()
                    if held == seen != last:  # the owner may have looked before there was a lock
                        continue
                self._held[held] += 1
                return held

    def let_go(self, serial: int) -> bool:
        """A snapshot of `serial` has ended; answers whether the owner may have files to remove."""
        with self._lock:
            if serial not in self._held:
                return False
            self._held[serial] -= 1
            if self._held[serial]:
                return False
            del self._held[serial]
            oldest = min(self._held, default=None)
            if self._file is None or (oldest is not None and oldest < serial):
                return False
            unlock_below(self._file.fileno(), oldest)
            return self.read() != serial

    def is_held_before(self, serial: int) -> bool:
        """For the owner: whether any client has a snapshot older than `serial`."""
        file = self._file
        if file is None:
            return True
        return any(is_locked_below(each.fileno(), serial) for each in (file, *self._lost))

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


def hold_all(folder: Path, serials: Collection[int]) -> Published | None:
    """Lock these, until it is closed, for snapshots that go on with the next owner."""
    if not serials:
        return None
    try:
        published = Published(folder, to_write=False)
    except OSError:  # no other process could see the locks either
        return None
    for serial in serials:
        published.hold(serial)
    return published


def is_held_before(folder: Path, serial: int) -> bool:
    """For the owner: whether any client of the last one has a snapshot older than `serial`."""
    try:
        descriptor = os.open(folder / FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return is_locked_below(descriptor, serial)
    finally:
        os.close(descriptor)


def last_published(folder: Path) -> int:
    """The serial that the last owner wrote, or 0: nobody has the folder now."""
    return _last(folder, 0)


def last_on_disk(folder: Path) -> int:
    """The serial of a commit that was on disk, as far as the last owner wrote that, or 0."""
    return _last(folder, _BYTES)


def _last(folder: Path, at: int) -> int:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(folder / FILE, flags)
    except OSError:
        return 0
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        told = os.pread(descriptor, _BYTES, at) if regular else b""
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
