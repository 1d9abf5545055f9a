"""Berkeley DB behind the seam: reading the present, and what a turn writes.

The latch stands in place of Berkeley DB's lock subsystem: each read holds it for microseconds, a
commit for the moment in which it is applied. Waiting for the disk happens outside it.

An exception, Ctrl-C among them, may come between any two steps. So nothing counts on a clean-up
that must run: whoever gets the latch next finds the transaction that was left open and aborts it,
and a turn that nobody can end any more ends when it is forgotten.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

from berkeleydb import db

from atop.engine import history
from atop.engine.base import (
    INDEX,
    ITEMS,
    Commit,
    Delta,
    Engine,
    JoinedRow,
    Range,
    Row,
    State,
)
from atop.engine.bdbturn import BerkeleyTurn
from atop.engine.environment import Environment
from atop.engine.failures import TROUBLE, explain, find_cause, has_ended, is_unsynced, translated
from atop.engine.filefolder import FileFolder
from atop.engine.history import Image, Images
from atop.engine.ids import Ids
from atop.engine.log import LogSync
from atop.engine.tables import TableChanges, Tables
from atop.engine.turn import TurnLock
from atop.engine.unsynced import mark
from atop.errors import (
    DamagedStore,
    ReadOnlyStore,
    SnapshotTooOld,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreFailed,
    TransactionLost,
)

P = ParamSpec("P")
T = TypeVar("T")

_MANY_KEYS = 10_000


class BerkeleyEngine(Engine):
    """The tables of one environment."""

    def __init__(self, folder: Path, environment: Environment, files: FileFolder) -> None:
        self.environment = environment
        self.files = files
        self.path = str(folder)
        self.latch = threading.RLock()
        self.turn = TurnLock(self.path)
        self.tables = Tables(self.path, environment.tables)
        self.spilled = False
        self.announce: Callable[[int], object] = lambda serial: None
        self.on_disk: Callable[[int], object] = lambda serial: None
        self.on_failure: Callable[[], object] = lambda: None
        self.on_doubt: Callable[[], object] = lambda: None
        self.clients: Callable[[], int] = lambda: 0
        self.adopting: set[object] = set()
        self._txn: Any = None
        self._failure: StoreError | TransactionLost | None = None
        self._halted: StoreError | None = None
        self._ready = True
        self._last, self._history_bytes = self.tables.last_commit()
        self._shown = self._last.serial
        self.ids = Ids(self._last.next_id)
        self._deleted: deque[tuple[int, Sequence[int]]] = deque()
        self._log: LogSync | None = None
        self._vouched = (0, 0)
        if not environment.read_only:
            self._log = LogSync(
                environment.folder, environment.last_log_file, lambda: self.turn.wanted
            )
            environment.checkpoint_in_background(self.fail)

    @property
    def state(self) -> State:
        self.check()
        return self._last

    @property
    def serial(self) -> int:
        if not self._ready:
            self.check()
        return self._shown

    @property
    def last(self) -> State:
        """What the last commit left, whatever happened since."""
        return self._last

    @property
    def ended(self) -> bool:
        """Whether every call from now on raises the same error."""
        return self._failure is not None

    @property
    def failed(self) -> bool:
        """Whether nothing is to be written any more, though what is there may still be read."""
        return self._failure is not None or self._halted is not None

    @property
    def syncs(self) -> int:
        """How often the log was synced for commits."""
        return self._log.syncs if self._log else 0

    def get(self, table: str, key: bytes) -> tuple[int, bytes | None]:
        with self.latch:  # as _read() does, without its calls: they cost as much as the look-up
            if not self._ready:
                self._attend()
            try:
                return self._last.serial, self.tables.gets[table](key)
            except TROUBLE as error:
                raise self.fail(error, reading=True) from error

    def getmany(self, table: str, keys: Sequence[bytes]) -> tuple[int, list[bytes | None]]:
        return self._read(self.tables.getmany, table, keys)

    def count(self, low: bytes | None, high: bytes | None) -> tuple[int, int]:
        return self._read(self.tables.count, low, high)

    def scan(self, table: str, within: Range) -> tuple[int, list[Row]]:
        return self._read(self.tables.scan, table, within)

    def keys(self, within: Range) -> tuple[int, list[bytes]]:
        return self._read(self.tables.keys, within)

    def join(self, within: Range, known: Container[bytes]) -> tuple[int, list[JoinedRow]]:
        return self._read(self.tables.join, within, known)

    def commits(self, since: int) -> list[Delta]:
        rows = self._read(lambda: self.tables.commits(since, self._last.serial))[1]
        return history.decode_since(since, rows)

    def begin_snapshot(self, serial: int | None = None) -> int:
        with self.latch:
            held = self.serial if serial is None else min(serial, self.serial)
            self.files.hold(held)
            return held

    def end_snapshot(self, serial: int) -> None:
        self.files.let_go(serial)

    def state_at(self, serial: int) -> State:
        last, state = self._last, self._read(self.tables.state_at, serial)[1]
        if state is None and serial != last.serial:
            raise SnapshotTooOld(f"the commit {serial} is no longer kept: begin anew")
        return state or last

    def outcome(self, serial: int, token: bytes) -> bool | None:
        states = self._read(
            lambda: [self.tables.state_at(at) for at in range(serial, self._last.serial + 1)]
        )[1]
        if any(state is not None and state.token == token for state in states):
            return True
        return None if None in states else False

    def reserve(self, count: int) -> int:
        return self.ids.reserve(count)

    def give_back(self, first: int, end: int) -> None:
        self.ids.give_back(first, end)

    def writer(self, timeout: float) -> BerkeleyTurn:
        turn = self._turn()
        try:
            self.turn.acquire(turn.ticket, timeout)
        except StoreBusy:
            self.check()
            raise
        turn.begin()
        return turn

    def ask_turn(self, who: str, pid: int, granted: Callable[[], object]) -> BerkeleyTurn:
        """A turn that is still to come: `granted` is called, in any thread, when it has.

        Then call its ``begin()``; or at any time ``release()``.
        """
        turn = self._turn()
        self.turn.ask(turn.ticket, who, pid, granted)
        return turn

    def _turn(self) -> BerkeleyTurn:
        self.check()
        if self.environment.read_only:
            raise ReadOnlyStore(f"{self.path} is open for reading only", self.path)
        if self._halted is not None:
            self._recover(self._halted)
        return BerkeleyTurn(self)

    def check(self) -> None:
        """Raise what ended the use of this engine, if anything did."""
        if self._failure is not None:
            raise copy(self._failure)

    def check_writable(self) -> None:
        """Raise what forbids to write, if anything does."""
        self.check()
        if self._halted is not None:
            raise copy(self._halted)
        self.environment.check_place()

    def fail(self, error: BaseException, *, reading: bool = False) -> StoreError:
        """What to raise for `error`.

        When Berkeley DB has given up, or a page is damaged, every call fails from then on. When it
        is not known what is on disk, nothing is written any more, and reading goes on.
        """
        failure = explain(error, self.path)
        if failure is error:
            return failure
        if isinstance(failure, DamagedStore):
            self._end(failure)
        elif has_ended(error):
            failure = find_cause(self.environment.folder) or failure
            self._end(StoreFailed(str(failure), self.path))
        elif is_unsynced(error) or (isinstance(failure, StoreFailed) and not reading):
            self._halt(failure)
        return failure

    def spill(self, changes: TableChanges) -> None:
        """Write a part of a commit; the latch is held, and stays so until the rest is written."""
        try:
            self._clear(changes)
            self.tables.write(self._transaction(), changes)
        except TROUBLE as error:
            raise self.fail(error) from error

    def commit(self, commit: Commit) -> None:
        """Write the rest and commit: the log is written, not synced. The latch is held."""
        try:
            self._clear(commit.changes)
            txn = self._transaction()
            images = self.tables.write(txn, commit.changes)
            kept = None if self.spilled else self._kept(images, commit.state.serial)
            total = self.tables.write_commit(txn, commit, kept, self._history_bytes)
            self._vouch()
            txn.commit(db.DB_TXN_WRITE_NOSYNC)
            self._settle(commit.state, total)
        except TROUBLE as error:
            raise self.fail(error) from error

    def _kept(self, images: dict[str, Image], serial: int) -> Images:
        """What to keep of the before-images of the commit `serial`.

        Those of the index, where they are many, only if anybody may ask for them: whoever has an
        older snapshot, and clients, who have cached what they have read.
        """
        index = images.get(INDEX)
        few = index is None or len(index.changes) <= _MANY_KEYS
        if few or self.clients() or self.files.is_held_before(serial):
            return images
        return {**images, INDEX: None}

    def _vouch(self) -> None:
        """Say in the log how much of it is on disk: after a power cut that tells what is lost."""
        assert self._log is not None
        if self._log.synced_end != self._vouched:
            self._vouched = self._log.synced_end
            self.environment.handle.log_printf(mark(*self._vouched))

    def _clear(self, changes: TableChanges) -> None:
        """New items may have ids of transactions that were cut off, which have left files."""
        if self.files.doomed:
            self.files.clear(
                int.from_bytes(key, "big") for key, _, existed in changes.get(ITEMS, ())
                if not existed
            )

    def rearrange(self, work: Callable[[Any], object]) -> None:
        """Call `work` with a Berkeley DB transaction, in which it changes no row."""
        with self.latch:
            self.check_writable()
            try:
                txn = self._transaction()
                work(txn)
                txn.commit(db.DB_TXN_WRITE_NOSYNC)
                self._settle(self._last, self._history_bytes)
            except TROUBLE as error:
                raise self.fail(error) from error

    def undo(self) -> None:
        """Abort what was begun, unless it is over already; the latch is held."""
        if self._txn is None:
            return
        with suppress(db.DBError):
            self._txn.abort()
        try:
            self._settle(*self.tables.last_commit())
        except TROUBLE as error:
            self._txn = None
            raise self.fail(error) from error

    def sync(self, serial: int) -> None:
        """Return when the commit `serial` is on disk."""
        assert self._log is not None
        try:
            self._log.wait(serial)
        except OSError as error:
            raise self._unsynced(error) from error
        self.on_disk(serial)
        self._remove_files(serial)

    def remove_later(self, serial: int, files: Sequence[int]) -> None:
        """Remove files when the commit `serial`, which has deleted them, is on disk."""
        if files:
            self._deleted.append((serial, files))

    def _remove_files(self, serial: int) -> None:
        while self._deleted and self._deleted[0][0] <= serial:
            with suppress(IndexError):  # another thread was sooner
                deleted, files = self._deleted.popleft()
                self.files.remove(files, deleted)

    def show(self) -> None:
        """Let the last commit be seen: no thread here has seen it before all others can."""
        serial = self._last.serial
        try:
            self.announce(serial)
        finally:
            self._shown = serial

    def checkpoint(self) -> None:
        """Write to the tables what only the log has, and drop the logs not needed any more."""
        self.check()
        if self._halted is not None:
            self._recover(self._halted)
        try:
            self.environment.checkpoint()
        except TROUBLE as error:
            raise self.fail(error) from error

    def relieve(self) -> None:
        """Wait for a checkpoint, where the one in the background does not keep up."""
        try:
            self.environment.relieve()
        except (*TROUBLE, StoreError) as error:
            self.fail(error)

    def close(self) -> None:
        """Checkpoint and close; after a failure, close without writing anything."""
        with self.latch:
            if isinstance(self._failure, (StoreClosed, TransactionLost)):
                return
            failed = self.failed
            if not failed:
                self.undo()
            self._failure = StoreClosed(f"{self.path} is closed: open it again", self.path)
            self._ready = False
        with translated(self.path):
            self._close(checkpoint=not failed)

    def abandon(self) -> None:
        """In a forked child: the store is the parent's."""
        self.latch = threading.RLock()
        self.turn = TurnLock(self.path)
        self._failure = TransactionLost(
            f"this transaction belongs to process {os.getppid()}, which this one was forked from: "
            "begin one here"
        )
        self._ready = False
        if self._log is not None:
            self._log.abandon()
        self.environment.abandon(self._txn)
        self._txn = None

    def _read(
        self, read: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[int, T]:
        with self.latch:
            if not self._ready:
                self._attend()
            try:
                return self._last.serial, read(*args, **kwargs)
            except TROUBLE as error:
                raise self.fail(error, reading=True) from error

    def _attend(self) -> None:
        """Raise what ended the use of this engine, or abort what an interrupt left open."""
        self.check()
        if not self.spilled:
            self.undo()

    def _transaction(self) -> Any:
        self._attend()
        if self._txn is None:
            self._ready = False
            self._txn = self.environment.handle.txn_begin()
        return self._txn

    def _settle(self, state: State, history_bytes: int) -> None:
        """Nothing is open any more, and this is what the last commit left."""
        assert self._log is not None
        last_file, end = self.environment.log_end
        self._log.written(state.serial, last_file, end)
        self.environment.written(last_file)
        self._last, self._history_bytes = state, history_bytes
        self.ids.use(state.next_id)
        self._txn = None
        self._ready = self._failure is None

    def _close(self, *, checkpoint: bool) -> None:
        try:
            if self._log is not None:
                self._log.close()
                if checkpoint:
                    self._remove_files(self._last.serial)
        except OSError:
            checkpoint = False
            raise
        finally:
            self.environment.close(checkpoint=checkpoint)

    def _unsynced(self, error: OSError) -> StoreError:
        failure = StoreFailed(
            f"{self.path}: the log could not be synced ({error}), so it is not known whether the "
            "last commits are on disk; they can be read, and nothing is written until it works",
            self.path,
        )
        self._halt(failure)
        return failure

    def _halt(self, failure: StoreError) -> None:
        """Write nothing more: the system tells of an error only once, and forgets what it was."""
        with self.latch:
            if self.failed:
                return
            self._halted = failure
            self.environment.halt()
        self.on_doubt()

    def _recover(self, cause: StoreError) -> NoReturn:
        """End, so that the store is opened and recovered, as soon as the disk takes the log.

        Until then it is better to go on reading what this environment has in memory.
        """
        assert self._log is not None
        try:
            with self.environment.paused(), self.latch:
                self.check()
                self._log.renew()
        except OSError as error:
            raise copy(cause) from error
        self._end(cause)
        raise copy(cause)

    def _end(self, failure: StoreError) -> None:
        with self.latch:
            if self._failure is not None:
                return
            self._failure = failure
            self._ready = False
        if not isinstance(failure, DamagedStore):
            self.on_doubt()
            self.on_failure()
