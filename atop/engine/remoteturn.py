"""The writer's turn of a client, in the line of a server at the other end of a connection.

It is lost with the connection. Whether a commit is in whose answer did not come is found out.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from atop.engine import messages, sending
from atop.engine.base import Commit, Difference, State
from atop.engine.ids import BLOCK
from atop.engine.lasting import FindOut
from atop.engine.remotereads import RemoteReads
from atop.errors import (
    CommitInDoubt,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreUnreachable,
    TransactionLost,
    ValueRefused,
)

_WORKING_EVERY = 0.5
_LONGEST = 1e9


class RemoteTurn:
    """The one writer's turn, in the line of the server. It ends when the connection does.

    `find_out` tells whether a commit is in whose answer did not come: from the token of a turn, a
    serial, and the token of the commit.
    """

    _over = True

    def __init__(
        self, engine: RemoteReads, timeout: float, find_out: FindOut | None = None
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
            self.engine.answers.committed(commit.state.serial, lambda: sending.changed_keys(commit))
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
            messages.Apply, self.token, commit.state, sending.staged(self._connection, commit),
            commit.note, durable, list(commit.files), list(commit.removed),
            patience=sending.patience(self._connection),
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


class _HeldEngine(RemoteReads):
    """What the holder of a turn reads: it stands still, or the turn is lost."""

    def __init__(self, engine: RemoteReads, turn: RemoteTurn) -> None:
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

    def writer(self, timeout: float) -> RemoteTurn:
        raise AssertionError("who holds the turn takes no other one")


def _lost(why: str) -> TransactionLost:
    return TransactionLost(f"the transaction is lost, and nothing of it was kept ({why}): "
                           "begin it again, or use store.transact")
