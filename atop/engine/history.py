"""A row of the table ``commits``: the state that a commit left, and its before-images.

The layout is specified in doc/format.rst. Rows are read for snapshots, caches and, at opening, for
the state of the store.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from typing import NamedTuple

from atop.engine.base import TABLES, BeforeImage, Changes, Delta, State
from atop.errors import DamagedStore, SnapshotTooOld

KEPT_BYTES = 64 << 20
HEADER = struct.Struct(">qQQQQ16sQBI")
_COUNT = struct.Struct(">I")
_NOTHING, _PLAIN, _DEFLATED = range(3)
_LARGE = 1 << 16  # less is not worth deflating
_LARGEST = 64 << 20
_EXISTED, _EXISTS = 1, 2
_NO_ROWS = _COUNT.pack(0)
_NOT_KEPT = 0xFFFFFFFF


class Image(NamedTuple):
    """What a commit changed in one table, and the values that keys had before, if they had any."""

    changes: Changes
    before: dict[bytes, bytes]


Images = Mapping[str, Image | None]
"""By table; ``None`` for what is not to be kept."""


def encode(state: State, note: str, images: Images | None, before: int) -> tuple[bytes, int]:
    """A row's bytes, and how many all rows up to this one had, before any of them was deflated.

    `before` is how many all earlier rows had; without `images` none are kept.
    """
    text = note.encode("utf-8", "surrogatepass")
    body = b"" if images is None else _encode_tables(images)
    form = _PLAIN
    if images is None or len(body) > KEPT_BYTES:
        body, form = b"", _NOTHING
    total = before + HEADER.size + len(text) + len(body)
    if len(body) >= _LARGE and len(_deflate(body[-_LARGE:])) < _LARGE // 2:
        body, form = _deflate(body), _DEFLATED
    counts = (state.counts[name] for name in TABLES)
    header = HEADER.pack(
        round(state.time * 1e6), state.next_id, *counts, state.token, total, form, len(text)
    )
    return b"".join((header, text, body)), total


def decode_state(serial: int, row: bytes) -> tuple[State, int]:
    """The state in a row's header, and how many bytes all rows up to this one had at first."""
    try:
        microseconds, next_id, *counts, token, total, _, _ = HEADER.unpack_from(row)
    except struct.error as error:
        raise _damaged(serial) from error
    named = dict(zip(TABLES, counts, strict=True))
    return State(serial, next_id, named, token, microseconds / 1e6), total


def decode_delta(serial: int, row: bytes) -> Delta:
    """A row's before-images, without those of tables for which none are kept."""
    try:
        *_, form, length = HEADER.unpack_from(row)
        if form == _NOTHING:
            return Delta(serial, None)
        body = row[HEADER.size + length :]
        return Delta(serial, _decode_tables(_inflate(body) if form == _DEFLATED else body))
    except (struct.error, zlib.error, ValueError) as error:
        raise _damaged(serial) from error


def _deflate(data: bytes) -> bytes:
    return zlib.compress(data, zlib.Z_BEST_SPEED)


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    body = inflater.decompress(data, _LARGEST + 1)  # with room to see that it ends there
    if not inflater.eof or inflater.unused_data:
        raise ValueError("it does not end where the row does")
    return body


def decode_since(since: int, rows: list[tuple[int, bytes]]) -> list[Delta]:
    """The before-images of rows that should be all the commits after `since`.

    A commit that does not have those of all tables is as one that has none.

    :raises SnapshotTooOld: when the first of them are gone.
    """
    if rows and rows[0][0] != since + 1:
        raise SnapshotTooOld(
            f"the commits after {since} are no longer kept, the first kept is {rows[0][0]}: "
            "begin a new snapshot"
        )
    deltas = [decode_delta(serial, row) for serial, row in rows]
    return [
        delta if delta.before is not None and len(delta.before) == len(TABLES)
        else Delta(delta.serial, None)
        for delta in deltas
    ]


def _damaged(serial: int) -> DamagedStore:
    return DamagedStore(f"the row of commit {serial} is damaged: restore a backup")


def _encode_tables(images: Images) -> bytes:
    return b"".join([
        _encode_table(images[name]) if name in images else _NO_ROWS for name in TABLES
    ])


def _encode_table(image: Image | None) -> bytes:
    if image is None:
        return _COUNT.pack(_NOT_KEPT)
    return encode_image(image.changes.keys, image.changes.pairs, image.before)


def encode_image(
    keys: Sequence[bytes], pairs: Sequence[tuple[bytes | None, bool]], before: dict[bytes, bytes]
) -> bytes:
    """The bytes of an :class:`Image`."""
    kinds = bytes(
        (_EXISTED if existed else 0) | (_EXISTS if value is not None else 0)
        for value, existed in pairs
    )
    head = struct.pack(f">I{len(keys)}s{len(keys)}I", len(keys), kinds, *map(len, keys))
    values = [before[key] for key in keys if key in before]
    return b"".join((head, *keys, struct.pack(f">{len(values)}I", *map(len, values)), *values))


def _decode_tables(body: bytes) -> dict[str, list[BeforeImage]]:
    images, at = {}, 0
    for name in TABLES:
        image, at = _decode_table(body, at)
        if image is not None:
            images[name] = image
    if at != len(body):
        raise ValueError("more follows than three tables")
    return images


def _decode_table(row: bytes, at: int) -> tuple[list[BeforeImage] | None, int]:
    (count,) = _COUNT.unpack_from(row, at)
    at += _COUNT.size
    if count == _NOT_KEPT:
        return None, at
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


if os.environ.get("ATOP_NATIVE") != "0":
    with suppress(ImportError):
        from atop.engine._native import encode_image
