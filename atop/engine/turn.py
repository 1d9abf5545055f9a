"""The one writer's turn among the threads of a process."""

from __future__ import annotations

import os
import threading
import time

from atop.errors import StoreBusy


class TurnLock:
    """A lock that waits for a bounded time and then names who has it.

    It is held by a ticket, any object. Letting go of it is one assignment, may be done twice and
    from any thread, so that an interrupt can be made good by doing it again.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._freed = threading.Condition(self._lock)
        self._ticket: object = None
        self._holder = ""
        self._since = 0.0

    def acquire(self, ticket: object, timeout: float) -> None:
        """Take the turn. Raises :class:`StoreBusy` when it has not come in `timeout` seconds."""
        seconds = min(max(0.0, timeout), threading.TIMEOUT_MAX)
        with self._lock:
            if not self._freed.wait_for(lambda: self._ticket is None, seconds):
                raise self._busy()
            self._holder = threading.current_thread().name
            self._since = time.monotonic()
            self._ticket = ticket

    def held(self, ticket: object) -> bool:
        """Whether the turn was taken with `ticket` and not let go of."""
        return self._ticket is ticket

    def release(self, ticket: object) -> None:
        """Let the next one have it, if it was taken with `ticket`."""
        with self._lock:
            if self._ticket is ticket:
                self._ticket = None
            self._freed.notify()

    def _busy(self) -> StoreBusy:
        held = time.monotonic() - self._since
        return StoreBusy(
            f"{self._path}: thread {self._holder!r} of process {os.getpid()} has had a "
            f"transaction open for {held:.1f} s; end it, or wait longer with timeout=",
            self._path,
            os.getpid(),
        )
