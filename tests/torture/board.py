"""What the torture's processes tell each other without a word: memory that all of them share.

A process that is killed leaves in it what it did last, so that nobody has to ask it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import time
from collections.abc import Iterator

from tests.torture.points import ENDS

THREADS = 3
_WRITTEN_IN = 0.1
PLACES = 5
OPERATIONS = ("nothing", "open", "begin", "change", "commit", "read", "fork", "close", "exit")
NOTHING, OPEN, BEGIN, CHANGE, COMMIT, READ, FORK, CLOSE, EXIT = range(9)


class Line(ctypes.Structure):
    """One thread: what it does since when, how much it has done, and its last commit."""

    operation: int
    began: float
    done: int
    commits: int
    begun: float
    told: float
    _fields_ = (
        ("operation", ctypes.c_int64),
        ("began", ctypes.c_double),
        ("done", ctypes.c_int64),
        ("commits", ctypes.c_int64),
        ("begun", ctypes.c_double),
        ("told", ctypes.c_double),
    )


class Place(ctypes.Structure):
    """One process: who it is, whether it owns the folder, and at which fail point it is to die.

    ``armed`` and ``died_at`` are numbers of ends of fail points, plus one; 0 is none. ``seen`` is
    the newest serial that anybody in this place was told of; it outlasts the process.
    """

    pid: int
    owns: int
    order: int
    armed: int
    countdown: int
    died_at: int
    died: float
    seen: int
    reads: int
    lost: int
    conflicts: int
    doubts: int
    busy: int
    interrupts: int
    forks: int
    lines: ctypes.Array[Line]
    passes: ctypes.Array[ctypes.c_int64]
    _fields_ = (
        *((name, ctypes.c_int64) for name in
          ("pid", "owns", "order", "armed", "countdown", "died_at")),
        ("died", ctypes.c_double),
        *((name, ctypes.c_int64) for name in
          ("seen", "reads", "lost", "conflicts", "doubts", "busy", "interrupts", "forks")),
        ("lines", Line * THREADS),
        ("passes", ctypes.c_int64 * len(ENDS)),
    )  # fmt: skip


class _Shared(ctypes.Structure):
    stop_began: float
    stop_ended: float
    places: ctypes.Array[Place]
    _fields_ = (
        ("stop_began", ctypes.c_double),
        ("stop_ended", ctypes.c_double),
        ("places", Place * (2 * PLACES)),
    )


class Board:
    """All places: the workers', and as many for children that workers fork."""

    def __init__(self, stacks: int) -> None:
        self.stacks = stacks
        self._memory = mmap.mmap(-1, ctypes.sizeof(_Shared))
        self.shared = _Shared.from_buffer(self._memory)

    def __getitem__(self, place: int) -> Place:
        found: Place = self.shared.places[place]
        return found

    def __iter__(self) -> Iterator[Place]:
        return (self[place] for place in range(2 * PLACES))

    @property
    def seen(self) -> int:
        """The newest serial that anybody was told of."""
        return max(place.seen for place in self)

    def stopped_since(self, moment: float) -> bool:
        """Whether anybody stood still at some time since then."""
        shared = self.shared
        return shared.stop_began > shared.stop_ended or shared.stop_ended >= moment

    def show_stacks(self) -> None:
        """Let everybody write down, in the file for it, what they are at."""
        for place in self:
            if is_alive(place.pid):
                os.write(self.stacks, f"\n== process {place.pid}\n".encode())
                os.kill(place.pid, signal.SIGUSR1)
                time.sleep(_WRITTEN_IN)

    def settle(self, number: int) -> Place:
        """Make a place ready for the next process in it."""
        place = self[number]
        place.pid = place.owns = place.order = place.armed = place.died_at = 0
        for line in place.lines:
            line.operation, line.done, line.begun, line.told = NOTHING, 0, 0.0, 0.0
        return place


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return pid > 0
