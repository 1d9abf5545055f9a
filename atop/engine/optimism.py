"""What an optimistic transaction has in place of a turn.

It reads one moment, notes what it reads, and holds nobody up. Whether it may commit is found out
when it does.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence

from atop.engine.base import (
    INDEX,
    ITEMS,
    Commit,
    Difference,
    Engine,
    JoinedRow,
    Landed,
    Range,
    Row,
    State,
    View,
    suffix,
)
from atop.engine.present import Snapshot
from atop.engine.reads import Reads
from atop.errors import (
    CommitInDoubt,
    ReadConflict,
    SnapshotTooOld,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreUnreachable,
    TransactionLost,
    ValueRefused,
    WriteConflict,
)

_FIRST_IDS = 64
_MOST_IDS = 1 << 16
_TRIES = 3


class Recorder:
    """A view that notes what is read of it."""

    def __init__(self, below: View, reads: Reads) -> None:
        self._below = below
        self._reads = reads

    def get(self, table: str, key: bytes) -> bytes | None:
        self._reads.keys[table].add(key)
        try:
            return self._below.get(table, key)
        except SnapshotTooOld as error:
            raise _unfit((key,) if table == ITEMS else ()) from error

    def getmany(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        self._reads.keys[table].update(keys)
        try:
            return self._below.getmany(table, keys)
        except SnapshotTooOld as error:
            raise _unfit(keys if table == ITEMS else ()) from error

    def count(self, low: bytes | None, high: bytes | None) -> int:
        self._reads.span(INDEX, low, high)
        try:
            return self._below.count(low, high)
        except SnapshotTooOld as error:
            raise _unfit() from error

    def scan(self, table: str, within: Range) -> list[Row]:
        try:
            rows = self._below.scan(table, within)
        except SnapshotTooOld as error:
            raise _unfit() from error
        self._reads.rows(table, within, [key for key, _ in rows])
        return rows

    def keys(self, within: Range) -> list[bytes]:
        try:
            keys = self._below.keys(within)
        except SnapshotTooOld as error:
            raise _unfit() from error
        self._reads.rows(INDEX, within, keys)
        return keys

    def join(self, within: Range, known: Container[bytes]) -> list[JoinedRow]:
        try:
            rows = self._below.join(within, known)
        except SnapshotTooOld as error:
            raise _unfit() from error
        self._reads.rows(INDEX, within, [key for key, _ in rows])
        unknown = [
            (key, None if record is None or suffix(key) in known else record)
            for key, record in rows
        ]
        self._reads.keys[ITEMS].update(suffix(key) for key, record in unknown if record is not None)
        return unknown


class Optimist:
    """Stands in for the writer's turn in an optimistic transaction, at no cost to others.

    ``reads`` is what its commit depends on. ``state`` has the serial of the moment that it sees,
    and counts only what is added to it; ``snapshot`` is that moment as it was.
    """

    can_spill = False

    def __init__(self, engine: Engine, timeout: float) -> None:
        self._process = 0
        self.applied = False
        self.landed: Landed | None = None
        self.engine = engine
        self.reads = Reads()
        self.snapshot = Snapshot(engine)
        self.state = State(self.snapshot.serial, 0)
        self.view: View = Recorder(self.snapshot, self.reads)
        self.ids = 0, 0
        self._blocks: list[tuple[int, int]] = []
        self._timeout = timeout
        self._process = os.getpid()

    def more_ids(self) -> tuple[int, int]:
        count = min(_FIRST_IDS << 2 * len(self._blocks), _MOST_IDS)
        first = self.engine.reserve(count)
        if self._blocks and first < self._blocks[-1][1]:
            raise _lost("the store has changed hands, and its new ids are not new to us")
        self._blocks.append((first, first + count))
        return self._blocks[-1]

    def working(self) -> None:
        """It belongs to its process alone."""
        if self._process != os.getpid():
            raise TransactionLost(
                "this transaction belongs to the process that this one was forked from: begin one "
                "here"
            )

    def spill(self, changes: Mapping[str, Sequence[Difference]]) -> None:
        raise AssertionError("nothing can be written before it is known that it may be")

    def apply(self, commit: Commit, durable: bool) -> None:
        """Commit, if nothing of what was read has changed.

        :raises WriteConflict: when something has.
        """
        self.working()
        self.snapshot.close()
        try:
            self._attempt(commit, durable)
        finally:
            self.release(commit.state.next_id)

    def release(self, used: int = 0) -> None:
        """Look at it no longer. Ids from `used` on may be given to others."""
        if self._process != os.getpid():
            return
        self.snapshot.close()
        while self._blocks:
            first, end = self._blocks.pop()
            self.engine.give_back(max(first, min(used, end)), end)

    def _attempt(self, commit: Commit, durable: bool) -> None:
        for left in reversed(range(1 if commit.files else _TRIES)):
            try:
                self.landed = self.engine.attempt(commit, self.reads, durable, self._timeout)
                self.applied = True
            except (WriteConflict, ValueRefused):
                raise
            except BaseException as error:
                self.applied = self._is_in(commit, error)
                gone = isinstance(error, (StoreUnreachable, StoreClosed))
                if not gone and not (self.applied and isinstance(error, StoreBusy)):
                    raise
                if not self.applied and not left:
                    raise _lost(str(error)) from error
            if self.applied:
                return

    def _is_in(self, commit: Commit, error: BaseException) -> bool:
        """Whether the commit is in, of which we only know that `error` came between."""
        state = commit.state
        try:
            known = self.engine.outcome(state.serial, state.token)
        except StoreError as trouble:
            if not isinstance(error, (StoreUnreachable, StoreBusy)):
                raise error from None
            raise CommitInDoubt(
                f"it is not known whether the commit is in: {trouble}", trouble.path
            ) from error
        if known is None:
            raise CommitInDoubt("it is no longer known whether the commit is in") from error
        return known

    def __del__(self) -> None:
        self.release()


def _unfit(keys: Sequence[bytes] = ()) -> ReadConflict:
    return ReadConflict(
        "what is to be read is no longer kept as it was when this transaction began, so much was "
        "committed since: begin it again, or use store.transact",
        tuple(int.from_bytes(key, "big") for key in keys),
    )


def _lost(why: str) -> TransactionLost:
    return TransactionLost(
        f"the transaction is lost, and nothing of it was kept ({why}): begin it again, or use "
        "store.transact"
    )
