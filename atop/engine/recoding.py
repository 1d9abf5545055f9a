"""A store copied row by row into a new one, which has another key, or one of them has none.

A backup copies bytes as they are; here all is read at one moment and written anew, so that nothing
of the old key, or of what was never encrypted, is in the copy. Ids stay, the history begins anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from atop.engine.backup import Check, new_folder
from atop.engine.base import (
    ITEMS,
    TABLES,
    Commit,
    Engine,
    NewFile,
    Range,
    Row,
    State,
    next_state,
)
from atop.engine.failures import translated
from atop.engine.filefolder import FileFolder
from atop.engine.folder import Folder
from atop.engine.keyring import Secret, open_keyring
from atop.engine.present import Snapshot
from atop.engine.progress import Progress

_ROWS = 5_000
_CACHE_BYTES = 32 << 20
_CHUNK = 1 << 20
_TIMEOUT = 10.0


def recode(
    source: Engine,
    files: FileFolder,
    target: Path,
    secret: Secret | None,
    check: Check,
    progress: Progress,
) -> None:
    """Make `target` a copy of what `source` and `files` hold at this moment, locked by `secret`.

    :raises StoreError: when `target` holds something.
    :raises DamagedStore: when a file is missing, or not whole.
    :raises SnapshotTooOld: when too much was committed meanwhile.
    """
    seen = Snapshot(source)
    try:
        with translated(str(target)), new_folder(target) as copy:
            keyring = open_keyring(copy, secret, _TIMEOUT)
            folder = Folder(copy, read_only=False, cache_bytes=_CACHE_BYTES, keyring=keyring)
            try:
                _Recoding(seen, files, folder, progress).run()
                check(folder)
            finally:
                folder.close()
    finally:
        seen.close()


class _Recoding:
    def __init__(
        self, seen: Snapshot, files: FileFolder, target: Folder, progress: Progress
    ) -> None:
        self._seen = seen
        self._state = seen.state
        self._files = files
        self._target = target
        self._progress = progress

    def run(self) -> None:
        total, done = sum(self._state.counts.values()), 0
        for table in TABLES:
            for rows in self._pages(table):
                self._put(table, rows)
                done += len(rows)
                self._progress("rows", min(done, total), total)

    def _pages(self, table: str) -> Iterator[list[Row]]:
        rest = Range(limit=_ROWS)
        while rows := self._seen.scan(table, rest):
            yield rows
            rest = rest.after(rows[-1][0])

    def _put(self, table: str, rows: list[Row]) -> None:
        files = list(self._copied(rows)) if table == ITEMS else []
        turn = self._target.engine.writer(_TIMEOUT)
        try:
            changes = {table: [(key, value, False) for key, value in rows]}
            turn.apply(Commit(self._next(turn.state, table, len(rows)), changes, "", files), True)
        finally:
            turn.release()

    def _next(self, last: State, table: str, added: int) -> State:
        counts = last.counts | {table: last.counts[table] + added}
        return next_state(last, self._state.next_id, counts)

    def _copied(self, rows: list[Row]) -> Iterator[NewFile]:
        """The files of these items; a file that is missing is found when the copy is checked."""
        for key, _ in rows:
            ident = int.from_bytes(key, "big")
            if self._files.path(ident).exists():
                yield ident, self._copy(ident)

    def _copy(self, ident: int) -> str:
        """Write the bytes of a file anew; answers the name that they have until the commit."""
        descriptor, path = self._target.files.create()
        sealer, digest, size = self._target.files.sealer(), hashlib.sha256(), 0
        with (
            open(descriptor, "wb") as target,
            self._files.open_new(self._files.path(ident)) as source,
        ):
            while chunk := source.read(_CHUNK):
                target.writelines(sealer.seal(chunk))
                digest.update(chunk)
                size += len(chunk)
            target.writelines(sealer.end(size, digest.hexdigest()))
            target.flush()
            os.fsync(target.fileno())
        return path.name
