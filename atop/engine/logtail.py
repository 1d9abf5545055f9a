"""Berkeley DB's log files, read without changing them: where the log ends, and what lies behind.

Recovery ends the log at the first record of the last file that is not whole. After a crash nothing
but zeros, or one half-written record, lies behind that end. Where whole records do, bytes before
them were damaged, and recovery would drop every commit among them without a word.

A record is a header and a body::

    offset of the record before   4 bytes
    length, with the header       4
    checksum                      4: the body's, XOR the two numbers above
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from berkeleydb import db

from atop.engine.checksum import Checksum
from atop.engine.failures import explain_opening
from atop.errors import DamagedStore, NewerFormat

MAGIC = 0x040988
VERSION = 19
_LOG = re.compile(r"log\.\d+")
_NAME = re.compile(r"log\.\d{10}")
_REGISTER, _COMMIT = 2, (10, 1)
_LENGTHS = struct.Struct("=II")
_PERSISTENT = struct.Struct("=II")
_BLOCK = 1 << 16
_ID_BYTES = 20
_LEAST_BODY = 16
_MOST_KEYED = 1 << 16


class Lsn(NamedTuple):
    """A place in the log: a file's number, and an offset in it."""

    file: int
    offset: int


class Tail(NamedTuple):
    """What recovery will not read: after the `end`, in the files numbered in `logs`.

    ``records`` are whole records, ``commits`` those of them that end a transaction; of an
    encrypted log, whose HMACs take long, only the first one is looked for, and counts as a commit.
    """

    end: Lsn
    logs: tuple[int, ...] = ()
    records: int = 0
    commits: int = 0


def log_name(number: int) -> str:
    return f"log.{number:010}"


def check_logs(folder: Path, checksum: Checksum) -> list[int]:
    """The numbers of the log files; each is what it should be, and none is missing between them.

    :raises DamagedStore: naming the file.
    :raises NewerFormat: when another version of Berkeley DB wrote it.
    """
    numbers = sorted(_number(path) for path in folder.iterdir() if _LOG.fullmatch(path.name))
    for number, after in pairwise(numbers):
        if after != number + 1:
            raise DamagedStore(
                f"{folder / log_name(after)} does not follow {log_name(number)}: if it is from "
                "elsewhere, move it away; else run `atopdb salvage` on the store, or restore a "
                "backup",
                str(folder / log_name(after)),
            )
    for number in numbers:
        _check_header(folder / log_name(number), checksum, last=number == numbers[-1])
    for number in numbers[1:]:
        _check_follows(folder, number, checksum)
    return numbers


def read_tail(
    folder: Path, numbers: list[int], checksum: Checksum, password: str | None = None
) -> Tail:
    """Where Berkeley DB ends the log, and what it would drop."""
    end = _end(folder, password)
    logs, records, commits = [], 0, 0
    for number in numbers:
        if number < end.file:
            continue
        data = (folder / log_name(number)).read_bytes()
        start = end.offset if number == end.file else 0
        if not data.count(0, start) < len(data) - start:
            continue
        logs.append(number)
        for offset in whole_records(data, start, checksum):
            records += 1
            body = offset + checksum.log_header
            commits += checksum.keyed or _is_commit(data, body)
    return Tail(end, tuple(logs), records, commits)


def registered(
    folder: Path, tail: Tail, numbers: list[int], tables: Sequence[str], checksum: Checksum
) -> dict[str, bytes]:
    """The file id under which each table was last opened, as far as the log tells."""
    found: dict[str, bytes] = {}
    for number in reversed([each for each in numbers if each <= tail.end.file]):
        data = (folder / log_name(number)).read_bytes()
        limit = tail.end.offset if number == tail.end.file else len(data)
        for name in set(tables) - found.keys():
            ident = _registered(data[:limit], name, checksum)
            if ident is not None:
                found[name] = ident
        if len(found) == len(tables):
            break
    return found


def _number(path: Path) -> int:
    if not _NAME.fullmatch(path.name) or not stat.S_ISREG(path.lstat().st_mode):
        raise DamagedStore(
            f"{path} is not a log that Atop has written: move it away, then open the store",
            str(path),
        )
    return int(path.name[4:])


def _check_header(path: Path, checksum: Checksum, *, last: bool) -> None:
    """The first record of each file says that it is a log; the last file may not have it yet."""
    size = checksum.log_header + checksum.padded(16)
    with path.open("rb") as file:
        record = file.read(size)
    if last and (len(record) < size or not any(record)):
        return
    if len(record) < size or _LENGTHS.unpack_from(record)[1] != size or not checksum.is_log_record(
        record, 0, size
    ):
        raise DamagedStore(
            f"{path} does not begin like a log (it is cut, zeroed or overwritten): run `atopdb "
            "salvage` on the store, or restore a backup",
            str(path),
        )
    if checksum.keyed:
        return
    magic, version = _PERSISTENT.unpack_from(record, checksum.log_header)
    if magic != MAGIC or version != VERSION:
        raise NewerFormat(
            f"{path} is a log of version {version} and not {VERSION}: open the store with the "
            "Berkeley DB that wrote it",
            str(path),
        )


def _check_follows(folder: Path, number: int, checksum: Checksum) -> None:
    """The first record of a file says where the last one of the file before it begins."""
    with (folder / log_name(number)).open("rb") as file:
        header = file.read(checksum.log_header)
    if not any(header):
        return
    before = _LENGTHS.unpack_from(header)[0]
    data = (folder / log_name(number - 1)).read_bytes()
    if _is_record(data, before, checksum):
        after = before + _LENGTHS.unpack_from(data, before)[1]
        if before and not any(data[after : after + checksum.log_header]):
            return
    raise DamagedStore(
        f"{folder / log_name(number)} does not go on where {log_name(number - 1)} ends: if it is "
        "from elsewhere, move it away; else run `atopdb salvage` on the store, or restore a backup",
        str(folder / log_name(number)),
    )


def _end(folder: Path, password: str | None) -> Lsn:
    """The library itself tells, which reads the last log whole and changes nothing."""
    handle = db.DBEnv()
    try:
        if password is not None:
            handle.set_encrypt(password, db.DB_ENCRYPT_AES)
        handle.open(str(folder), db.DB_CREATE | db.DB_PRIVATE | db.DB_INIT_LOG, 0o600)
        status = handle.log_stat()
    except db.DBError as error:
        told = explain_opening(error, str(folder))
        if not isinstance(told, DamagedStore):
            raise told from error
        raise DamagedStore(
            f"the last log in {folder} cannot be read ({error}): run `atopdb salvage` on the "
            "store, or restore a backup",
            str(folder),
        ) from error
    finally:
        handle.close()
    return Lsn(status["cur_file"], status["cur_offset"])


def whole_records(data: bytes, start: int, checksum: Checksum) -> Iterator[int]:
    """The offsets of the whole records from `start` on, however much is damaged between them.

    A record begins with the offset of the one before, whose upper half is known: it is that of the
    place itself, or one less.
    """
    at = start
    while (found := _next_record(data, at, checksum)) is not None:
        at = found
        while _is_record(data, at, checksum):
            yield at
            at += int(_LENGTHS.unpack_from(data, at)[1])
            if checksum.keyed:
                return


def _next_record(data: bytes, start: int, checksum: Checksum) -> int | None:
    if not start and _is_record(data, 0, checksum):
        return 0
    for block in range(start // _BLOCK, len(data) // _BLOCK + 1):
        first, end = max(start, block * _BLOCK), min((block + 1) * _BLOCK, len(data))
        marks = [struct.pack("=I", half << 16)[2:] for half in (block, block - 1) if half >= 0]
        for match in re.finditer(b"(?=(?:%s))" % b"|".join(map(re.escape, marks)),
                                 data[first + 2 : end + 3]):
            if _is_record(data, first + match.start(), checksum):
                return first + match.start()
    return None


def _is_record(data: bytes, at: int, checksum: Checksum) -> bool:
    if at + checksum.log_header + 4 > len(data):
        return False
    before, length = _LENGTHS.unpack_from(data, at)
    least = checksum.log_header + _LEAST_BODY
    if not least <= length <= len(data) - at or (at and before >= at):
        return False
    if not (checksum.keyed or any(data[at + checksum.log_header : at + checksum.log_header + 4])):
        return False  # no kind of record has the number 0: zeros have a sum of 0, like their hash
    if checksum.keyed and not _is_linked(data, at, at + length, checksum):
        return False
    return checksum.is_log_record(data, at, length)


def _is_linked(data: bytes, at: int, after: int, checksum: Checksum) -> bool:
    """Whether what stands behind a record may: an HMAC takes too long to try one anywhere."""
    if after - at > _MOST_KEYED:
        return False
    following = data[after : after + checksum.log_header]
    return not any(following) or struct.unpack_from("=I", following.ljust(4))[0] == at


def _is_commit(data: bytes, body: int) -> bool:
    if body + 20 > len(data):
        return False
    kind, opcode = struct.unpack_from("=I12xI", data, body)
    return (kind, opcode) == _COMMIT


def _registered(data: bytes, table: str, checksum: Checksum) -> bytes | None:
    """From the last record of the kind: its header, kind, transaction, record before it, what is
    done; then the lengths and bytes of name and file id."""
    name = table.encode() + b"\0"
    mark = struct.pack("=I", len(name)) + name + struct.pack("=I", _ID_BYTES)
    place = data.rfind(mark)
    while place >= 0:
        at = place - 20 - checksum.log_header
        kind = data[at + checksum.log_header : at + checksum.log_header + 4] if at > 0 else b""
        if kind == struct.pack("=I", _REGISTER) and _is_record(data, at, checksum):
            return data[place + len(mark) : place + len(mark) + _ID_BYTES]
        place = data.rfind(mark, 0, place)
    return None
