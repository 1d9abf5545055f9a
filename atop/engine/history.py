"""A row of the table ``commits``: the state that a commit left, and its before-images.

The layout is specified in doc/format.rst. Rows are read for snapshots, caches and, at opening, for
the state of the store.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import NamedTuple

from atop.engine.base import TABLES, BeforeImage, Changes, Delta, State
from atop.errors import DamagedStore, SnapshotTooOld

KEPT_BYTES = 64 << 20
HEADER = struct.Struct(">qQQQQ16sQBI")
_COUNT = struct.Struct(">I")
_EXISTED, _EXISTS = 1, 2
_NO_ROWS = _COUNT.pack(0)


class Image(NamedTuple):
    """What a commit changed in one table, and the values that keys had before, if they had any."""

    changes: Changes
    before: dict[bytes, bytes]


Images = Mapping[str, Image]


def encode(state: State, note: str, images: Images | None, before: int) -> bytes:
    """A row's bytes. `before` is how many all earlier rows had; without `images` none are kept."""
    text = note.encode("utf-8", "surrogatepass")
    body = b"" if images is None else b"".join([_table(images.get(name)) for name in TABLES])
    kept = images is not None and len(body) <= KEPT_BYTES
    return b"".join((
        HEADER.pack(
            round(state.time * 1e6),
            state.next_id,
            *(state.counts[name] for name in TABLES),
            state.token,
            before + HEADER.size + len(text) + (len(body) if kept else 0),
            kept,
            len(text),
        ),
        text,
        body if kept else b"",
    ))


def decode_state(serial: int, row: bytes) -> tuple[State, int]:
    """The state in a row's header, and how many bytes all rows up to this one had."""
    try:
        microseconds, next_id, *counts, token, total, _, _ = HEADER.unpack_from(row)
    except struct.error as error:
        raise _damaged(serial) from error
    named = dict(zip(TABLES, counts, strict=True))
    return State(serial, next_id, named, token, microseconds / 1e6), total


def decode_delta(serial: int, row: bytes) -> Delta:
    """A row's before-images."""
    try:
        *_, kept, length = HEADER.unpack_from(row)
        images, end = _decode_tables(row, HEADER.size + length) if kept else (None, 0)
    except (struct.error, ValueError) as error:
        raise _damaged(serial) from error
    if kept and end != len(row):
        raise _damaged(serial)
    return Delta(serial, images)


def decode_since(since: int, rows: list[tuple[int, bytes]]) -> list[Delta]:
    """The before-images of rows that should be all the commits after `since`.

    :raises SnapshotTooOld: when the first of them are gone.
    """
    if rows and rows[0][0] != since + 1:
        raise SnapshotTooOld(
            f"the commits after {since} are no longer kept, the first kept is {rows[0][0]}: "
            "begin a new snapshot"
        )
    return [decode_delta(serial, row) for serial, row in rows]


def _damaged(serial: int) -> DamagedStore:
    return DamagedStore(f"the row of commit {serial} is damaged: restore a backup")


def _table(image: Image | None) -> bytes:
    if image is None:
        return _NO_ROWS
    changes, before = image
    keys = changes.keys
    head = struct.pack(f">I{len(keys)}s{len(keys)}I", len(keys), _kinds(changes), *map(len, keys))
    values = [before[key] for key in keys if key in before] if before else []
    return b"".join((head, *keys, struct.pack(f">{len(values)}I", *map(len, values)), *values))


def _kinds(changes: Changes) -> bytes:
    if changes.inserting:
        return bytes((_EXISTS,)) * len(changes)
    return bytes(
        (_EXISTED if existed else 0) | (_EXISTS if value is not None else 0)
        for value, existed in changes.pairs
    )


def _decode_tables(row: bytes, at: int) -> tuple[dict[str, list[BeforeImage]], int]:
    images = {}
    for name in TABLES:
        images[name], at = _decode_table(row, at)
    return images, at


def _decode_table(row: bytes, at: int) -> tuple[list[BeforeImage], int]:
    (count,) = _COUNT.unpack_from(row, at)
    at += _COUNT.size
    kinds = row[at : at + count]
    keys, at = _decode_strings(row, at + count, count)
    values, at = _decode_strings(row, at, sum(kind & _EXISTED for kind in kinds))
    value = iter(values)
    images = [
        (key, next(value) if kind & _EXISTED else None, bool(kind & _EXISTS))
        for key, kind in zip(keys, kinds, strict=True)
    ]
    return images, at


def _decode_strings(row: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    lengths = struct.unpack_from(f">{count}I", row, at)
    ends = list(accumulate(lengths, initial=at + 4 * count))
    if ends[-1] > len(row):
        raise ValueError("a string ends behind the row")
    return [row[start:stop] for start, stop in pairwise(ends)], ends[-1]
