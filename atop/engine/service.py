"""What one client may ask of a store, and what is answered. Knows nothing of sockets.

Reads are answered at once; what has to wait for a turn or a disk is answered later. A client can
harm nobody but itself: what it wants to commit is checked before it is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import lt
from pathlib import Path
from typing import Any, Protocol, TypeVar

from msgspec import structs

from atop.engine import messages
from atop.engine.base import INDEX, TABLES, Changes, Commit, Engine, Landed, Range, State
from atop.engine.bdb import BerkeleyEngine, BerkeleyTurn
from atop.engine.filefolder import FileFolder
from atop.engine.keeping import Keeper
from atop.engine.progress import silent
from atop.engine.reads import Reads
from atop.engine.uploads import Uploads
from atop.errors import (
    AtopError,
    ProtocolError,
    ReadOnlyStore,
    StoreError,
    TransactionLost,
    ValueRefused,
)

T = TypeVar("T")
LATER = object()
Done = Callable[[Any, BaseException | None], None]

_PAGE_ROWS = 1000
_PAGE_BYTES = 16 << 20
_STAGED_BYTES = 2 << 30
_LOOK_EVERY = 0.05
_MAX_IDS = 1 << 20
_READ_BYTES = 4 << 20
_MAX_ID = 1 << 62
MAX_ROWS = 1 << 31


class Timer(Protocol):
    """What will be called later."""

    def cancel(self) -> None:
        """It is not to be called after all."""


class Host(Protocol):
    """What a service needs of the server that it is a part of."""

    engine: Engine
    files: FileFolder
    keeper: Keeper
    timeout: float
    slow: bool

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call it after so many seconds, where services run."""

    def soon(self, call: Callable[[], None]) -> None:
        """Call it as soon as possible where services run; from any thread."""

    def aside(self, work: Callable[[], Any], done: Done) -> None:
        """Do `work` in another thread, then call `done` with its result, where services run."""

    def care(self, work: Callable[[], Any], done: Done) -> None:
        """The same for what may take very long."""

    def synced(self, serial: int, done: Done) -> None:
        """Call `done` when the commit `serial` is on disk, where services run."""

    def end_turn(self, token: bytes) -> None:
        """End the turn of that token, whichever client has it."""

    def status(self) -> dict[str, Any]:
        """How the server is."""

    def stop(self) -> None:
        """Begin to end the server."""


@dataclass
class _Held:
    """A turn that a client has, or waits for."""

    turn: BerkeleyTurn
    timer: Timer
    heard: float = field(default_factory=time.monotonic)
    granted: bool = False

    def end(self) -> None:
        """Give the turn up, or wait for it no longer."""
        self.timer.cancel()
        self.turn.release()


class Service:
    """The requests of one client, called `who`; `reply` sends it a number, a serial and a body.

    A `local` client writes files itself, and one that is `trusted` is the same user as the server.
    """

    def __init__(
        self,
        host: Host,
        who: str,
        pid: int,
        *,
        read_only: bool,
        local: bool,
        trusted: bool,
        reply: Callable[[int, int, Any], None],
        fail: Callable[[int, BaseException], None],
    ) -> None:
        self.who = who
        self.pid = pid
        self.read_only = read_only
        self._host = host
        self._trusted = trusted
        self._reply = reply
        self._fail = fail
        self._turns: dict[bytes, _Held] = {}
        self._reserved: dict[int, int] = {}
        self._staged: dict[bytes, dict[str, list[messages.Columns]]] = {}
        self._staged_bytes = 0
        self._snapshots = 0
        self._uploads = Uploads(host.files, host.aside, local=local)
        self._closed = False

    @property
    def turns(self) -> list[bytes]:
        """The tokens of turns that this client has or waits for."""
        return list(self._turns)

    @property
    def has_turn(self) -> bool:
        """Whether a turn has come that is not over."""
        return any(held.granted for held in self._turns.values())

    def handle(self, request: messages.Request, size: int) -> tuple[int, Any]:
        """The serial and the body of the answer; the body is ``LATER`` if there is none yet.

        :raises AtopError: what the client is to be told.
        """
        if request.writes and self.read_only:
            raise ReadOnlyStore("this connection may only read: open it with the right to write")
        if type(request) is messages.Stage:
            self._staged_bytes += size
        handler = _HANDLERS.get(type(request))
        if handler is None:
            raise ProtocolError(f"{type(request).__name__} in the middle of a connection")
        if self._host.slow and type(request) in _READS:
            return self._read_aside(request, handler)
        return handler(self, request)

    def close(self) -> None:
        """The client has gone: it loses its turn at once, and all that it had not committed."""
        if self._closed:
            return
        self._closed = True
        for token in self.turns:
            self.end_turn(token)
        self._end_snapshots()
        self._uploads.close()
        self._staged.clear()

    def end_turn(self, token: bytes) -> None:
        """Take the turn away, or out of the line, if this client has it."""
        held = self._turns.pop(token, None)
        if held is not None:
            held.end()

    # Reading

    def _read_aside(
        self, request: messages.Request, handler: Callable[[Service, Any], tuple[int, Any]]
    ) -> tuple[int, Any]:
        def done(result: Any, error: BaseException | None) -> None:
            if error is not None:
                self._fail(request.number, error)
            else:
                self._reply(request.number, *result)
            if self._closed:
                self._end_snapshots()

        self._host.aside(lambda: handler(self, request), done)
        return 0, LATER

    def _get(self, asked: messages.Get) -> tuple[int, Any]:
        return self._host.engine.get(_table(asked.table), asked.key)

    def _getmany(self, asked: messages.GetMany) -> tuple[int, Any]:
        return self._host.engine.getmany(_table(asked.table), asked.keys)

    def _count(self, asked: messages.Count) -> tuple[int, Any]:
        return self._host.engine.count(asked.low, asked.high)

    def _scan(self, asked: messages.Scan) -> tuple[int, Any]:
        engine, table = self._host.engine, _table(asked.table)
        if table != INDEX and (asked.within.skip or asked.within.reverse):
            raise ProtocolError("only the index has rows with numbers")
        return _page(lambda part: engine.scan(table, part), asked.within)

    def _join(self, asked: messages.Join) -> tuple[int, Any]:
        engine, known = self._host.engine, frozenset(asked.known)
        return _page(lambda part: engine.join(part, known), asked.within)

    def _look(self, asked: messages.Look) -> tuple[int, Any]:
        engine = self._host.engine
        state = engine.state if asked.serial is None else engine.state_at(asked.serial)
        return state.serial, state

    def _changed(self, asked: messages.Changed) -> tuple[int, Any]:
        return self._host.engine.serial, self._host.engine.changed(asked.since)

    def _commits(self, asked: messages.Commits) -> tuple[int, Any]:
        deltas = self._host.engine.commits(asked.since)
        return self._host.engine.serial, [(each.serial, each.before) for each in deltas]

    def _begin_snapshot(self, asked: messages.BeginSnapshot) -> tuple[int, Any]:
        serial = self._host.engine.begin_snapshot()
        self._snapshots += 1
        return serial, True

    def _end_snapshot(self, asked: messages.EndSnapshot) -> tuple[int, Any]:
        if self._snapshots:
            self._snapshots -= 1
            self._host.engine.end_snapshot()
        else:  # its snapshots are locks on the file ``serial``
            self._host.files.remove(())
        return 0, None

    def _end_snapshots(self) -> None:
        for _ in range(self._snapshots):
            self._host.engine.end_snapshot()
        self._snapshots = 0

    def _outcome(self, asked: messages.Outcome) -> tuple[int, Any]:
        if asked.turn:
            self._host.end_turn(asked.turn)
        return self._host.engine.serial, self._host.engine.outcome(asked.serial, asked.token)

    # Writing

    def _reserve(self, asked: messages.Reserve) -> tuple[int, Any]:
        if not 0 < asked.count <= _MAX_IDS:
            raise ProtocolError(f"{asked.count:,} ids at once")
        first = self._writable.ids.reserve(asked.count)
        self._reserved[first + asked.count] = first
        return 0, first

    def _give_back(self, asked: messages.GiveBack) -> tuple[int, Any]:
        first = self._reserved.pop(asked.end, asked.end)
        self._writable.ids.give_back(max(first, asked.first), asked.end)
        return 0, None

    def _take_turn(self, asked: messages.TakeTurn) -> tuple[int, Any]:
        if asked.turn in self._turns or len(asked.turn) != messages.TOKEN_BYTES:
            raise ProtocolError("a turn needs a token of its own")
        turn = self._writable.ask_turn(
            self.who, self.pid, lambda: self._host.soon(lambda: self._granted(asked))
        )
        timer = self._host.later(asked.timeout, lambda: self._waited(asked.turn, asked.number))
        self._turns[asked.turn] = _Held(turn, timer)
        return self._begin_turn(asked.turn) if turn.held else (0, LATER)

    def _granted(self, asked: messages.TakeTurn) -> None:
        """The turn of somebody who waits has come."""
        held = self._turns.get(asked.turn)
        if held is None or held.granted:
            return
        try:
            self._reply(asked.number, *self._begin_turn(asked.turn))
        except StoreError as error:
            self._fail(asked.number, error)

    def _begin_turn(self, token: bytes) -> tuple[int, Any]:
        held = self._turns[token]
        held.granted, held.heard = True, time.monotonic()
        held.timer.cancel()
        held.timer = self._host.later(self._host.timeout, lambda: self._watch(token))
        try:
            held.turn.begin()
            state = held.turn.state
        except BaseException:
            self.end_turn(token)
            raise
        return state.serial, (state, held.turn.ids[0])

    def _waited(self, token: bytes, number: int) -> None:
        """It has taken too long for the turn to come."""
        held = self._turns.get(token)
        if held is not None and not held.granted and not held.turn.held:
            self.end_turn(token)
            self._fail(number, self._writable.turn.busy())

    def _watch(self, token: bytes) -> None:
        """Who has the turn, says nothing and holds up others, loses it."""
        held = self._turns.get(token)
        if held is None:
            return
        left = held.heard + self._host.timeout - time.monotonic()
        if left <= 0 and self._writable.turn.wanted:
            self.end_turn(token)
        else:
            held.timer = self._host.later(max(left, _LOOK_EVERY), lambda: self._watch(token))

    def _working(self, asked: messages.Working) -> tuple[int, Any]:
        if asked.turn in self._turns:
            self._turns[asked.turn].heard = time.monotonic()
        return 0, None

    def _release(self, asked: messages.Release) -> tuple[int, Any]:
        self.end_turn(asked.turn)
        return 0, None

    def _stage(self, asked: messages.Stage) -> tuple[int, Any]:
        if self._staged_bytes > _STAGED_BYTES:
            self._staged.clear()
            self._staged_bytes = 0
            raise ProtocolError(f"a commit of more than {_STAGED_BYTES:,} bytes")
        tables = self._staged.setdefault(asked.token, {})
        tables.setdefault(_table(asked.table), []).append(asked.columns)
        return 0, None

    def _apply(self, asked: messages.Apply) -> tuple[int, Any]:
        changes = self._take_staged(asked.state.token, asked.changes)
        held = self._turns.pop(asked.turn, None)
        if held is None or not held.granted:
            raise TransactionLost(
                "the transaction lost its turn: it had said nothing for longer than the timeout of "
                f"{self._host.timeout:g} s while others waited; begin it again"
            )
        try:
            commit = self._commit(asked, held.turn.state, changes)
            held.turn.write(commit)
        finally:
            held.end()
        return self._written(asked, commit.state, True)

    def _attempt(self, asked: messages.Attempt) -> tuple[int, Any]:
        token = asked.state.token
        if token in self._turns or len(token) != messages.TOKEN_BYTES:
            raise ProtocolError("a commit needs a token of its own")
        changes = self._take_staged(token, asked.changes)
        reads = Reads.of(_of_tables(asked.keys), _of_tables(asked.ranges))
        turn = self._writable.ask_turn(
            self.who, self.pid,
            lambda: self._host.soon(lambda: self._attempt_later(asked, reads, changes)),
        )
        timer = self._host.later(asked.timeout, lambda: self._waited(token, asked.number))
        self._turns[token] = _Held(turn, timer)
        return self._land(asked, reads, changes) if turn.held else (0, LATER)

    def _attempt_later(
        self, asked: messages.Attempt, reads: Reads, changes: dict[str, Changes]
    ) -> None:
        """The turn of an attempt that waits has come."""
        held = self._turns.get(asked.state.token)
        if held is None or not held.turn.held:
            return
        try:
            serial, body = self._land(asked, reads, changes)
        except (AtopError, OSError) as error:
            self._fail(asked.number, error)
        else:
            if body is not LATER:
                self._reply(asked.number, serial, body)

    def _land(
        self, asked: messages.Attempt, reads: Reads, changes: dict[str, Changes]
    ) -> tuple[int, Any]:
        """Commit it, if nothing that was read has changed."""
        held = self._turns.pop(asked.state.token)
        try:
            held.turn.begin()
            told = replace(asked.state, counts=dict.fromkeys(TABLES, 0))
            landing, changed = reads.landing(self._host.engine, Commit(told, changes))
            told = landing.state
            commit = self._commit(structs.replace(asked, state=told), held.turn.state, changes)
            held.turn.write(commit)
        finally:
            held.end()
        landed = Landed(commit.state, changed)
        return self._written(asked, commit.state, landed)

    def _written(
        self, asked: messages.Apply | messages.Attempt, state: State, body: Any
    ) -> tuple[int, Any]:
        """Answer when the commit is as durable as it should be; its files are removed then."""
        if not (asked.durable or asked.removed):
            return state.serial, body

        def done(_: Any, error: BaseException | None) -> None:
            if error is not None:
                self._fail(asked.number, error)
            else:
                self._reply(asked.number, state.serial, body)

        self._host.synced(state.serial, done)
        return state.serial, LATER

    def _commit(
        self, asked: messages.Apply | messages.Attempt, last: State, changes: dict[str, Changes]
    ) -> Commit:
        """What the client wants committed, checked so that it can harm nobody."""
        told = asked.state
        if told.next_id < last.next_id or told.next_id > _MAX_ID or len(told.token) != 16:
            raise ProtocolError("a commit that leaves no state that can be")
        counts = {name: last.counts[name] + _more(changes.get(name)) for name in TABLES}
        now = round(time.time(), 6)
        state = State(last.serial + 1, told.next_id, counts, told.token, now)
        for table, changed in changes.items():
            self._check_existing(table, changed)
        self._uploads.take(name for _, name in asked.files)
        return Commit(state, changes, asked.note, asked.files, asked.removed)

    def _check_existing(self, table: str, changes: Changes) -> None:
        if changes.inserting:
            return
        keys = [key for key, _, existed in changes if existed]
        if None in self._host.engine.getmany(table, keys)[1]:
            raise ValueRefused(f"a commit changes a row of {table!r} that is not there")

    def _take_staged(
        self, token: bytes, rest: dict[str, messages.Columns]
    ) -> dict[str, Changes]:
        """All the changes of a commit."""
        staged = self._staged.pop(token, {})
        if not self._staged:
            self._staged_bytes = 0
        for table, columns in rest.items():
            staged.setdefault(_table(table), []).append(columns)
        return {table: _joined(parts) for table, parts in staged.items()}

    @property
    def _writable(self) -> BerkeleyEngine:
        engine = self._host.engine
        if not isinstance(engine, BerkeleyEngine):
            raise ReadOnlyStore("this server only reads: write through the one that it reads from")
        return engine

    # Files

    def _new_file(self, asked: messages.NewFile) -> tuple[int, Any]:
        return 0, self._uploads.create()

    def _file_data(self, asked: messages.FileData) -> tuple[int, Any]:
        self._uploads.append(asked.name, asked.data, self._answering(asked.number))
        return 0, LATER

    def _file_end(self, asked: messages.FileEnd) -> tuple[int, Any]:
        done = self._answering(asked.number)
        self._uploads.finish(asked.name, asked.size, asked.sha256, done)
        return 0, LATER

    def _file_drop(self, asked: messages.FileDrop) -> tuple[int, Any]:
        self._uploads.drop(asked.name)
        return 0, None

    def _read_file(self, asked: messages.ReadFile) -> tuple[int, Any]:
        files, size = self._host.files, min(asked.size, _READ_BYTES)
        self._host.aside(
            lambda: files.read(asked.id, asked.offset, size), self._answering(asked.number)
        )
        return 0, LATER

    # Care

    def _care(self, asked: messages.Care) -> tuple[int, Any]:
        keeper, timeout = self._host.keeper, self._host.timeout
        works: dict[str, Callable[[], Any]] = {
            "checkpoint": keeper.checkpoint,
            "compact": lambda: keeper.compact(silent),
            "pages": lambda: keeper.blemishes(timeout, silent),
            "figures": keeper.figures,
            "copy": lambda: keeper.copy_to(Path(asked.path), silent),
        }
        if asked.what not in works:
            raise ProtocolError(f"there is no care called {asked.what!r}")
        if asked.what == "copy" and (self._host.slow or not self._trusted):
            raise StoreError("a store is backed up by its own user, on the machine that has it")
        if self.read_only and asked.what in ("checkpoint", "compact"):
            raise ReadOnlyStore("this connection may only read: open it with the right to write")
        self._host.care(works[asked.what], self._answering(asked.number))
        return 0, LATER

    def _status(self, asked: messages.Status) -> tuple[int, Any]:
        return 0, self._host.status()

    def _stop(self, asked: messages.Stop) -> tuple[int, Any]:
        if not self._trusted:
            raise ReadOnlyStore("a server is stopped by its own user, on its own machine")
        self._host.stop()
        return 0, True

    def _answering(self, number: int) -> Done:
        """What answers that request with a result, or an error."""

        def done(result: Any, error: BaseException | None) -> None:
            if error is not None:
                self._fail(number, error)
            else:
                self._reply(number, self._host.engine.serial, result)

        return done


def _page(
    read: Callable[[Range], tuple[int, Sequence[Any]]], within: Range
) -> tuple[int, tuple[bool, list[Any]]]:
    """The first rows of a range, as many as go into one answer; and whether there are more."""
    if not (0 <= within.limit <= MAX_ROWS and 0 <= within.skip <= MAX_ROWS):
        raise ProtocolError(f"{within.skip} and {within.limit} are no numbers of rows")
    rows: list[Any] = []
    size, rest, first = 0, within, -1
    while True:
        part = rest._replace(limit=min(rest.limit, _PAGE_ROWS))
        serial, page = read(part)
        if first not in (-1, serial):
            return first, (True, rows)
        first = serial
        rows += page
        size += sum(len(key) + len(value or b"") for key, value in page)
        left = within.limit - len(rows)
        if len(page) < part.limit or left <= 0:
            return serial, (False, rows)
        if size > _PAGE_BYTES:
            return serial, (True, rows)
        rest = rest.after(page[-1][0])._replace(limit=left)


def _table(name: str) -> str:
    if name not in TABLES:
        raise ProtocolError(f"there is no table {name!r}")
    return name


def _of_tables(told: Mapping[str, T]) -> Mapping[str, T]:
    return {_table(name): each for name, each in told.items()}


def _joined(parts: list[messages.Columns]) -> Changes:
    keys = [key for part in parts for key in part.keys]
    pairs = [pair for part in parts for pair in part.pairs]
    if len(keys) != len(pairs) or not all(map(lt, keys, keys[1:])):
        raise ProtocolError("the changes of a table are in order of their keys, each with a value")
    return Changes(keys, pairs, not any(existed for _, existed in pairs))


def _more(changes: Changes | None) -> int:
    if changes is None:
        return 0
    return sum((value is not None) - existed for value, existed in changes.pairs)


_HANDLERS: dict[type[messages.Request], Callable[[Service, Any], tuple[int, Any]]] = {
    messages.Get: Service._get,
    messages.GetMany: Service._getmany,
    messages.Scan: Service._scan,
    messages.Join: Service._join,
    messages.Count: Service._count,
    messages.Look: Service._look,
    messages.Changed: Service._changed,
    messages.Commits: Service._commits,
    messages.BeginSnapshot: Service._begin_snapshot,
    messages.EndSnapshot: Service._end_snapshot,
    messages.Reserve: Service._reserve,
    messages.GiveBack: Service._give_back,
    messages.TakeTurn: Service._take_turn,
    messages.Working: Service._working,
    messages.Release: Service._release,
    messages.Stage: Service._stage,
    messages.Apply: Service._apply,
    messages.Attempt: Service._attempt,
    messages.Outcome: Service._outcome,
    messages.NewFile: Service._new_file,
    messages.FileData: Service._file_data,
    messages.FileEnd: Service._file_end,
    messages.FileDrop: Service._file_drop,
    messages.ReadFile: Service._read_file,
    messages.Care: Service._care,
    messages.Status: Service._status,
    messages.Stop: Service._stop,
}

# What waits for another server where the engine is slow.
_READS = {
    messages.Get, messages.GetMany, messages.Scan, messages.Join, messages.Count, messages.Look,
    messages.Changed, messages.Commits, messages.BeginSnapshot, messages.EndSnapshot,
    messages.Outcome,
}  # fmt: skip
