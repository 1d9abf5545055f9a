"""Giving unused pages back, a few thousand rows at a time, between which others get their turn.

Berkeley DB 5.3 can panic, or not come back, when it compacts a B-tree with large keys (its bug
21569). With keys that need pages of their own, 3 of 14 random runs went wrong; with keys of up to
1,000 bytes 5 of 100; with up to 510 bytes none of 160, and none of 60 with large values. Only index
keys can be large, so the index is left as it is as long as one of them is over 255 bytes. The
catalog is too small to matter.
"""

from __future__ import annotations

from berkeleydb import db

from atop.engine.base import INDEX, ITEMS, Range
from atop.engine.bdb import BerkeleyEngine
from atop.engine.environment import COMMITS
from atop.engine.failures import TROUBLE
from atop.engine.progress import Progress
from atop.errors import SnapshotTooOld

MAX_KEY_BYTES = 255
_STEP = 2000


def compact(engine: BerkeleyEngine, progress: Progress) -> list[str]:
    """Compact an engine's tables; answers the names of those left out because of large keys."""
    left_out = []
    with engine.files.held():  # so that what is committed meanwhile is kept to be looked at
        for name in (INDEX, ITEMS, COMMITS):
            try:
                if not _Compaction(engine, name, progress).run():
                    left_out.append(name)
            except TROUBLE as error:
                raise engine.fail(error, reading=True) from error
    engine.checkpoint()
    return left_out


class _Compaction:
    """The compaction of one table."""

    def __init__(self, engine: BerkeleyEngine, name: str, progress: Progress) -> None:
        self._engine = engine
        self._table = engine.environment.tables[name]
        self._name = name
        self._progress = progress
        self._seen = engine.state.serial
        self._total = max(1, engine.state.counts.get(name, 1))

    def run(self) -> bool:
        """Compact it all, or answer ``False`` where that is not safe."""
        if self._name == INDEX and self._has_large_keys():
            return False
        low: bytes | None = None
        done = 0
        while True:
            with self._engine.environment.paused(), self._engine.latch:
                if self._name == INDEX and self._large_keys_since():
                    return False
                low = self._step(low)
            self._engine.relieve()
            if low is None:
                return True
            done += _STEP
            self._progress(self._name, min(done, self._total), self._total)

    def _step(self, low: bytes | None) -> bytes | None:
        """Compact from `low` on; answers where to go on."""
        high = self._key_after(low)
        self._engine.rearrange(
            lambda txn: self._table.compact(start=low, stop=high, flags=db.DB_FREE_SPACE, txn=txn)
        )
        return high

    def _key_after(self, low: bytes | None) -> bytes | None:
        cursor = self._table.cursor()
        try:
            part = {"dlen": 0, "doff": 0}
            row = cursor.first(**part) if low is None else cursor.set_range(low, **part)
            for _ in range(_STEP):
                if not row:
                    return None
                row = cursor.next(**part)
            return bytes(row[0]) if row else None
        finally:
            cursor.close()

    def _has_large_keys(self) -> bool:
        with self._engine.latch:
            self._engine.check()
            if self._table.stat()["over_pg"]:
                return True
        rest = Range(limit=_STEP)
        while keys := self._engine.keys(rest)[1]:
            if any(len(key) > MAX_KEY_BYTES for key in keys):
                return True
            rest = rest.after(keys[-1])
        return False

    def _large_keys_since(self) -> bool:
        """Whether a commit since the last look has brought large keys, or may have."""
        try:
            deltas = self._engine.commits(self._seen)
        except SnapshotTooOld:
            return True
        for delta in deltas:
            if delta.before is None:
                return True
            if any(len(key) > MAX_KEY_BYTES for key, _, _ in delta.before.get(INDEX, ())):
                return True
            self._seen = delta.serial
        return False
