"""What is asked over a connection, and what is remembered of the answers: all but writing."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from typing import Any

from atop.engine import messages
from atop.engine.answers import Answers
from atop.engine.base import (
    CATALOG,
    INDEX,
    ITEMS,
    Delta,
    Engine,
    JoinedRow,
    Range,
    Row,
    State,
    suffix,
)
from atop.engine.connection import Connection
from atop.engine.published import Published
from atop.errors import StoreBusy

_CATALOG_ROWS = 500
_CACHE_BYTES = 16 << 20
_TRIES = 20


class RemoteReads(Engine):
    """What the server at the other end of `connection` has.

    On the machine of the server `published` tells the newest serial without asking; elsewhere that
    is what the server has told by itself, so far as it has arrived.
    """

    def __init__(
        self,
        connection: Connection,
        published: Published | None = None,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        self.connection = connection
        self.answers = Answers(cache_bytes)
        self._published = published
        self._ahead: dict[tuple[Range, bool], int] = {}

    @property
    def serial(self) -> int:
        if self._published is not None:
            return self._published.read()
        self.connection.poll()
        return self.connection.serial

    @property
    def state(self) -> State:
        state: State = self.ask(messages.Look)[1]
        return state

    def get(self, table: str, key: bytes) -> tuple[int, bytes | None]:
        serial = self._moved()
        found = self.answers.row(table, key, serial)
        if found is not None:
            return serial, found[0]
        if table == CATALOG:
            return self._get_from_catalog(key)
        serial, value = self.ask(messages.Get, table, key)
        self.answers.keep_rows(table, ((key, value),), serial)
        return serial, value

    def _get_from_catalog(self, key: bytes) -> tuple[int, bytes | None]:
        """A row of the catalog: it is small, and who asks for one of its rows will want others."""
        serial, rows = self.scan(CATALOG, Range(limit=_CATALOG_ROWS))
        self.answers.keep_rows(CATALOG, rows, serial)
        found = dict(rows)
        if key in found or len(rows) < _CATALOG_ROWS:
            return serial, found.get(key)
        return self.ask(messages.Get, CATALOG, key)

    def getmany(self, table: str, keys: Sequence[bytes]) -> tuple[int, list[bytes | None]]:
        if not keys:
            return self._moved(), []
        serial, values = self.ask(messages.GetMany, table, list(keys))
        self.answers.keep_rows(table, zip(keys, values, strict=True), serial)
        return serial, values

    def count(self, low: bytes | None, high: bytes | None) -> tuple[int, int]:
        serial = self._moved()
        counted = self.answers.count(low, high, serial)
        if counted is None:
            serial, counted = self.ask(messages.Count, low, high)
            self.answers.keep_count(low, high, counted, serial)
        return serial, counted

    def scan(self, table: str, within: Range) -> tuple[int, list[Row]]:
        if table != INDEX:
            return self._whole(lambda part: self.ask(messages.Scan, table, part), within)
        serial, keys = self.keys(within)
        return serial, [(key, b"") for key in keys]

    def keys(self, within: Range) -> tuple[int, list[bytes]]:
        serial = self._moved()
        keys = self.answers.page(within, serial)
        if keys is None:
            serial, rows = self._read(messages.Scan, within)
            keys = [key for key, _ in rows]
            self.answers.keep_page(within, keys, serial)
        return serial, keys

    def join(self, within: Range, known: Container[bytes]) -> tuple[int, list[JoinedRow]]:
        serial = self._moved()
        found = self.answers.joined(within, known, serial)
        if found is not None:
            rows, missing = found
            if not missing:
                return serial, rows
            at, records = self.getmany(ITEMS, missing)
            if at == serial:
                got = dict(zip(missing, records, strict=True))
                return serial, [(key, got.get(suffix(key), record)) for key, record in rows]
        serial, rows = self._read(messages.Join, within)
        self.answers.keep_page(within, [key for key, _ in rows], serial)
        self.answers.keep_rows(ITEMS, ((suffix(key), record) for key, record in rows), serial)
        return serial, [
            (key, None if suffix(key) in known else record) for key, record in rows
        ]

    def foresee(self, within: Range, *, records: bool) -> None:
        if self.answers.page(within, self._moved()) is not None:
            return
        while self._ahead:
            with suppress(KeyError):  # another thread has taken it
                self.connection.forget(self._ahead.popitem()[1])
        kind = messages.Join if records else messages.Scan
        self._ahead[within, records] = self.connection.begin(kind, *_fields(kind, within))

    def _read(self, kind: type[messages.Request], within: Range) -> tuple[int, list[Any]]:
        """Rows of the index; if they were asked for in advance, from the answer to that."""
        ahead = self._ahead.pop((within, kind is messages.Join), None)
        if ahead is not None:
            serial, (more, rows) = self.connection.wait(ahead)
            if not more and serial >= self.answers.serial:
                return serial, rows
        return self._whole(lambda part: self.ask(kind, *_fields(kind, part)), within)

    def _moved(self) -> int:
        """The serial of the last commit, to which all that was answered before is moved on."""
        serial = self.serial
        self.answers.move(serial, self.changed)
        return serial

    def changed(self, since: int) -> dict[str, list[bytes]]:
        changed: dict[str, list[bytes]] = self.ask(messages.Changed, since)[1]
        return changed

    def commits(self, since: int) -> list[Delta]:
        return [Delta(*each) for each in self.ask(messages.Commits, since)[1]]

    def begin_snapshot(self, serial: int | None = None) -> int:
        if self._published is None:
            return self.ask(messages.BeginSnapshot, serial)[0]
        return self._published.hold(serial)

    def end_snapshot(self, serial: int) -> None:
        if self._published is None:
            self.connection.tell(messages.EndSnapshot, serial)
        elif self._published.let_go(serial):
            self.connection.tell(messages.EndSnapshot)

    def state_at(self, serial: int) -> State:
        state: State = self.ask(messages.Look, serial)[1]
        return state

    def outcome(self, serial: int, token: bytes, turn: bytes = b"") -> bool | None:
        known: bool | None = self.ask(messages.Outcome, turn or token, serial, token)[1]
        return known

    def reserve(self, count: int) -> int:
        first: int = self.ask(messages.Reserve, count)[1]
        return first

    def give_back(self, first: int, end: int) -> None:
        self.connection.tell(messages.GiveBack, first, end)

    def close(self) -> None:
        self.connection.close()

    def ask(
        self, kind: type[messages.Request], *fields: Any, patience: float | None = None
    ) -> tuple[int, Any]:
        """The serial and the body of the answer."""
        return self.connection.ask(kind, *fields, patience=patience)

    def _whole(
        self, ask: Callable[[Range], tuple[int, tuple[bool, list[Any]]]], within: Range
    ) -> tuple[int, list[Any]]:
        """All rows of one moment, though the server may give a part of them at a time."""
        for _ in range(_TRIES):
            serial, (more, rows) = ask(within)
            rest = within
            while more:
                rest = rest.after(rows[-1][0])._replace(limit=within.limit - len(rows))
                later, (more, part) = ask(rest)
                if later != serial:
                    break
                rows += part
            else:
                return serial, rows
        raise StoreBusy(
            f"{self.connection.place}: others commit faster than {within.limit:,} rows can be "
            "read at once: read fewer at a time",
            self.connection.place,
        )


def _fields(kind: type[messages.Request], within: Range) -> tuple[Any, ...]:
    return (within, []) if kind is messages.Join else (INDEX, within)
