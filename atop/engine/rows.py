"""Rows of Berkeley DB's tables, many in one call.

What stands here is what they do; ``_native.c`` does the same, with less between two rows, and
takes their place where it could be built. Low and high ends, limits and the rest are those of
:class:`~atop.engine.base.Range`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice, takewhile
from typing import Any, Concatenate, ParamSpec, TypeVar

from berkeleydb import db

from atop.engine.base import JoinedRow, Row, join_rows

__all__ = ["count", "get", "getmany", "join", "keys", "log_end", "scan", "with_cursor", "write_all"]

P = ParamSpec("P")
T = TypeVar("T")


def get(table: Any, key: bytes) -> bytes | None:
    """The value of `key`, or ``None``."""
    value: bytes | None = table.get(key)
    return value


def getmany(table: Any, keys: Sequence[bytes]) -> list[bytes | None]:
    """The values of `keys`, in their order."""
    return list(map(table.get, keys))


def scan(
    table: Any, low: bytes | None, high: bytes | None, limit: int, skip: int, reverse: bool
) -> list[Row]:
    """The rows of a range that is not empty; those of the index can be skipped and reversed."""
    way = _backwards if reverse else _forwards
    return with_cursor(table.cursor(), way, low, high, limit, skip)


def keys(
    index: Any, low: bytes | None, high: bytes | None, limit: int, skip: int, reverse: bool
) -> list[bytes]:
    """The same of the index, without the values, which are empty."""
    return [key for key, _ in scan(index, low, high, limit, skip, reverse)]


def join(
    index: Any, items: Any, low: bytes | None, high: bytes | None, limit: int, skip: int,
    reverse: bool, known: Container[bytes],
) -> list[JoinedRow]:
    """The same keys, each with the record of its item if that is not `known`."""
    found = keys(index, low, high, limit, skip, reverse)
    return join_rows(found, known, lambda ids: getmany(items, ids))


def count(table: Any, low: bytes | None, high: bytes | None) -> int:
    """How many keys of the index are in a range."""
    return with_cursor(table.cursor(), _count, low, high)


def write_all(
    table: Any, txn: Any, keys: Sequence[bytes], pairs: Sequence[tuple[bytes | None, bool]],
    most: int,
) -> None:
    """Put the values, which `pairs` begin with, under their keys; delete those that get ``None``.

    :raises OverflowError: with the size of a value of more bytes than `most`.
    """
    with_cursor(table.cursor(txn), _write_all, keys, pairs, most)


def log_end(environment: Any) -> tuple[int, int]:
    """The number of the log file that is being written, and where in it the log ends."""
    status = environment.log_stat()
    return int(status["cur_file"]), int(status["cur_offset"])


def with_cursor(
    cursor: Any, step: Callable[Concatenate[Any, P], T], /, *args: P.args, **kw: P.kwargs
) -> T:
    """What `step` finds with the cursor, which is closed; the first error counts, not the last."""
    try:
        found = step(cursor, *args, **kw)
    except BaseException:
        with suppress(db.DBError):
            cursor.close()
        raise
    cursor.close()
    return found


def _count(cursor: Any, low: bytes | None, high: bytes | None) -> int:
    first = 0 if low is None else _rank(cursor, low)
    return max(0, _rank(cursor, high) - first)


def _write_all(
    cursor: Any, keys: Sequence[bytes], pairs: Sequence[tuple[bytes | None, bool]], most: int
) -> None:
    """One cursor for all of them costs less than a call of the table for each."""
    put, first = cursor.put, db.DB_KEYFIRST
    for key, (value, _) in zip(keys, pairs, strict=True):
        if value is None:
            if cursor.set(key, dlen=0, doff=0) is None:
                raise db.DBNotFoundError(db.DB_NOTFOUND, "a key that was to be deleted")
            cursor.delete()
        elif len(value) > most:
            raise OverflowError(len(value))
        else:
            put(key, value, first)


def _rank(cursor: Any, key: bytes | None) -> int:
    """How many keys stand before `key`; ``None`` for the end of the table."""
    if key is not None and cursor.set_range(key):
        return int(cursor.get_recno()) - 1
    return int(cursor.get_recno()) if cursor.last() else 0


def _forwards(
    cursor: Any, low: bytes | None, high: bytes | None, limit: int, skip: int
) -> list[Row]:
    row = cursor.first() if low is None else cursor.set_range(low)
    if row and skip > 0:
        row = cursor.set_recno(cursor.get_recno() + skip)
    found = _following(row, cursor.next, limit)
    return list(found if high is None else takewhile(lambda row: row[0] < high, found))


def _backwards(
    cursor: Any, low: bytes | None, high: bytes | None, limit: int, skip: int
) -> list[Row]:
    above = None if high is None else cursor.set_range(high)
    row = cursor.prev() if above else cursor.last()
    if row and skip > 0:
        place = cursor.get_recno() - skip
        row = cursor.set_recno(place) if place > 0 else None
    found = _following(row, cursor.prev, limit)
    return list(found if low is None else takewhile(lambda row: row[0] >= low, found))


def _following(row: Row | None, step: Callable[[], Row | None], limit: int) -> Iterator[Row]:
    """At most `limit` rows, of which `row` is the first; the interpreter's loops are slower."""
    return islice(chain((row,), iter(step, None)), limit) if row else iter(())


if os.environ.get("ATOP_NATIVE") != "0":
    with suppress(ImportError):
        from atop.engine._native import (
            count,
            get,
            getmany,
            join,
            keys,
            log_end,
            scan,
            write_all,
        )
