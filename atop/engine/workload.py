"""The requests of one client that are in work, and how long the others took."""

from __future__ import annotations

import time

from atop.engine.messages import ReadFile, Request
from atop.errors import ProtocolError


class Workload:
    """At most so many requests; ``size`` is how many bytes they take, and their answers will."""

    def __init__(self, most: int) -> None:
        self.size = 0
        self.answered = 0
        self._most = most
        self._pending: dict[int, tuple[float, int]] = {}
        self._unnumbered = 0
        self._busy = 0.0

    @property
    def mean_us(self) -> int:
        """How many microseconds an answer took in the mean."""
        return round(1e6 * self._busy / self.answered) if self.answered else 0

    def begin(self, request: Request, size: int) -> None:
        """A request of that size has come.

        :raises ProtocolError: when there are too many at once, or two with one number.
        """
        number = request.number
        if len(self._pending) + self._unnumbered >= self._most:
            raise ProtocolError(f"more than {self._most:,} requests at once")
        if not number:
            return
        if number in self._pending:
            raise ProtocolError(f"two requests have the number {number}")
        if type(request) is ReadFile:
            size += request.size
        self._pending[number] = time.perf_counter(), size
        self.size += size

    def wait(self, number: int) -> None:
        """The request is not at its end yet, though it was handled."""
        self._unnumbered += not number

    def come(self, number: int) -> None:
        """What the request has waited for has come."""
        self._unnumbered -= not number

    def end(self, number: int) -> float | None:
        """A request is at its end; answers after how many seconds, if anybody waits for it."""
        self.answered += 1
        if not number:
            return None
        began, size = self._pending.pop(number, (0.0, 0))
        if not began:
            return None
        took = time.perf_counter() - began
        self.size -= size
        self._busy += took
        return took
