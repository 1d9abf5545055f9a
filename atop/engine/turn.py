"""The one writer's turn: a lock for threads and clients alike, first come, first served.

And what the turns of this process have in common, wherever they write.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from atop.engine.base import State
from atop.engine.ids import Ids, Reserved
from atop.errors import StoreBusy


class _Engine(Protocol):
    ids: Ids

    @property
    def state(self) -> State: ...


E = TypeVar("E", bound=_Engine)


class _Waiter(NamedTuple):
    ticket: object
    who: str
    pid: int
    granted: Callable[[], object]


class TurnLock:
    """A lock that is waited for in a line, and that tells who has it.

    It is held by a ticket, any object. Letting go of it may be done twice, from any thread, and by
    those who still wait, so that an interrupt can be made good by doing it again.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._line: deque[_Waiter] = deque()
        self._ticket: object = None
        self._holder, self._pid = "", 0
        self._since = 0.0

    @property
    def wanted(self) -> bool:
        """Whether anybody waits."""
        return bool(self._line)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    @property
    def holder(self) -> str:
        """Who has the turn, in words; nothing if nobody has."""
        return self._holder if self._ticket is not None else ""

    @property
    def held_for(self) -> float:
        """For how many seconds somebody has had the turn."""
        return time.monotonic() - self._since if self._ticket is not None else 0.0

    def acquire(self, ticket: object, timeout: float) -> None:
        """Take the turn. Raises :class:`StoreBusy` when it has not come in `timeout` seconds."""
        who = f"thread {threading.current_thread().name!r} of process {os.getpid()}"
        if self._take(ticket, who):
            return
        event = threading.Event()
        try:
            self.ask(ticket, who, os.getpid(), event.set)
            event.wait(min(max(0.0, timeout), threading.TIMEOUT_MAX))
            if not self.held(ticket):
                raise self.busy()
        except BaseException:
            self.release(ticket)
            raise

    def ask(self, ticket: object, who: str, pid: int, granted: Callable[[], object]) -> None:
        """Wait in the line; `granted` is called, in any thread, when the turn has come."""
        with self._lock:
            self._line.append(_Waiter(ticket, who, pid, granted))
            self._next()

    def held(self, ticket: object) -> bool:
        """Whether the turn was taken with `ticket` and not let go of."""
        return self._ticket is ticket

    def release(self, ticket: object) -> None:
        """Let the next one have it, if it was taken with `ticket`; or wait no longer."""
        with self._lock:
            if self._ticket is ticket:
                self._ticket = None
            elif self._line:
                self._line = deque(each for each in self._line if each.ticket is not ticket)
            self._next()

    def busy(self) -> StoreBusy:
        """What to tell somebody for whom it has taken too long."""
        held = time.monotonic() - self._since
        return StoreBusy(
            f"{self._path}: {self._holder} has had a transaction open for {held:.1f} s; end it, "
            "or wait longer with timeout=",
            self._path,
            self._pid,
        )

    def _take(self, ticket: object, who: str) -> bool:
        with self._lock:
            if self._ticket is not None or self._line:
                return False
            self._begin(ticket, who, os.getpid())
            return True

    def _begin(self, ticket: object, who: str, pid: int) -> None:
        self._holder, self._pid, self._since = who, pid, time.monotonic()
        self._ticket = ticket

    def _next(self) -> None:
        if self._ticket is None and self._line:
            ticket, who, pid, granted = self._line.popleft()
            self._begin(ticket, who, pid)
            granted()


class LocalTurn(Generic[E]):
    """What a turn at an engine in this process has, whatever it writes to."""

    def __init__(self, engine: E) -> None:
        self.ticket = object()
        self._engine = engine
        self._reserved: Reserved | None = None
        self.applied = False

    def begin(self) -> None:
        """The turn has come."""
        self._reserved = Reserved(self._engine.ids)

    @property
    def engine(self) -> E:
        return self._engine

    @property
    def state(self) -> State:
        return self._engine.state

    @property
    def ids(self) -> tuple[int, int]:
        assert self._reserved is not None
        return self._reserved.block

    def more_ids(self) -> tuple[int, int]:
        assert self._reserved is not None
        return self._reserved.more()
