"""What ``_native.c`` gives: see rows.py, which has the same in Python."""

from collections.abc import Container, Sequence
from typing import Any

from atop.engine.base import JoinedRow, Row

def get(table: Any, key: bytes) -> bytes | None: ...
def getmany(table: Any, keys: Sequence[bytes]) -> list[bytes | None]: ...
def scan(
    table: Any, low: bytes | None, high: bytes | None, limit: int, skip: int, reverse: bool
) -> list[Row]: ...
def join(
    index: Any, items: Any, low: bytes | None, high: bytes | None, limit: int, skip: int,
    reverse: bool, known: Container[bytes],
) -> list[JoinedRow]: ...
def count(table: Any, low: bytes | None, high: bytes | None) -> int: ...
def put_all(
    table: Any, txn: Any, keys: Sequence[bytes], pairs: Sequence[tuple[bytes | None, bool]],
    most: int,
) -> None: ...
