"""A store that is read through another server, and served on: with what was read before kept.

Each answer is of one commit, and says of which. While the other server is out of reach, what is
known of the last commit is answered on, and anything else at once with ``StoreUnreachable``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from atop.engine.address import Address
from atop.engine.answers import Answers
from atop.engine.base import CATALOG, Engine, Range, Row, State
from atop.engine.keeping import Blemish, Figures, Keeper
from atop.engine.progress import Progress
from atop.engine.remotelink import Access, Called, RemoteLink
from atop.errors import (
    ReadOnlyStore,
    SnapshotTooOld,
    StoreError,
    StoreFailed,
    StoreUnreachable,
)

T = TypeVar("T")
log = logging.getLogger("atop.server")

_LOOK_EVERY = 0.02
_PAUSE = 0.25


class Upstream(RemoteLink):
    """The engine of the store at `address`. Whoever asks never waits for it to come back."""

    def __init__(
        self, address: Address, access: Access, *, cache_bytes: int, timeout: float
    ) -> None:
        self.lost_at = 0.0
        self.last = State()
        self.failed = threading.Event()
        self.told: Callable[[int], None] = lambda serial: None
        self._answers = Answers(cache_bytes)
        self._catalog: tuple[int, list[Row]] = (0, [])
        self._end = threading.Event()
        super().__init__(address, access, read_only=True, timeout=timeout)
        self._watcher = threading.Thread(target=self._watch, name="atop-upstream", daemon=True)
        self._watcher.start()

    @property
    def serial(self) -> int:
        engine = self._engine
        return self.last.serial if engine is None else engine.serial

    @property
    def state(self) -> State:
        with suppress(StoreUnreachable):
            self.last = super().state
        return self.last

    def scan(self, table: str, within: Range) -> tuple[int, list[Row]]:
        if table != CATALOG:
            return super().scan(table, within)
        serial, rows = self._whole_catalog()
        low, high = within.low or b"", within.high
        found = [row for row in rows if low <= row[0] and (high is None or row[0] < high)]
        return serial, found[: within.limit]

    def about(self) -> dict[str, Any]:
        """How far it is behind, as far as can be told."""
        behind = max(0, self.serial - self._answers.serial) if self._answers.serial else 0
        return {"upstream": {
            "address": self.place,
            "reachable": not self.lost_at,
            "out_of_reach_since": self.lost_at or None,
            "serial": self.serial,
            "kept_serial": self._answers.serial,
            "behind": behind,
        }}

    def close(self) -> None:
        self._end.set()
        self._watcher.join()
        super().close()

    def _whole_catalog(self) -> tuple[int, list[Row]]:
        """All rows of the table that every client reads first; kept while nobody changes it."""
        kept, rows = self._catalog
        serial = self.serial
        if kept and (kept == serial or not self._is_changed(CATALOG, kept)):
            self._catalog = max(kept, serial), rows
            return self._catalog
        self._catalog = super().scan(CATALOG, Range())
        return self._catalog

    def _is_changed(self, table: str, since: int) -> bool:
        """Whether the table was changed after the commit `since`, or may have been."""
        try:
            return table in self.changed(since)
        except SnapshotTooOld:
            return True

    def _find(self) -> Called:
        called = self._call(self.patience)
        called.engine.answers = self._answers
        return called

    def _try(self, ask: Callable[[Engine], T]) -> T:
        engine = self._engine
        if engine is None:
            if self._found:
                raise StoreUnreachable(f"{self.place} is out of reach: try again", self.place)
            engine = self._attach()
        return ask(engine)

    def _watch(self) -> None:
        """Take in what the other server tells, and find it again when it has gone."""
        while not self._end.wait(_LOOK_EVERY):
            try:
                self._look()
            except StoreFailed as error:
                log.error("%s", error)
                self.failed.set()
                return
            except StoreError as error:
                self._lose(error)
                self._end.wait(_PAUSE)

    def _look(self) -> None:
        backing = self._backing
        assert backing is not None
        if self.lost_at or backing.connection.lost:
            self._renew(backing)
            return
        serial = self.serial
        if serial > self.last.serial:
            self.last = backing.engine.state
            self.told(self.last.serial)

    def _renew(self, old: Called) -> None:
        """Another connection in place of the old one, whose answers were kept meanwhile."""
        if not self.lost_at:
            raise StoreUnreachable(old.connection.reason, self.place)
        new = self._find()
        try:
            self._check_known(new.engine)
        except BaseException:
            new.close()
            raise
        with self._lock:
            self._take_snapshots(new.engine)
            self._backing, self._engine = new, new.engine
        old.close()
        log.info("%s is back after %.1f s", self.place, time.time() - self.lost_at)
        self.lost_at = 0.0

    def _lose(self, error: StoreError) -> None:
        if not self.lost_at:
            self.lost_at = time.time()
            log.warning("%s is out of reach: %s", self.place, error)


class UpstreamKeeper(Keeper):
    """The care of a store of which only reading is served."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream.files)
        self._upstream = upstream

    def checkpoint(self) -> None:
        raise _refused()

    def compact(self, progress: Progress) -> tuple[int, list[str]]:
        raise _refused()

    def blemishes(self, timeout: float, progress: Progress) -> list[Blemish]:
        return self._upstream.keeper.blemishes(timeout, progress)

    def figures(self) -> Figures:
        return self._upstream.keeper.figures()

    def copy_to(self, folder: Path, progress: Progress) -> int:
        raise _refused()


def _refused() -> ReadOnlyStore:
    return ReadOnlyStore("this server only reads: ask the one that it reads from")
