"""What one client commits, checked before it is written, so that it can harm nobody but itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import lt
from typing import Any, TypeVar

from msgspec import structs

from atop.engine import messages
from atop.engine.base import TABLES, Changes, Commit, Landed, State
from atop.engine.host import LATER, Host, Replies, known_table
from atop.engine.reads import Reads
from atop.engine.servedturns import ServedTurns
from atop.engine.uploads import Uploads
from atop.errors import AtopError, ProtocolError, TransactionLost, ValueRefused

T = TypeVar("T")

_STAGED_BYTES = 2 << 30
_MAX_IDS = 1 << 20
_MAX_ID = 1 << 62


class ServedWrites:
    """The commits of the client that has these `turns` and `uploads`, and the ids for them."""

    def __init__(
        self, host: Host, turns: ServedTurns, uploads: Uploads, replies: Replies
    ) -> None:
        self._host = host
        self._turns = turns
        self._uploads = uploads
        self._replies = replies
        self._reserved: dict[int, int] = {}
        self._staged: dict[bytes, dict[str, list[messages.Columns]]] = {}
        self._staged_bytes = 0

    def reserve(self, asked: messages.Reserve) -> tuple[int, Any]:
        if not 0 < asked.count <= _MAX_IDS:
            raise ProtocolError(f"{asked.count:,} ids at once")
        first = self._turns.engine.ids.reserve(asked.count)
        self._reserved[first + asked.count] = first
        return 0, first

    def give_back(self, asked: messages.GiveBack) -> tuple[int, Any]:
        first = self._reserved.pop(asked.end, asked.end)
        self._turns.engine.ids.give_back(max(first, asked.first), asked.end)
        return 0, None

    def weigh(self, size: int) -> None:
        """A part of a commit is about to come, of so many bytes."""
        self._staged_bytes += size

    def stage(self, asked: messages.Stage) -> tuple[int, Any]:
        if self._staged_bytes > _STAGED_BYTES:
            self._staged.clear()
            self._staged_bytes = 0
            raise ProtocolError(f"a commit of more than {_STAGED_BYTES:,} bytes")
        tables = self._staged.setdefault(asked.token, {})
        tables.setdefault(known_table(asked.table), []).append(asked.columns)
        return 0, None

    def apply(self, asked: messages.Apply) -> tuple[int, Any]:
        changes = self._take_staged(asked.state.token, asked.changes)
        held = self._turns.pop(asked.turn)
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

    def attempt(self, asked: messages.Attempt) -> tuple[int, Any]:
        token = asked.state.token
        if token in self._turns or len(token) != messages.TOKEN_BYTES:
            raise ProtocolError("a commit needs a token of its own")
        changes = self._take_staged(token, asked.changes)
        reads = Reads.of(_of_tables(asked.keys), _of_tables(asked.ranges))
        come = self._turns.ask(
            token, asked.number, asked.timeout, lambda: self._land_later(asked, reads, changes)
        )
        return self._land(asked, reads, changes) if come else (0, LATER)

    def close(self) -> None:
        """The client has gone: what it had not committed is forgotten."""
        self._staged.clear()

    def _land_later(
        self, asked: messages.Attempt, reads: Reads, changes: dict[str, Changes]
    ) -> None:
        """The turn of an attempt that waits has come."""
        if self._turns.come(asked.state.token) is None:
            return
        try:
            serial, body = self._land(asked, reads, changes)
        except (AtopError, OSError) as error:
            self._replies.fail(asked.number, error)
        else:
            if body is not LATER:
                self._replies.reply(asked.number, serial, body)

    def _land(
        self, asked: messages.Attempt, reads: Reads, changes: dict[str, Changes]
    ) -> tuple[int, Any]:
        """Commit it, if nothing that was read has changed."""
        held = self._turns.pop(asked.state.token)
        assert held is not None
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
                self._replies.fail(asked.number, error)
            else:
                self._replies.reply(asked.number, state.serial, body)

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
            staged.setdefault(known_table(table), []).append(columns)
        return {table: _joined(parts) for table, parts in staged.items()}


WRITES: dict[type[messages.Request], Callable[[ServedWrites, Any], tuple[int, Any]]] = {
    messages.Reserve: ServedWrites.reserve,
    messages.GiveBack: ServedWrites.give_back,
    messages.Stage: ServedWrites.stage,
    messages.Apply: ServedWrites.apply,
    messages.Attempt: ServedWrites.attempt,
}


def _of_tables(told: Mapping[str, T]) -> Mapping[str, T]:
    return {known_table(name): each for name, each in told.items()}


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
