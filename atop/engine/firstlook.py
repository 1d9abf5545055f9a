"""A look at the files of an environment before Berkeley DB uses them, whom bad ones kill.

A first page that is not whole ends the process, a zeroed page passes its checksum and may keep a
reader for ever. So both are looked for in Python: first pages always, the others where something
may have happened to them.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from atop.engine.base import INDEX, ITEMS, TABLES
from atop.engine.checksum import Checksum
from atop.engine.environment import COMMITS, PAGE_BYTES
from atop.engine.logtail import Lsn
from atop.errors import DamagedStore

ALL_TABLES = (*TABLES, COMMITS)
_META = struct.Struct("=8xIIIIBBBxIIIIII20s16xI")
_HEADS = struct.Struct(f"=III{PAGE_BYTES - 12}x")
_MAGIC, _VERSION, _TYPE, _CHECKSUMMED, _RECORD_NUMBERS = 0x053162, 9, 9, 1, 4
_ENCRYPTED = 24
_CHUNK = PAGE_BYTES * 256
_WAY_BACK = "run `atopdb salvage` on the store, or restore a backup with `atopdb restore`"
_REPAIR = "run `atopdb verify --repair`, which changes nothing if an item would be lost; else "


class FirstPage(NamedTuple):
    """What the first page of a table says of it."""

    number: int
    magic: int
    version: int
    page_bytes: int
    encrypted: int
    type: int
    summed: int
    free: int
    last: int
    partitions: int
    keys: int
    records: int
    flags: int
    file_id: bytes
    root: int


def check_first_pages(folder: Path, *, complete: bool, checksum: Checksum | None = None) -> None:
    """Look at the first page of each table; `checksum` is that of the store, if its key is known.

    A store that is not `complete`, because making it was interrupted, may lack tables.

    :raises DamagedStore: naming the file.
    """
    if not complete and not folder.exists():
        return
    if not stat.S_ISDIR(folder.lstat().st_mode if folder.exists() else 0):
        raise _damaged(folder, "is not a folder")
    for name in ALL_TABLES:
        path = folder / name
        if path.is_symlink() or path.exists():
            _check_first_page(path, checksum)
        elif complete:
            raise _damaged(path, "is missing")
    if complete and not any(name.startswith("log.") for name in os.listdir(folder)):
        raise _damaged(folder, "has lost its logs")


def check_file_ids(folder: Path, ids: dict[str, bytes]) -> None:
    """Compare the tables with what the log says of them: another one may lie in their place.

    :raises DamagedStore: naming the file.
    """
    for name in ALL_TABLES:
        path = folder / name
        if name in ids and path.exists() and _first_page(path).file_id != ids[name]:
            raise _damaged(path, "is not the table that the logs belong to: it was exchanged")


def check_touched(folder: Path, closed_at: int) -> None:
    """Look at all pages of tables that were written to since the store was closed.

    :raises DamagedStore: naming the file and the page.
    """
    for name in ALL_TABLES:
        path = folder / name
        if path.stat().st_mtime_ns > closed_at:
            check_pages(path)


def check_all_pages(folder: Path) -> None:
    """Look at all pages of a store that was recovered just now.

    :raises DamagedStore: naming the file and the page.
    """
    for name in ALL_TABLES:
        check_pages(folder / name)


def check_pages(path: Path) -> None:
    """Each page has its own number, and none is lost.

    :raises DamagedStore: naming the file and the page.
    """
    last = _first_page(path).last
    number = -1
    for number, (_, _, said) in enumerate(_heads(path)):
        if number > last:
            return
        if said != number:
            state = "is zeroed" if not said else f"says that it is page {said}"
            raise _damaged(path, state, f"page {number} of ")
    if number < last:
        raise _damaged(path, f"was cut: it has {number + 1:,} pages and should have {last + 1:,}")


def check_log_covers(folder: Path, end: Lsn) -> None:
    """No page is newer than the log: a page is written after what the log says of it.

    :raises DamagedStore: naming the file and the page, when the log has lost its end.
    """
    for name in ALL_TABLES:
        path = folder / name
        if not path.exists():
            continue
        for number, (file, offset, _) in enumerate(_heads(path)):
            if (file, offset) >= end and file:
                raise DamagedStore(
                    f"the log in {folder} is damaged or cut at byte {end.offset:,} of file "
                    f"{end.file}, and page {number} of {path} is newer than that: {_WAY_BACK}",
                    str(path),
                )


def _check_first_page(path: Path, checksum: Checksum | None) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise _damaged(path, "is not a file")
    with path.open("rb") as file:
        page = file.read(PAGE_BYTES)
    if len(page) < PAGE_BYTES:
        raise _damaged(path, "does not begin like a table (page 0 is cut)")
    meta = FirstPage(*_META.unpack_from(page))
    numbered = _RECORD_NUMBERS if path.name == INDEX else 0
    right = (0, _MAGIC, _VERSION, PAGE_BYTES, _TYPE, _CHECKSUMMED, numbered)
    found = (meta.number, meta.magic, meta.version, meta.page_bytes, meta.type, meta.summed,
             meta.flags)  # fmt: skip
    if found != right or (checksum is not None and not checksum.is_first_page(page)):
        raise _damaged(path, "does not begin like a table (page 0 is zeroed or overwritten)")
    plain = Checksum().is_first_page(page[:_ENCRYPTED] + b"\0" + page[_ENCRYPTED + 1 :])
    if checksum is None and plain == bool(meta.encrypted):
        raise _damaged(path, "does not begin like a table (page 0 fails its checksum)")


def _first_page(path: Path) -> FirstPage:
    with path.open("rb") as file:
        return FirstPage(*_META.unpack(file.read(_META.size)))


def _heads(path: Path) -> Iterator[tuple[int, int, int]]:
    """Where in the log each whole page was last changed, file and offset, and its number."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            yield from _HEADS.iter_unpack(chunk[: len(chunk) // PAGE_BYTES * PAGE_BYTES])


def _damaged(path: Path, state: str, what: str = "") -> DamagedStore:
    """All that follows from the items can be made anew; of pages of items only the first one."""
    lost = path.name == ITEMS and (what or not path.exists())
    repair = "" if lost or (path.name not in ALL_TABLES and not path.is_dir()) else _REPAIR
    return DamagedStore(f"{what}{path} {state}: {repair}{_WAY_BACK}", str(path))
