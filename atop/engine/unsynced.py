"""What tells the end of a log that was never on disk as a whole from one that was damaged.

When the power fails, sectors of the log that were not synced may be on disk or not, in any order.
So whole records may lie behind missing ones, and nothing is lost that anybody was told of. The same
can be seen when a disk has lost what was synced. To tell one from the other, a commit also writes
into the log up to where it was on disk before: a mark behind a missing sector that says so of this
sector too, or of more, proves that it was there.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from atop.engine.checksum import Checksum
from atop.engine.logtail import Lsn, Tail, log_name, whole_records

_MARK = "atop: on disk up to %d/%d"
_MARKED = re.compile(_MARK.replace("%d", r"(\d{1,10})").encode())
_CHECKPOINT, _MESSAGE = 11, 47
_SECTOR = 512
_EMPTY = 16
_LONGEST = 16 << 10


def mark(file: int, offset: int) -> bytes:
    """What a commit writes into the log, as Berkeley DB's ``log_printf`` takes it."""
    return (_MARK % (file, offset)).encode()


def was_never_synced(folder: Path, tail: Tail, checksum: Checksum) -> bool:
    """Whether all speaks for it that the `tail` of the log in `folder` was not yet on disk.

    So it is when sectors are missing (they are empty, or end so), and no record behind them says
    that the log was on disk up to there: no mark, no checkpoint, no later log file, all of which
    come only after a sync. An encrypted log is not looked into.
    """
    if checksum.keyed or len(tail.logs) != 1:
        return False
    (number,) = tail.logs
    if number != tail.end.file and not (number == tail.end.file + 1 and _is_full(folder, tail.end)):
        return False
    data = (folder / log_name(number)).read_bytes()
    start = tail.end.offset if number == tail.end.file else 0
    first = 0
    for offset in whole_records(data, start, checksum):
        first = first or offset
        if _vouches(data, offset + checksum.log_header, tail.end):
            return False
    return bool(first) and _lacks_sector(data, start, first)


def _is_full(folder: Path, end: Lsn) -> bool:
    """Whether a log file ends where the next one was begun: no record had room in it any more."""
    return (folder / log_name(end.file)).stat().st_size - end.offset < _LONGEST


def _vouches(data: bytes, body: int, end: Lsn) -> bool:
    (kind,) = struct.unpack_from("=I", data, body)
    if kind != _MESSAGE:
        return bool(kind == _CHECKPOINT)
    found = _MARKED.search(data, body, body + 100)
    return found is not None and Lsn(int(found[1]), int(found[2])) > end


def _lacks_sector(data: bytes, end: int, first: int) -> bool:
    """Whether a sector between the two places was not written, or not for the last time.

    The log only grows, and what was not yet written of it is zero.
    """
    for stop in range((end // _SECTOR + 1) * _SECTOR, first + 1, _SECTOR):
        if not any(data[max(end, stop - _EMPTY) : stop]):
            return True
    return False
