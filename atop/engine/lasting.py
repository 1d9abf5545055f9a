"""An engine that outlasts what is behind it: the process that has the store may go, and come back.

Reads go on by themselves with whoever has the store next. A transaction that was cut off is lost,
and a commit in doubt is looked up.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from atop.engine.base import (
    Commit,
    Delta,
    Engine,
    JoinedRow,
    Landed,
    Range,
    Row,
    State,
    Turn,
)
from atop.engine.keeping import Blemish, Figures, Keeper
from atop.engine.progress import Progress
from atop.engine.reads import Reads
from atop.errors import StoreClosed, StoreError, StoreFailed, StoreUnreachable

T = TypeVar("T")
FindOut = Callable[[bytes, int, bytes], bool | None]

_LEAST_PATIENCE = 2.0
_TRIES = 5
_PAUSE = 0.1
_GONE = (StoreUnreachable, StoreClosed, StoreFailed)


class Backing(Protocol):
    """What is behind it for now."""

    @property
    def engine(self) -> Engine:
        """What is asked."""

    @property
    def keeper(self) -> Keeper:
        """The care of the store."""

    def turn(self, timeout: float, find_out: FindOut) -> Turn:
        """The one writer's turn; `find_out` tells whether a commit is in that was not answered."""

    def outcome(self, turn: bytes, serial: int, token: bytes) -> bool | None:
        """Whether that commit is in, once and for all; the turn is over then."""

    def close(self) -> None:
        """Let it go. A second call does nothing."""

    def abandon(self) -> None:
        """In a forked child: what is open is the parent's."""


B = TypeVar("B", bound=Backing)


class Lasting(Engine, Generic[B]):
    """The engine of the store at `place`, as long as it is found again in `timeout` seconds."""

    def __init__(self, place: str, timeout: float) -> None:
        self.place = place
        self.patience = max(timeout, _LEAST_PATIENCE)
        self._lock = threading.RLock()
        self._backing: B | None = None
        self._engine: Engine | None = None
        self._snapshots: Counter[int] = Counter()
        self._known: State | None = None
        self._closed = False

    # Reading

    @property
    def state(self) -> State:
        return self._try(lambda engine: engine.state)

    @property
    def serial(self) -> int:
        engine = self._engine
        if engine is not None:  # as _try() does, without its calls
            try:
                return engine.serial
            except _GONE:
                pass
        return self._try(lambda new: new.serial)

    def get(self, table: str, key: bytes) -> tuple[int, bytes | None]:
        engine = self._engine
        if engine is not None:  # as _try() does, without its calls
            try:
                return engine.get(table, key)
            except _GONE:
                pass
        return self._try(lambda new: new.get(table, key))

    def getmany(self, table: str, keys: Sequence[bytes]) -> tuple[int, list[bytes | None]]:
        return self._try(lambda engine: engine.getmany(table, keys))

    def scan(self, table: str, within: Range) -> tuple[int, list[Row]]:
        return self._try(lambda engine: engine.scan(table, within))

    def keys(self, within: Range) -> tuple[int, list[bytes]]:
        return self._try(lambda engine: engine.keys(within))

    def count(self, low: bytes | None, high: bytes | None) -> tuple[int, int]:
        return self._try(lambda engine: engine.count(low, high))

    def join(self, within: Range, known: Container[bytes]) -> tuple[int, list[JoinedRow]]:
        return self._try(lambda engine: engine.join(within, known))

    def foresee(self, within: Range, *, records: bool) -> None:
        engine = self._engine
        if engine is not None:
            with suppress(StoreError):
                engine.foresee(within, records=records)

    def commits(self, since: int) -> list[Delta]:
        return self._try(lambda engine: engine.commits(since))

    def changed(self, since: int) -> dict[str, list[bytes]]:
        return self._try(lambda engine: engine.changed(since))

    def begin_snapshot(self, serial: int | None = None) -> int:
        return self._try(lambda engine: self._begin_snapshot(engine, serial))

    def _begin_snapshot(self, engine: Engine, serial: int | None) -> int:
        with self._lock:
            self._behind(engine)
            begun = engine.begin_snapshot(serial)
            self._snapshots[begun] += 1
            return begun

    def _take_snapshots(self, engine: Engine) -> None:
        """Begin with a new engine what is open."""
        for serial in self._snapshots.elements():
            engine.begin_snapshot(serial)

    def state_at(self, serial: int) -> State:
        state = self._known = self._try(lambda engine: engine.state_at(serial))
        return state

    def end_snapshot(self, serial: int) -> None:
        with self._lock:
            if serial not in self._snapshots:  # it has ended with all of this
                return
            self._snapshots[serial] -= 1
            self._snapshots += Counter()  # those that are still open
            if self._engine is not None:
                self._engine.end_snapshot(serial)
            else:
                self._ended_between(serial)

    def _ended_between(self, serial: int) -> None:
        """A snapshot of `serial` has ended while nothing is behind this."""

    def outcome(self, serial: int, token: bytes) -> bool | None:
        return self._try(lambda engine: engine.outcome(serial, token))

    # Writing

    def writer(self, timeout: float) -> Turn:
        turn = self._try(lambda engine: self._turn(engine, timeout))
        self._known = turn.state
        return turn

    def attempt(self, commit: Commit, reads: Reads, durable: bool, timeout: float) -> Landed:
        engine = self._engine or self._attach()
        return engine.attempt(commit, reads, durable, timeout)  # once: it may be in

    def reserve(self, count: int) -> int:
        return self._try(lambda engine: engine.reserve(count))

    def give_back(self, first: int, end: int) -> None:
        engine = self._engine
        if engine is not None:
            with suppress(StoreError):
                engine.give_back(first, end)

    def _turn(self, engine: Engine, timeout: float) -> Turn:
        return self._behind(engine).turn(timeout, self._find_out)

    def _find_out(self, turn: bytes, serial: int, token: bytes) -> bool | None:
        """Whether a commit is in whose answer did not come; the answer is final."""
        return self._try(lambda engine: self._behind(engine).outcome(turn, serial, token))

    # Care

    @property
    def keeper(self) -> Keeper:
        """The care of the store, whoever has it."""
        return _LastingKeeper(self.with_keeper)

    def with_keeper(self, ask: Callable[[Keeper], T]) -> T:
        """What `ask` finds with the keeper that there is; done again, if that one goes."""
        return self._try(lambda engine: ask(self._behind(engine).keeper))

    # What is behind it

    def hold(self) -> None:
        """Before a fork: nothing is opened or closed until :meth:`let_go`."""
        self._lock.acquire()

    def let_go(self) -> None:
        """After a fork, in the parent."""
        self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._end_snapshots()
            backing, self._backing, self._engine = self._backing, None, None
        if backing is not None:
            backing.close()

    def _end_snapshots(self) -> None:
        """Nobody can read any more in what is open."""
        snapshots, self._snapshots = self._snapshots, Counter()
        if self._engine is not None:
            for serial in snapshots.elements():
                with suppress(StoreError):
                    self._engine.end_snapshot(serial)

    def abandon(self) -> None:
        """In a forked child: what is open is the parent's; we open it anew when we need it."""
        self._lock = threading.RLock()
        backing, self._backing, self._engine = self._backing, None, None
        if backing is not None:
            backing.abandon()

    @abstractmethod
    def _find(self) -> B:
        """Whoever has the store now.

        :raises StoreError: when it is not found in as many seconds as our patience has.
        """

    def _is_there(self, engine: Engine) -> bool:
        """Whether it is not `engine` that is out of reach, but what it asks itself."""
        return False

    def _is_final(self, engine: Engine) -> bool:
        """Whether nobody else could do what `engine` has just failed to do."""
        return False

    def _try(self, ask: Callable[[Engine], T]) -> T:
        """What the engine answers; if it has gone, what the next one does."""
        trouble: StoreError
        for attempt in range(_TRIES):
            engine = None
            try:
                engine = self._engine or self._attach()
                return ask(engine)
            except StoreUnreachable as error:
                if engine is not None and self._is_there(engine):
                    raise
                trouble = error
            except (StoreClosed, StoreFailed) as error:
                if engine is None or self._closed or self._is_final(engine):
                    raise
                trouble = error
                time.sleep(attempt * _PAUSE)  # its owner is about to let the store go
            if engine is not None:
                self._detach(engine)
        raise trouble

    def _behind(self, engine: Engine) -> B:
        backing = self._backing
        if backing is None or backing.engine is not engine:
            raise StoreUnreachable(f"{self.place} has just gone: try again", self.place)
        return backing

    def _detach(self, engine: Engine) -> None:
        """That engine has gone; unless somebody has found another one already."""
        with self._lock:
            if self._engine is not engine:
                return
            backing, self._backing, self._engine = self._backing, None, None
        if backing is not None:
            backing.close()

    def _attach(self) -> Engine:
        """Find whoever has the store."""
        with self._lock:
            if self._closed:
                raise StoreClosed(f"{self.place} is closed: open it again", self.place)
            if self._engine is None:
                backing = self._find()
                try:
                    self._check_known(backing.engine)
                    self._take_snapshots(backing.engine)
                except StoreClosed as error:
                    backing.close()
                    raise StoreUnreachable(str(error), self.place) from error
                except BaseException:
                    backing.close()
                    raise
                self._backing, self._engine = backing, backing.engine
            return self._engine

    def _check_known(self, engine: Engine) -> None:
        """Make sure that the store has all that this process has seen of it."""
        known = self._known or State()
        state, seen = engine.state, max(self._snapshots, default=0)
        lost = known.serial and engine.outcome(known.serial, known.token) is False
        if lost or state.serial < seen:
            raise StoreFailed(
                f"{self.place} has lost commits that this program has seen: close it, and open it "
                "again",
                self.place,
            )
        self._known = state


class _WithKeeper(Protocol):
    def __call__(self, ask: Callable[[Keeper], T], /) -> T: ...


class _LastingKeeper(Keeper):
    """The care of a store whose owner may go meanwhile: then the next one does it.

    Only a copy is not begun again, since a part of it is there.
    """

    def __init__(self, with_keeper: _WithKeeper) -> None:
        self._with_keeper = with_keeper

    def checkpoint(self) -> None:
        self._with_keeper(lambda keeper: keeper.checkpoint())

    def compact(self, progress: Progress) -> tuple[int, list[str]]:
        return self._with_keeper(lambda keeper: keeper.compact(progress))

    def blemishes(self, timeout: float, progress: Progress) -> list[Blemish]:
        return self._with_keeper(lambda keeper: keeper.blemishes(timeout, progress))

    def figures(self) -> Figures:
        return self._with_keeper(lambda keeper: keeper.figures())

    def copy_to(self, folder: Path, progress: Progress) -> int:
        return self._with_keeper(lambda keeper: keeper).copy_to(folder, progress)
