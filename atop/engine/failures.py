"""Berkeley DB's errors and the system's, in Atop's words: the one place where they are told."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from berkeleydb import db

from atop.engine.log import try_disk
from atop.errors import (
    AtopError,
    DamagedStore,
    NotAStore,
    StoreError,
    StoreFailed,
    StoreFull,
    StorePermission,
)

TROUBLE = (db.DBError, OSError, MemoryError)
"""What the library raises when something went wrong in it, below it or on the disk."""

_PANIC = (db.DBRunRecoveryError,)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_STORE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
_DAMAGED = (db.DBPageNotFoundError, db.DBVerifyBadError)
_LEAST_ROOM = 1 << 20
_DAMAGE = ("checksum error", "page type", "illegal page", "pgin failed", "BDB0682")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise Atop's error for what goes wrong inside; `path` is the store's folder."""
    try:
        yield
    except AtopError:
        raise
    except TROUBLE as error:
        raise explain(error, path) from error


def explain(error: BaseException, path: str) -> StoreError:
    """Atop's error for one of Berkeley DB's or the system's."""
    if isinstance(error, StoreError):
        return error
    code = _code(error)
    where = getattr(error, "filename", None) or path
    text = str(error)
    if code in _FULL:
        return StoreFull(f"{where}: no room on the disk; free some and try again", path)
    if code == errno.EROFS:
        return StorePermission(
            f"{where}: the file system is mounted for reading only; mount it for writing, or copy "
            "the store to another one",
            path,
        )
    if code in _FORBIDDEN:
        return StorePermission(
            f"{where}: permission denied; change its owner or mode, or open with readOnly=True",
            path,
        )
    if code in _NO_STORE:
        return NotAStore(f"{where}: {text}; name a folder that can be made or opened", path)
    if any(mark in text for mark in _DAMAGE) or isinstance(error, _DAMAGED):
        return DamagedStore(f"{where} is damaged ({text}): restore a backup", path)
    if isinstance(error, (MemoryError, db.DBNoMemoryError)):
        if _room(path) < _LEAST_ROOM:
            return StoreFull(f"{where}: no room on the disk for the cache's pages; free some", path)
        return StoreError(f"{where}: out of memory; open with a larger cacheSize", path)
    return StoreFailed(
        f"{where}: {text}; what was committed is kept, try again when the disk works", path
    )


def has_ended(error: BaseException) -> bool:
    """Whether Berkeley DB does nothing more in this environment: it has to be opened again."""
    return isinstance(error, _PANIC) or isinstance(error.__cause__, _PANIC)


def find_cause(folder: Path) -> StoreError | None:
    """What is wrong with the disk, if anything is: Berkeley DB does not always tell it."""
    try:
        try_disk(folder)
    except OSError as error:
        return explain(error, str(folder))
    return None


def is_unsynced(error: BaseException) -> bool:
    """Whether it is a sync that failed: the system tells of that only once."""
    return "fsync" in str(error)


def _code(error: BaseException) -> int:
    """The system's number for what went wrong, also for what made Berkeley DB give up."""
    if isinstance(error, OSError):
        return error.errno or 0
    if has_ended(error):
        text = str(error)
        told = (code for code in (*_FULL, *_FORBIDDEN, errno.EIO) if os.strerror(code) in text)
        return next(told, 0)
    return int(error.args[0]) if error.args and isinstance(error.args[0], int) else 0


def _room(path: str) -> int:
    """How many bytes may be written yet: pages that find no room fill the cache."""
    try:
        status = os.statvfs(path)
    except OSError:
        return _LEAST_ROOM
    return status.f_bavail * status.f_frsize


def explain_opening(error: db.DBError, path: str) -> StoreError:
    """The same, for the opening of an environment: what cannot be recovered is damaged."""
    told = explain(error, path)
    cause = find_cause(Path(path)) if has_ended(error) and not _code(error) else None
    if cause is not None:
        return cause
    if _code(error) == errno.EIO or not isinstance(told, (StoreFailed, NotAStore)):
        return told
    return DamagedStore(f"{path} cannot be recovered ({error}): restore a backup", path)
