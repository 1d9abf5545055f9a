"""What each commit of a recorded run should leave, written down apart from the database.

The recorded process announces each commit before it is written and notes when it is on disk. Its
lines go to a file beside the store, so they have their place in the order of all that is recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atop.engine.base import TABLES, Commit, Difference
from atop.engine.bdb import BerkeleyEngine
from atop.engine.environment import COMMITS

NOTES = "notes"


def row_hash(table: str, key: bytes, value: bytes) -> int:
    """The hash of a row; what holds many has their sum, whatever the order."""
    joined = b"%s %d %s%s" % (table.encode(), len(key), key, value)
    return int.from_bytes(hashlib.blake2b(joined, digest_size=16).digest(), "big")


def file_hash(ident: int, content: bytes) -> int:
    """The hash of an external file."""
    return row_hash("files", ident.to_bytes(8, "big"), content)


def total(hashes: int) -> int:
    """A sum of hashes, bounded."""
    return hashes % (1 << 128)


class Ledger:
    """Keeps the hash of all that a store should hold, and notes it for each commit of an engine."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._rows: dict[str, dict[bytes, bytes]] = {name: {} for name in TABLES}
        self._files: dict[int, int] = {}
        self._spilled: list[tuple[str, list[Difference]]] = []
        self._sum = 0

    def begin(self, engine: BerkeleyEngine, rows: dict[str, dict[bytes, bytes]]) -> None:
        """What the store holds when it is opened."""
        self._rows = rows
        for path in engine.files.folder.iterdir():
            self._files[int(path.name)] = file_hash(int(path.name), path.read_bytes())
        self._sum = sum(row_hash(name, *row) for name in rows for row in rows[name].items())
        self._note({"base": engine.serial, "token": engine.last.token.hex(), **self._sums()})

    def attach(self) -> None:
        """From now on each engine of this process tells what it does."""
        commit, spill = BerkeleyEngine.commit, BerkeleyEngine.spill
        undo, sync = BerkeleyEngine.undo, BerkeleyEngine.sync

        def committing(engine: BerkeleyEngine, made: Commit) -> None:
            self._announce(made, engine)
            commit(engine, made)
            key = made.state.serial.to_bytes(8, "big")
            row = engine.tables.gets[COMMITS](key)
            assert row is not None
            self._note({"row": made.state.serial, "hash": row_hash(COMMITS, key, row)})

        def spilling(engine: BerkeleyEngine, changes: Mapping[str, Sequence[Difference]]) -> None:
            spill(engine, changes)
            self._spilled += [(name, list(changed)) for name, changed in changes.items()]

        def undoing(engine: BerkeleyEngine) -> None:
            self._spilled = []
            undo(engine)

        def syncing(engine: BerkeleyEngine, serial: int) -> None:
            sync(engine, serial)
            self._note({"synced": serial})

        replaced: dict[str, Any] = {
            "commit": committing, "spill": spilling, "undo": undoing, "sync": syncing,
        }
        for name, method in replaced.items():
            setattr(BerkeleyEngine, name, method)

    def _announce(self, commit: Commit, engine: BerkeleyEngine) -> None:
        for table, changed in self._spilled:
            self._change(table, changed)
        self._spilled = []
        for table, differences in commit.changes.items():
            self._change(table, list(differences))
        for ident in commit.removed:
            del self._files[ident]
        for ident, _ in commit.files:
            self._files[ident] = file_hash(ident, engine.files.path(ident).read_bytes())
        token = commit.state.token.hex()
        self._note({"commit": commit.state.serial, "token": token, **self._sums()})

    def _sums(self) -> dict[str, int]:
        return {"rows": total(self._sum), "files": total(sum(self._files.values()))}

    def _change(self, table: str, changed: list[Difference]) -> None:
        rows = self._rows[table]
        for key, value, existed in changed:
            assert existed == (key in rows), "the engine was told what was not so"
            if existed:
                self._sum -= row_hash(table, key, rows.pop(key))
            if value is not None:
                rows[key] = value
                self._sum += row_hash(table, key, value)

    def _note(self, line: dict[str, object]) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")
