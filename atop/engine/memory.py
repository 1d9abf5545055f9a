"""The engine of ``Store()``: the same seam, and nothing on disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Container, Mapping, Sequence

from atop.engine import history
from atop.engine.base import (
    BeforeImage,
    Commit,
    Delta,
    Difference,
    Engine,
    JoinedRow,
    Range,
    Row,
    State,
)
from atop.engine.filefolder import FileFolder
from atop.engine.ids import Ids
from atop.engine.overlay import Nothing, Overlay
from atop.engine.turn import LocalTurn, TurnLock
from atop.errors import DamagedStore, SnapshotTooOld, StoreClosed

Changes = Mapping[str, Sequence[Difference]]


class MemoryEngine(Engine):
    """The tables are an overlay on nothing."""

    def __init__(self, files: FileFolder) -> None:
        self.files = files
        self.ids = Ids(1)
        self._tables = Overlay(Nothing())
        self._latch = threading.RLock()
        self.turn = TurnLock("the store in memory")
        self._state = State()
        self._deltas: deque[tuple[Delta, int, State]] = deque()
        self._kept = 0
        self._closed = False

    @property
    def state(self) -> State:
        self._check()
        return self._state

    @property
    def last(self) -> State:
        """What the last commit left, also when the store is closed."""
        return self._state

    def get(self, table: str, key: bytes) -> tuple[int, bytes | None]:
        with self._latch:
            return self.state.serial, self._tables.get(table, key)

    def getmany(self, table: str, keys: Sequence[bytes]) -> tuple[int, list[bytes | None]]:
        with self._latch:
            return self.state.serial, self._tables.getmany(table, keys)

    def count(self, low: bytes | None, high: bytes | None) -> tuple[int, int]:
        with self._latch:
            return self.state.serial, self._tables.count(low, high)

    def scan(self, table: str, within: Range) -> tuple[int, list[Row]]:
        with self._latch:
            return self.state.serial, self._tables.scan(table, within)

    def join(self, within: Range, known: Container[bytes]) -> tuple[int, list[JoinedRow]]:
        with self._latch:
            return self.state.serial, self._tables.join(within, known)

    def commits(self, since: int) -> list[Delta]:
        with self._latch:
            newer = [delta for delta, _, _ in self._deltas if delta.serial > since]
            if len(newer) < self.state.serial - since:
                raise SnapshotTooOld(f"the commits after {since} are no longer kept: begin anew")
            return newer

    def begin_snapshot(self, serial: int | None = None) -> int:
        with self._latch:
            held = self.serial if serial is None else min(serial, self.serial)
            self.files.hold(held)
            return held

    def end_snapshot(self, serial: int) -> None:
        self.files.let_go(serial)

    def state_at(self, serial: int) -> State:
        with self._latch:
            states = (self.state, *(state for _, _, state in self._deltas))
            for state in states:
                if state.serial == serial:
                    return state
        raise SnapshotTooOld(f"the commit {serial} is no longer kept: begin anew")

    def outcome(self, serial: int, token: bytes) -> bool | None:
        with self._latch:
            states = [state for _, _, state in self._deltas if state.serial >= serial]
            if any(state.token == token for state in states):
                return True
            return None if len(states) <= self.state.serial - serial else False

    def reserve(self, count: int) -> int:
        return self.ids.reserve(count)

    def give_back(self, first: int, end: int) -> None:
        self.ids.give_back(first, end)

    def writer(self, timeout: float) -> MemoryTurn:
        turn = MemoryTurn(self)
        self.turn.acquire(turn.ticket, timeout)
        self._check()
        turn.begin()
        return turn

    def close(self) -> None:
        with self._latch:
            self._closed = True

    def apply(self, commit: Commit) -> None:
        """Make all changes at once, and remember what they changed."""
        with self._latch:
            self._check()
            assert commit.state.serial == self._state.serial + 1
            images = {name: self._images(name, rows) for name, rows in commit.changes.items()}
            try:
                for name, rows in commit.changes.items():
                    for key, value, existed in rows:
                        self._tables.tables[name].change(key, value, existed)
                self._remember(Delta(commit.state.serial, images), commit.state)
                self._state = commit.state
                self.ids.use(commit.state.next_id)
            except BaseException:
                self._restore(images)
                raise

    def _check(self) -> None:
        if self._closed:
            raise StoreClosed("the store in memory is closed: its content is gone")

    def _images(self, name: str, rows: Sequence[Difference]) -> list[BeforeImage]:
        images = []
        for key, value, existed in rows:
            old = self._tables.get(name, key)
            if existed and old is None:
                raise DamagedStore(f"table {name!r} has lost the key {key.hex()}")
            images.append((key, old, value is not None))
        return images

    def _restore(self, images: dict[str, list[BeforeImage]]) -> None:
        for name, rows in images.items():
            for key, value, _ in rows:
                if value is not None or self._tables.get(name, key) is not None:
                    self._tables.tables[name].change(key, value, False)

    def _remember(self, delta: Delta, state: State) -> None:
        tables = (delta.before or {}).values()
        size = sum(len(key) + len(value or b"") for rows in tables for key, value, _ in rows)
        self._deltas.append((delta, size, state))
        self._kept += size
        while self._kept > history.KEPT_BYTES:
            self._kept -= self._deltas.popleft()[1]


class MemoryTurn(LocalTurn[MemoryEngine]):
    """The turn of a writer in memory."""

    def working(self) -> None:
        """A turn in this process is never lost."""

    @property
    def can_spill(self) -> bool:
        return False

    def spill(self, changes: Changes) -> None:
        raise AssertionError("nothing is freed by spilling to memory")

    def apply(self, commit: Commit, durable: bool) -> None:
        engine = self._engine
        assert engine.turn.held(self.ticket)
        try:
            engine.files.adopt(commit.files)
            engine.apply(commit)
            self.applied = True
        finally:
            self.release()
            if not self.applied:
                engine.files.disown(commit.files)
        engine.files.remove(commit.removed, commit.state.serial)

    def release(self) -> None:
        engine = self._engine
        if self._reserved is not None and engine.turn.held(self.ticket):
            self._reserved.close(engine.last.next_id)
        engine.turn.release(self.ticket)

    def __del__(self) -> None:
        self.release()
