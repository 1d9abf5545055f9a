"""A process of the torture: threads that write and read, and obey orders to end badly."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from atop import Store
from atop.errors import (
    AtopError,
    CommitInDoubt,
    Conflict,
    SnapshotTooOld,
    StoreBusy,
    StoreError,
    TransactionLost,
)
from tests.torture import bank, points
from tests.torture.board import (
    BEGIN,
    CHANGE,
    CLOSE,
    COMMIT,
    EXIT,
    FORK,
    NOTHING,
    OPEN,
    PLACES,
    READ,
    THREADS,
    Board,
)
from tests.torture.journal import Journal
from tests.torture.setting import Setting, die_with_parent, open_store, prepare, report

NO_ORDER, CLOSE_ALL, EXIT_OPEN, EXIT_AT_ONCE, LEAVE, FORK_ONE, LOSE_THREAD = range(7)
_PAUSE = 0.012
_A_SPAWN = 1_000_000
_A_THREAD = 100_000
_LOST = [name for _, name in points.ENDS].index("pass.lose before")


class _Ended(Exception):
    """A thread dies with this, in the middle of a transaction."""


class Worker:
    """The process in place number `number`, the `spawn`-th one of all."""

    def __init__(self, board: Board, number: int, spawn: int, setting: Setting) -> None:
        self.board = board
        self.number = number
        self.place = board[number]
        self.spawn = spawn
        self.setting = setting
        self.journal = Journal(setting.journal)
        self.stores: list[Store] = []
        self.ending = False
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._interruptible = False
        self._made = [0] * (THREADS + 1)
        self._orders: dict[int, Callable[[random.Random], None]] = {
            CLOSE_ALL: self._close, EXIT_OPEN: self._exit_open, EXIT_AT_ONCE: self._exit_at_once,
            LEAVE: self._leave, FORK_ONE: self._fork,
        }  # fmt: skip

    def run(self) -> None:
        """Work until an order or a signal ends it."""
        self.place.pid = os.getpid()
        die_with_parent()
        prepare(self.setting, self.board, self.number)
        signal.signal(signal.SIGINT, self._on_interrupt)
        threading.excepthook = _only_unexpected
        self._guarded(self._open)
        for thread in range(1, THREADS):
            self._start(thread)
        self._work(0)

    def _open(self) -> None:
        self._beat(0, OPEN)
        for optimistic in (False, True):
            self.stores.append(open_store(self.setting, self.number, optimistic=optimistic))
        self._beat(0, NOTHING)

    def _start(self, thread: int) -> None:
        started = threading.Thread(target=self._work, args=(thread,), daemon=True)
        self._threads.append(started)
        started.start()

    def _work(self, thread: int) -> None:
        dice = random.Random(f"{self.setting.seed} {self.spawn} {thread} {self._made[thread]}")
        kind = (self.number + thread) % 3
        store = None
        while not self._stopping.is_set():
            store = self.stores[kind == 1]
            if kind == 2 or dice.random() < 0.2:
                self._guarded(self._read, store, thread, dice)
            else:
                self._guarded(self._write, store, thread, dice)
            self._beat(thread, NOTHING)
            if thread == 0:
                self._obey(dice)
            elif thread == 1 and self.place.order == LOSE_THREAD:
                self.place.order = NO_ORDER
                self._lose_thread(store, dice)
            time.sleep(dice.random() * _PAUSE)

    # What is done all the time

    def _write(self, store: Store, thread: int, dice: random.Random) -> None:
        tx = self._next(thread)
        self.journal.meant(tx)
        work = bank.trim if bank.is_full(store) and dice.random() < 0.5 else None
        change = partial(work, store, tx) if work else partial(bank.transfer, store, tx, dice)
        if dice.random() < 0.03:
            change = partial(self._in_vain, change)
        if dice.random() < 0.3:
            self._attempt(store, thread, tx, change, again=True)
        else:
            self._attempt(store, thread, tx, change, again=False)

    def _attempt(
        self, store: Store, thread: int, tx: int, change: Callable[[], None], *, again: bool
    ) -> None:
        """One transaction, or `again` and again; and what it came to, for the journal."""
        try:
            self._interruptible = self._interruptible or thread == 0
            begun = self._again(store, thread, change) if again else self._once(
                store, thread, change)
        except (TransactionLost, Conflict, bank.RolledBack) as error:
            self.place.lost += isinstance(error, TransactionLost)
            self.place.conflicts += isinstance(error, Conflict)
            self.journal.aborted(tx)
            return
        finally:
            if thread == 0:
                self._interruptible = False
        self.journal.committed(tx)
        line = self.place.lines[thread]
        line.commits += 1
        line.begun, line.told = begun, time.monotonic()
        self.place.seen = max(self.place.seen, store.engine.serial)

    def _once(self, store: Store, thread: int, change: Callable[[], None]) -> float:
        self._beat(thread, BEGIN)
        with store.transaction() as transaction:
            begun = self._beat(thread, CHANGE)
            change()
            self._beat(thread, COMMIT)
            transaction.commit()
        return begun

    def _again(self, store: Store, thread: int, change: Callable[[], None]) -> float:
        begun = 0.0

        def attempt() -> None:
            nonlocal begun
            begun = self._beat(thread, CHANGE)
            change()
            self._beat(thread, COMMIT)

        self._beat(thread, BEGIN)
        store.transact(attempt)
        return begun

    def _in_vain(self, change: Callable[[], None]) -> None:
        change()
        raise bank.RolledBack

    def _read(self, store: Store, thread: int, dice: random.Random) -> None:
        self._beat(thread, READ)
        if dice.random() < 0.02:
            store.checkpoint()
        floor = self.board.seen
        with store.snapshot():
            bank.look(store, dice, floor)
        self.place.reads += 1

    def _next(self, thread: int) -> int:
        self._made[thread] += 1
        return self.spawn * _A_SPAWN + thread * _A_THREAD + self._made[thread]

    def _beat(self, thread: int, operation: int) -> float:
        """Show what this thread does from now on; answers since when."""
        line = self.place.lines[thread]
        now = time.monotonic()
        line.began = now
        line.operation = operation
        line.done += operation == NOTHING
        return now

    def _guarded(self, work: Callable[..., None], /, *args: Any) -> None:
        """What may go wrong goes on; what may not, ends the torture."""
        began, lost = time.monotonic(), self.place.passes[_LOST]
        try:
            work(*args)
        except KeyboardInterrupt:
            self.place.interrupts += 1
        except (TransactionLost, Conflict):  # a read
            self.place.lost += 1
        except CommitInDoubt:
            self.place.doubts += 1
            if not self.board.stopped_since(began):
                self._fail()
        except StoreBusy as error:
            self.place.busy += 1
            if error.pid is None or not self.board.stopped_since(began):
                self._fail()
        except _Ended:
            raise
        except (StoreError, SnapshotTooOld) as error:
            if not self._is_file_of_old(error, lost):
                self._fail()
        except BaseException:
            self._fail()

    def _is_file_of_old(self, error: AtopError, lost: int) -> bool:
        """A snapshot over the network has lost a file that others deleted.

        While its connection is made anew, no server knows that somebody has the snapshot.
        """
        return (
            bool(self.setting.addresses) and isinstance(error, SnapshotTooOld)
            and self.place.passes[_LOST] > lost
        )

    def _fail(self) -> None:
        """Tell of what was raised, and end; but who is about to end anyway, may find it closed."""
        expected = isinstance(sys.exc_info()[1], AtopError | OSError | SystemExit)
        if expected and (self.ending or self._stopping.is_set()):
            raise
        report(self.setting, f"process {os.getpid()} in place {self.number}")
        self.board.show_stacks()
        os._exit(3)

    # Orders

    def _obey(self, dice: random.Random) -> None:
        order = self.place.order
        if order in self._orders:
            self.place.order = NO_ORDER
            self._orders[order](dice)

    def _close(self, dice: random.Random) -> None:
        self._beat(0, CLOSE)
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for store in self.stores:
            store.close()
        raise SystemExit(0)

    def _exit_open(self, dice: random.Random) -> None:
        """The interpreter ends, while a transaction and all else is open."""
        self._begin_something(dice)
        self._leave(dice)

    def _exit_at_once(self, dice: random.Random) -> None:
        self._begin_something(dice)
        os._exit(0)

    def _leave(self, dice: random.Random) -> None:
        self.ending = True
        self._beat(0, EXIT)
        sys.exit(0)

    def _begin_something(self, dice: random.Random) -> None:
        self._guarded(self._begin_and_change, self.stores[0], 0, dice)

    def _begin_and_change(self, store: Store, thread: int, dice: random.Random) -> None:
        """A transaction that nobody will end."""
        tx = self._next(thread)
        self.journal.meant(tx)
        self.journal.aborted(tx)
        self._beat(thread, BEGIN)
        store.begin()
        self._beat(thread, CHANGE)
        bank.transfer(store, tx, dice)

    def _lose_thread(self, store: Store, dice: random.Random) -> None:
        self._made[1] += 1
        self._guarded(self._begin_and_change, store, 1, dice)
        self._beat(1, NOTHING)
        self._start(1)
        raise _Ended

    def _fork(self, dice: random.Random) -> None:
        """A child that goes on with the store on its own, while our transaction is open."""
        self._guarded(self._fork_in_the_middle, dice)

    def _fork_in_the_middle(self, dice: random.Random) -> None:
        store, tx, pid = self.stores[0], self._next(0), 0
        self.journal.meant(tx)
        self._beat(0, BEGIN)
        try:
            with store.transaction() as transaction:
                bank.transfer(store, tx, dice)
                self._beat(0, FORK)
                pid = os.fork()
                if not pid:
                    self._be_a_child(dice)
                self._beat(0, COMMIT)
                transaction.commit()
        except TransactionLost:
            self.journal.aborted(tx)
        else:
            self.journal.committed(tx)
        self._beat(0, FORK)
        if pid:
            os.waitpid(pid, 0)
            self.place.forks += 1
        self._beat(0, NOTHING)

    def _be_a_child(self, dice: random.Random) -> None:
        """In the child of a fork: work a little, and end in one of the ways there are."""
        die_with_parent()
        self.number += PLACES
        self.place = self.board.settle(self.number)
        self.place.pid = os.getpid()
        self.place.armed = self.board[self.number - PLACES].armed * (dice.random() < 0.3)
        self.place.countdown = 1
        points.move(self.place)
        dice = random.Random(f"child {self.setting.seed} {self._next(0)}")
        thread = threading.Thread(target=self._child_work, args=(dice,))
        thread.start()
        thread.join()
        end = dice.randrange(3)
        if end == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if end == 1:
            os._exit(0)
        self.ending = True
        raise SystemExit(0)

    def _child_work(self, dice: random.Random) -> None:
        self._made[THREADS] = 2 * self._made[0]  # numbers of its own
        for _ in range(2):
            tx = self.spawn * _A_SPAWN + THREADS * _A_THREAD + self._made[THREADS]
            self._made[THREADS] += 1
            self.journal.meant(tx)
            change = partial(bank.transfer, self.stores[0], tx, dice)
            self._guarded(self._read, self.stores[0], 1, dice)
            self._beat(1, NOTHING)
            self._guarded(self._attempt_of_child, tx, change)
            self._beat(1, NOTHING)

    def _attempt_of_child(self, tx: int, change: Callable[[], None]) -> None:
        store = self.stores[0]
        if store.session().transaction is None:
            self._attempt(store, 1, tx, change, again=False)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interruptible and self.place.pid == os.getpid():
            raise KeyboardInterrupt


def _only_unexpected(args: threading.ExceptHookArgs) -> None:
    if not issubclass(args.exc_type, _Ended):
        threading.__excepthook__(args)
