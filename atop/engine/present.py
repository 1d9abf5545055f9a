"""The committed present of an engine, and snapshots of it."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import TypeVar

from atop.engine.base import Engine, JoinedRow, Range, Row, State
from atop.engine.overlay import Overlay

T = TypeVar("T")


class Present:
    """The committed present of an engine; each read is of its own moment.

    ``serial`` is that of the newest commit that any read has seen.
    """

    def __init__(self, engine: Engine, serial: int) -> None:
        self._engine = engine
        self.serial = serial

    def get(self, table: str, key: bytes) -> bytes | None:
        serial, value = self._engine.get(table, key)  # as _seen() does, without its call
        if serial > self.serial:
            self.serial = serial
        return value

    def getmany(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._seen(self._engine.getmany(table, keys))

    def count(self, low: bytes | None, high: bytes | None) -> int:
        return self._seen(self._engine.count(low, high))

    def scan(self, table: str, within: Range) -> list[Row]:
        return self._seen(self._engine.scan(table, within))

    def keys(self, within: Range) -> list[bytes]:
        return self._seen(self._engine.keys(within))

    def join(self, within: Range, known: Container[bytes]) -> list[JoinedRow]:
        return self._seen(self._engine.join(within, known))

    def _seen(self, answer: tuple[int, T]) -> T:
        self.serial = max(self.serial, answer[0])
        return answer[1]


class Snapshot:
    """The tables as they were at one commit, the last one or that `serial`, whatever came since.

    It holds nothing up: it merges the before-images of later commits into what it reads. An
    answer put together from several reads is given only if no commit came between them.

    :raises SnapshotTooOld: from a read, when a later commit is not kept any more.
    """

    def __init__(self, engine: Engine, serial: int | None = None) -> None:
        self._engine = engine
        self.serial = engine.begin_snapshot(serial)
        self._open = True
        self._state: State | None = None
        self._present = Present(engine, self.serial)
        self._overlay = Overlay(self._present)
        self._known = self.serial

    @property
    def state(self) -> State:
        """What that commit left."""
        if self._state is None:
            self._state = self._engine.state_at(self.serial)
        return self._state

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._stable(lambda: self._overlay.get(table, key))

    def getmany(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._stable(lambda: self._overlay.getmany(table, keys))

    def count(self, low: bytes | None, high: bytes | None) -> int:
        return self._stable(lambda: self._overlay.count(low, high))

    def scan(self, table: str, within: Range) -> list[Row]:
        return self._stable(lambda: self._overlay.scan(table, within))

    def keys(self, within: Range) -> list[bytes]:
        return self._stable(lambda: self._overlay.keys(within))

    def join(self, within: Range, known: Container[bytes]) -> list[JoinedRow]:
        return self._stable(lambda: self._overlay.join(within, known))

    def close(self) -> None:
        """Files may be removed now that this snapshot saw. A second call does nothing."""
        if self._open:
            self._open = False
            self._engine.end_snapshot(self.serial)

    def _stable(self, read: Callable[[], T]) -> T:
        while True:
            answer = read()
            if self._present.serial == self._known:
                return answer
            for delta in self._engine.commits(self._known):
                self._overlay.keep(delta)
                self._known = delta.serial
            self._present.serial = self._known
