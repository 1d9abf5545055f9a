"""The writer's turn at Berkeley DB's tables: it spills, writes and commits, or leaves no trace.

Whatever comes between two steps, Ctrl-C or the end of its thread, the next one gets the turn.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from atop.engine.base import Commit
from atop.engine.failures import translated
from atop.engine.tables import TableChanges
from atop.engine.turn import LocalTurn
from atop.errors import TransactionLost

if TYPE_CHECKING:
    from atop.engine.bdb import BerkeleyEngine


class BerkeleyTurn(LocalTurn["BerkeleyEngine"]):
    """The one writer's turn.

    From its first write on, which is the commit itself unless something was spilled before, it
    has a Berkeley DB transaction, and holds the latch. The thread that spills ends the turn.
    """

    def __init__(self, engine: BerkeleyEngine) -> None:
        super().__init__(engine)
        self._commit: Commit | None = None
        self._hold: Generator[None, None, None] | None = None

    def begin(self) -> None:
        self._engine.check()
        super().begin()

    def working(self) -> None:
        """A turn in this process is lost in its forked children alone."""
        if not self.held:
            self._engine.check()
            raise TransactionLost("the turn is over: begin the transaction again")

    @property
    def can_spill(self) -> bool:
        return True

    def spill(self, changes: TableChanges) -> None:
        assert self.held
        engine = self._engine
        try:
            engine.check_writable()
            with engine.latch:
                engine.spill(changes)
                if not engine.spilled:
                    self._hold = _holding(engine.latch)
                    next(self._hold)
                    engine.spilled = True
        except BaseException:
            self.release()
            raise

    def apply(self, commit: Commit, durable: bool) -> None:
        try:
            self.write(commit)
        finally:
            if self.applied and (durable or commit.removed):
                self._engine.sync(commit.state.serial)
        self._engine.relieve()

    def write(self, commit: Commit) -> None:
        """Commit without waiting for the disk; the turn is over then."""
        assert self.held
        self._commit = commit
        engine = self._engine
        engine.adopting.add(self.ticket)  # before it is looked whether the store was closed
        try:
            engine.check_writable()
            if commit.files:
                with translated(engine.path):
                    engine.files.adopt(commit.files)
            with engine.latch:
                try:
                    engine.commit(commit)
                finally:
                    self._end()
        finally:
            self.release()
        if engine.files.doomed:  # the snapshots that they waited for may have ended
            engine.files.remove_freed()

    def release(self) -> None:
        if self.held:
            with self._engine.latch:
                self._end()
        else:
            self._engine.turn.release(self.ticket)

    @property
    def held(self) -> bool:
        """Whether the turn has come and is not over."""
        return self._engine.turn.held(self.ticket)

    def _end(self) -> None:
        """Leave nothing open and nobody waiting. Done again after an interrupt, it is made good."""
        engine = self._engine
        engine.spilled = False
        try:
            engine.undo()
        finally:
            commit = self._commit
            self.applied = commit is not None and commit.state.token == engine.last.token
            if commit is not None and self.applied:
                engine.remove_later(commit.state.serial, commit.removed)
            elif commit is not None and not engine.failed:
                engine.files.disown(commit.files)  # while nobody else can have these ids
            if self.applied or not engine.failed:
                engine.adopting.discard(self.ticket)  # else they are left to be swept
            engine.show()
            if self._hold is not None:
                self._hold.close()
            if self._reserved is not None:
                self._reserved.close(engine.last.next_id)
            engine.turn.release(self.ticket)

    def __del__(self) -> None:
        self.release()


def _holding(latch: Any) -> Generator[None, None, None]:
    """Holds the latch from the first step on, until it is closed or forgotten."""
    with latch:
        yield
