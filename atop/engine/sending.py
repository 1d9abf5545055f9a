"""How a commit goes over a connection: in parts of a size that goes through everywhere."""

from __future__ import annotations

from collections.abc import Iterator

from atop.engine import messages
from atop.engine.base import TABLES, Changes, Commit
from atop.engine.connection import Connection

_PART_ROWS = 20_000
_PART_BYTES = 8 << 20
_PATIENCE = 10.0


def staged(connection: Connection, commit: Commit) -> dict[str, messages.Columns]:
    """The changes of a commit; what is too large for one message is sent ahead."""
    rest = {}
    for table in TABLES:
        parts = list(_parts(Changes.of(commit.changes.get(table, ()))))
        for part in parts[:-1]:
            connection.tell(messages.Stage, commit.state.token, table, part)
        if parts:
            rest[table] = parts[-1]
    return rest


def patience(connection: Connection) -> float:
    """How many seconds the answer to a commit may take."""
    return max(_PATIENCE, connection.timeout)


def changed_keys(commit: Commit) -> dict[str, list[bytes]]:
    """The keys that a commit changes, by table."""
    return {name: Changes.of(changes).keys for name, changes in commit.changes.items()}


def _parts(changes: Changes) -> Iterator[messages.Columns]:
    """The changes of one table, some for each message."""
    keys, pairs = changes.keys, changes.pairs
    start = size = 0
    for at, (key, (value, _)) in enumerate(zip(keys, pairs, strict=True)):
        size += len(key) + len(value or b"")
        if size > _PART_BYTES or at - start >= _PART_ROWS:
            yield messages.Columns(keys[start:at], pairs[start:at], changes.inserting)
            start, size = at, len(key) + len(value or b"")
    if start < len(keys):
        yield messages.Columns(keys[start:], pairs[start:], changes.inserting)
