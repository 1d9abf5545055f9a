"""Which process owns a store's folder.

The owner holds an operating system lock on the file ``owner``, which dies with the process. What
the file says is for people (who has the store) and for the next opening (was it closed in order,
and how long were its files then).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import socket
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from atop.engine.failures import explain
from atop.errors import DamagedStore, NotAStore, StoreBusy, StoreFailed

FILE = "owner"
_ENVIRONMENT = "environment"
_EFFECTIVE = os.access in os.supports_effective_ids
_WANTED = "wanted"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Owner:
    """The lock on a store's folder, exclusive for a writer and shared among read-only users.

    The folder ``environment`` is locked too: somebody may remove ``owner`` while it is in use.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self._folder = folder
        self._environment = str(folder / _ENVIRONMENT)
        self._place = -1
        flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        flags |= os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self.descriptor = os.open(folder / FILE, flags, 0o600)
        try:
            self._check_file()
            self._lock(self.descriptor, kind)
            self._found = self._note = self._read()
            self._place = self._open_environment(make=not shared)
            self._lock(self._place, kind)
        except BaseException:
            self.release()
            raise

    @property
    def in_place(self) -> bool:
        """Whether the folder is still where it was."""
        try:
            return os.path.samestat(os.fstat(self._place), os.stat(self._environment))
        except OSError:
            return False

    def check_place(self) -> None:
        """Raise an error when nothing can be written here: Berkeley DB would give up over it.

        :raises StorePermission: when we may not write.
        :raises StoreFailed: when the folder was moved away: what is there is another's.
        """
        may_write = os.access(self._environment, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE)
        if may_write and self.in_place:
            return
        if self.in_place or not os.access(self._folder, os.X_OK, effective_ids=_EFFECTIVE):
            self._check_there()
        raise StoreFailed(
            f"{self._folder} was moved or removed while it was open: nothing is written until it "
            "is back; or close the store, and open it where it is now",
            str(self._folder),
        )

    def _check_there(self) -> None:
        """The folder is where it was, unless it is gone altogether, and not to be written."""
        if not self._folder.is_dir():
            return
        read_only = os.fstatvfs(self._place).f_flag & os.ST_RDONLY
        error = OSError(errno.EROFS if read_only else errno.EACCES, "", str(self._folder))
        raise explain(error, str(self._folder))

    @property
    def closed_files(self) -> dict[str, int] | None:
        """The length of each file when the store was closed before; ``None`` if it was not."""
        closed = self._found.get("closed")
        if not isinstance(closed, dict):
            return None
        whole = all(isinstance(length, int) and Path(name).name == name
                    for name, length in closed.items())
        return closed if whole else None

    @property
    def doubtful(self) -> bool:
        """Whether a sync has failed, so that the system may take for written what is not."""
        return bool(self._found.get("unsynced"))

    @property
    def written_at(self) -> int:
        """When the note was written, in nanoseconds."""
        return os.fstat(self.descriptor).st_mtime_ns

    @property
    def was_killed_here(self) -> bool:
        """Whether all that the last owner wrote must be there: only its process came to an end."""
        here = self._here()
        same = all(self._found.get(name) == value for name, value in here.items())
        return same and bool(here["boot"]) and not self.doubtful

    @property
    def was_restarted_here(self) -> bool:
        """Whether the system has come to an end since, and the last owner vouched for its log."""
        here, found = self._here(), self._found
        boots = found.get("boot"), here["boot"]
        restarted = all(boots) and boots[0] != boots[1] and found.get("folder") == here["folder"]
        return restarted and found.get("vouches") is True and not self.doubtful

    def sign(self) -> None:
        """Write down who has the store, so that it counts as not closed; durable on return."""
        self._write({
            "pid": os.getpid(),
            "command": command(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "vouches": True,
            **self._here(),
        })

    def doubt(self) -> None:
        """Write down, for whoever opens the store next, that a sync has failed.

        It need not last longer than the system's memory, which is what the doubt is about.
        """
        with suppress(OSError):
            self._put({**self._note, "unsynced": True})

    def sign_off(self, files: dict[str, int]) -> None:
        """Write down that the store was closed in order, and how long its files are."""
        self._write({"closed": files})

    def take_back(self) -> None:
        """Write down what was found: the store could not be opened, and is as it was."""
        self._write(self._found)

    def release(self) -> None:
        """Let the next one have the folder. In a forked child: without touching the lock."""
        for descriptor in (self.descriptor, self._place):
            if descriptor >= 0:
                os.close(descriptor)

    def _open_environment(self, *, make: bool) -> int:
        path = self._folder / _ENVIRONMENT
        if make:
            path.mkdir(0o700, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _check_file(self) -> None:
        if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            raise NotAStore(
                f"{self._folder / FILE} is not a file: move it away, then open the store",
                str(self._folder / FILE),
            )

    def _here(self) -> dict[str, object]:
        """The run of the system, and the folder, which is another one in a copy."""
        try:
            boot = _BOOT.read_bytes().decode("ascii").strip()
        except OSError:
            boot = ""
        return {"boot": boot, "folder": os.stat(self._folder).st_ino}

    def _lock(self, descriptor: int, kind: int) -> None:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise self._busy() from error

    def _write(self, note: dict[str, Any]) -> None:
        self._put(note)
        os.fsync(self.descriptor)

    def _put(self, note: dict[str, Any]) -> None:
        """Over the old note, whose room it needs where the disk is full."""
        text = (json.dumps(note) + "\n").encode()
        os.pwrite(self.descriptor, text, 0)
        os.ftruncate(self.descriptor, len(text))
        self._note = note

    def _read(self) -> dict[str, Any]:
        try:
            note = json.loads(os.pread(self.descriptor, 1 << 20, 0))
        except (ValueError, RecursionError):
            return {}
        return note if isinstance(note, dict) else {}

    def _busy(self) -> StoreBusy:
        note = self._read()
        pid = note.get("pid")
        who = (
            f"process {pid} ({note.get('command')}) has had it open since {note.get('since')}"
            if pid else "another process reads it"
        )
        return StoreBusy(
            f"{self._folder} is in use: {who}; close the store there, then try again",
            str(self._folder),
            pid if isinstance(pid, int) else None,
        )


def command() -> str:
    """How this process was started, for people; code on the command line may hold secrets."""
    words = sys.orig_argv
    if sys.argv[:1] == ["-c"]:
        words = [*words[: len(words) - len(sys.argv)], "..."]
    return shlex.join(words)[:200].encode("utf-8", "replace").decode()


class Wanted:
    """The wish to write a folder that others only read: they see it, and let go of the folder.

    It is a lock on the file ``wanted``, so that it dies with who has it. Whoever finds that nobody
    holds the lock removes the file.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _WANTED
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        while True:
            self._descriptor = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)
                if _is_at(self._descriptor, self._path):
                    return
            except BaseException:
                os.close(self._descriptor)
                raise
            os.close(self._descriptor)

    def close(self) -> None:
        """It is wanted no longer."""
        try:
            _remove_if_free(self._descriptor, self._path)
        finally:
            os.close(self._descriptor)


def is_wanted(folder: Path) -> bool:
    """Whether somebody waits to write the folder."""
    path = folder / _WANTED
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return not _remove_if_free(descriptor, path)
    finally:
        os.close(descriptor)


def _remove_if_free(descriptor: int, path: Path) -> bool:
    """Remove the file if nobody else has a lock on it; answers whether that is so."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with suppress(OSError):
        if _is_at(descriptor, path):
            path.unlink()
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def check_lengths(folder: Path, closed: dict[str, int]) -> None:
    """Refuse a store that has lost bytes since it was closed.

    :raises DamagedStore: naming the first file that is gone or shorter.
    """
    for name, length in closed.items():
        path = folder / name
        found = path.stat().st_size if path.exists() else None
        if found is None or found < length:
            state = "is missing" if found is None else f"was cut to {found:,}"
            raise DamagedStore(
                f"{path} {state}; it had {length:,} bytes when the store was closed: "
                "restore a backup with `atopdb restore`",
                str(path),
            )
