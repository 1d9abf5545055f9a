"""Shared locks on numbers, each a byte of one file, which the kernel takes back from who has gone.

They belong to an open file, not to a process: a lock goes when nobody has that file open any more,
however it came to that. Where the system has no locks on a part of a file, all numbers have one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_FLOCK = "hhqqi4x"  # type, whence, start, length, pid; padded, as on Linux
_SET = getattr(fcntl, "F_OFD_SETLK", None) if os.uname().sysname == "Linux" else None
_GET = getattr(fcntl, "F_OFD_GETLK", None) if os.uname().sysname == "Linux" else None


def share(descriptor: int, number: int) -> None:
    """Lock `number`, which others may lock as well. It may be locked here already."""
    if _ask(descriptor, _SET, fcntl.F_RDLCK, number, 1) is None:
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def unlock_below(descriptor: int, number: int | None) -> None:
    """Unlock all that is locked here below `number`, which is locked; or all, if it is ``None``."""
    if number == 0 or _ask(descriptor, _SET, fcntl.F_UNLCK, 0, number or 0) is not None:
        return
    if number is None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def is_locked_below(descriptor: int, number: int) -> bool:
    """Whether anybody else has locked a number below that one, as far as the system can tell."""
    if number <= 0:
        return False
    found = _ask(descriptor, _GET, fcntl.F_WRLCK, 0, number)
    return _is_locked(descriptor) if found is None else found != fcntl.F_UNLCK


def _ask(descriptor: int, command: int | None, kind: int, start: int, length: int) -> int | None:
    """The type that the kernel answers with; ``None`` where it has no such locks."""
    if command is None:
        return None
    asked = struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0)
    try:
        told = fcntl.fcntl(descriptor, command, asked)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None
    return int(struct.unpack(_FLOCK, told)[0])


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
