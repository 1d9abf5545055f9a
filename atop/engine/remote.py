"""The seam over a connection: an engine, and the writer's turn, that are in another process."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from atop.engine import messages
from atop.engine.answers import Answers
from atop.engine.base import (
    CATALOG,
    INDEX,
    ITEMS,
    TABLES,
    Changes,
    Commit,
    Delta,
    Difference,
    Engine,
    JoinedRow,
    Landed,
    Range,
    Row,
    State,
    suffix,
)
from atop.engine.connection import Connection
from atop.engine.ids import BLOCK
from atop.engine.keeping import Blemish, Figures, Keeper
from atop.engine.progress import Progress
from atop.engine.published import Published
from atop.engine.reads import Reads
from atop.errors import (
    CommitInDoubt,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreUnreachable,
    TransactionLost,
    ValueRefused,
)

_PART_ROWS = 20_000
_PART_BYTES = 8 << 20
_READS_BYTES = 16 << 20
_PATIENCE = 10.0
_WORKING_EVERY = 0.5
_LONGEST = 1e9
_CATALOG_ROWS = 500
_CACHE_BYTES = 16 << 20
_CARE_PATIENCE = 24 * 3600.0
_TRIES = 20

FindOut = Callable[[bytes, int, bytes], bool | None]


class RemoteEngine(Engine):
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
        serial = self._moved()
        keys = self.answers.page(within, serial)
        if keys is None:
            serial, rows = self._read(messages.Scan, within)
            keys = [key for key, _ in rows]
            self.answers.keep_page(within, keys, serial)
        return serial, [(key, b"") for key in keys]

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

    def begin_snapshot(self) -> int:
        if self._published is None:
            return self.ask(messages.BeginSnapshot)[0]
        self._published.hold()
        return self._published.read()

    def end_snapshot(self) -> None:
        if self._published is None or self._published.let_go():
            self.connection.tell(messages.EndSnapshot)

    def state_at(self, serial: int) -> State:
        state: State = self.ask(messages.Look, serial)[1]
        return state

    def outcome(self, serial: int, token: bytes, turn: bytes = b"") -> bool | None:
        known: bool | None = self.ask(messages.Outcome, turn or token, serial, token)[1]
        return known

    def writer(self, timeout: float, find_out: FindOut | None = None) -> RemoteTurn:
        return RemoteTurn(self, timeout, find_out)

    def attempt(self, commit: Commit, reads: Reads, durable: bool, timeout: float) -> Landed:
        read = reads.condensed(_READS_BYTES)
        keys = {table: list(found) for table, found in read.keys.items() if found}
        spans = {table: found for table, found in read.spans.items() if found}
        state = replace(commit.state, counts=dict.fromkeys(TABLES, 0))
        landed: Landed = self.ask(
            messages.Attempt, state, keys, spans, self.staged(commit), commit.note, durable,
            timeout, list(commit.files), list(commit.removed),
            patience=timeout + max(_PATIENCE, self.connection.timeout),
        )[1]
        self.answers.committed(landed.state.serial, lambda: _keys(commit))
        return landed

    def reserve(self, count: int) -> int:
        first: int = self.ask(messages.Reserve, count)[1]
        return first

    def give_back(self, first: int, end: int) -> None:
        self.connection.tell(messages.GiveBack, first, end)

    def staged(self, commit: Commit) -> dict[str, messages.Columns]:
        """The changes of a commit; what is too large for one message is sent ahead."""
        rest = {}
        for table in TABLES:
            parts = list(_parts(Changes.of(commit.changes.get(table, ()))))
            for part in parts[:-1]:
                self.connection.tell(messages.Stage, commit.state.token, table, part)
            if parts:
                rest[table] = parts[-1]
        return rest

    def new_file(self) -> str:
        """The name of a new file, which the server has made."""
        name: str = self.ask(messages.NewFile)[1]
        return name

    def drop_file(self, name: str) -> None:
        """That file is not wanted."""
        self.connection.tell(messages.FileDrop, name)

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


class _HeldEngine(RemoteEngine):
    """What the holder of a turn reads: it stands still, or the turn is lost."""

    def __init__(self, engine: RemoteEngine, turn: RemoteTurn) -> None:
        super().__init__(engine.connection)
        self.answers = engine.answers
        self._turn = turn

    @property
    def serial(self) -> int:
        return self._turn.state.serial

    def ask(
        self, kind: type[messages.Request], *fields: Any, patience: float | None = None
    ) -> tuple[int, Any]:
        self._turn.working()
        try:
            serial, body = self.connection.ask(kind, *fields, patience=patience)
        except (StoreUnreachable, StoreClosed) as error:
            raise _lost(str(error)) from error
        if serial and serial != self._turn.state.serial:
            raise _lost("others have had the turn since, as it had seemed forgotten")
        return serial, body


class RemoteTurn:
    """The one writer's turn, in the line of the server. It ends when the connection does.

    `find_out` tells whether a commit is in whose answer did not come: from the token of a turn, a
    serial, and the token of the commit.
    """

    _over = True

    def __init__(
        self, engine: RemoteEngine, timeout: float, find_out: FindOut | None = None
    ) -> None:
        self.applied = False
        self.token = secrets.token_bytes(messages.TOKEN_BYTES)
        self._connection = engine.connection
        self._find_out = find_out or (lambda *asked: engine.outcome(asked[1], asked[2], asked[0]))
        self._over = False
        self._told = time.monotonic()
        timeout = min(max(timeout, 0.0), _LONGEST)
        patience = timeout + self._connection.timeout
        try:
            _, (state, first) = self._connection.ask(
                messages.TakeTurn, self.token, timeout, patience=patience
            )
        except BaseException:
            self.release()
            raise
        welcome = self._connection.welcome
        self._every = min(_WORKING_EVERY, welcome.timeout / 3) if welcome else _WORKING_EVERY
        self.state: State = state
        self.ids = first, first + BLOCK
        self.engine = _HeldEngine(engine, self)

    @property
    def can_spill(self) -> bool:
        return False

    def spill(self, changes: Mapping[str, Sequence[Difference]]) -> None:
        raise AssertionError("nothing of a commit is sent before its end")

    def more_ids(self) -> tuple[int, int]:
        first: int = self.engine.ask(messages.Reserve, BLOCK)[1]
        return first, first + BLOCK

    def working(self) -> None:
        if self._connection.lost:
            raise _lost(self._connection.reason)
        if time.monotonic() - self._told > self._every:
            self._told = time.monotonic()
            self._connection.tell(messages.Working, self.token)

    def apply(self, commit: Commit, durable: bool) -> None:
        if self._over:
            raise _lost("the turn is over")
        if self._connection.lost:
            raise _lost(self._connection.reason)
        self._over = True
        try:
            self._commit(commit, durable)
            self.applied = True
            self.engine.answers.committed(commit.state.serial, lambda: _keys(commit))
        except (TransactionLost, ValueRefused):
            raise
        except BaseException as error:
            self.applied = self._is_in(commit, error)
            if not isinstance(error, (StoreUnreachable, StoreBusy)):
                raise
            if not self.applied:
                raise _lost(str(error)) from error

    def release(self) -> None:
        if not self._over:
            self._over = True
            self._connection.tell(messages.Release, self.token)

    def _commit(self, commit: Commit, durable: bool) -> None:
        self._connection.ask(
            messages.Apply, self.token, commit.state, self.engine.staged(commit), commit.note,
            durable, list(commit.files), list(commit.removed),
            patience=max(_PATIENCE, self._connection.timeout),
        )

    def _is_in(self, commit: Commit, error: BaseException) -> bool:
        """Whether the commit is in, which did not end with an answer."""
        state = commit.state
        try:
            known = self._find_out(self.token, state.serial, state.token)
        except StoreError as trouble:
            raise CommitInDoubt(
                f"it is not known whether commit {state.serial} is in: {trouble}", trouble.path
            ) from error
        if known is None:
            raise CommitInDoubt(f"it is no longer known whether commit {state.serial} is in")
        return known

    def __del__(self) -> None:
        self.release()


class RemoteKeeper(Keeper):
    """The care of a store that another process owns, and has to take."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def checkpoint(self) -> None:
        self._do("checkpoint")

    def compact(self, progress: Progress) -> tuple[int, list[str]]:
        freed, left_out = self._do("compact")
        return freed, left_out

    def blemishes(self, timeout: float, progress: Progress) -> list[Blemish]:
        return [Blemish(*each) for each in self._do("pages")]

    def figures(self) -> Figures:
        figures: Figures = self._do("figures")
        return figures

    def copy_to(self, folder: Path, progress: Progress) -> int:
        serial: int = self._do("copy", str(folder))
        return serial

    def _do(self, what: str, path: str = "") -> Any:
        return self._connection.ask(messages.Care, what, path, patience=_CARE_PATIENCE)[1]


def _keys(commit: Commit) -> dict[str, list[bytes]]:
    return {name: Changes.of(changes).keys for name, changes in commit.changes.items()}


def _fields(kind: type[messages.Request], within: Range) -> tuple[Any, ...]:
    return (within, []) if kind is messages.Join else (INDEX, within)


def _lost(why: str) -> TransactionLost:
    return TransactionLost(f"the transaction is lost, and nothing of it was kept ({why}): "
                           "begin it again, or use store.transact")


def _parts(changes: Changes) -> Iterator[messages.Columns]:
    """The changes of one table in messages of a size that goes through everywhere."""
    keys, pairs = changes.keys, changes.pairs
    start = size = 0
    for at, (key, (value, _)) in enumerate(zip(keys, pairs, strict=True)):
        size += len(key) + len(value or b"")
        if size > _PART_BYTES or at - start >= _PART_ROWS:
            yield messages.Columns(keys[start:at], pairs[start:at], changes.inserting)
            start, size = at, len(key) + len(value or b"")
    if start < len(keys):
        yield messages.Columns(keys[start:], pairs[start:], changes.inserting)
