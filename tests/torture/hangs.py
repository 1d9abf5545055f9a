"""Who hangs: a thread that has been at one thing for too long, the times of stops left out."""

from __future__ import annotations

import time
from pathlib import Path

from tests.torture.board import NOTHING, OPERATIONS, PLACES, Board, is_alive
from tests.torture.figures import Figures

HANGS = 10.0


class Failed(Exception):
    """The torture has found something."""


class Hang(Failed):
    """Something takes too long."""


class Watch:
    """Watches all places of the board."""

    def __init__(self, board: Board, figures: Figures) -> None:
        self._board = board
        self._figures = figures
        self._stops: list[tuple[float, float]] = []

    def stopped(self, began: float, ended: float) -> None:
        """Somebody stood still from one moment to the other: nobody is blamed for that time."""
        self._stops.append((began, ended))

    def look(self, owner: int | None, folder: Path) -> None:
        """Raise :class:`Hang` if somebody has been at one thing for too long.

        It tells who owns the store, and that the stacks of all are in that folder.
        """
        now = time.monotonic()
        for number, place in enumerate(self._board):
            if not place.pid or (number >= PLACES and not is_alive(place.pid)):
                continue
            for thread, line in enumerate(place.lines):
                since = line.began
                if line.operation == NOTHING or now - since < HANGS:
                    continue
                if now - since - self._stopped_since(since) > HANGS:
                    raise Hang(
                        self._told(number, thread, now - since)
                        + f"; the owner is in place {owner}; "
                        f"stacks of all are in {folder / 'stacks'}"
                    )

    def ages(self) -> str:
        """What everybody does, and since when."""
        now = time.monotonic()
        return "".join(
            f"place {number}, process {place.pid}, thread {thread}: {OPERATIONS[line.operation]} "
            f"for {now - line.began:.3f} s, {line.done} done\n"
            for number, place in enumerate(self._board) if place.pid
            for thread, line in enumerate(place.lines)
        )

    def _stopped_since(self, moment: float) -> float:
        shared, now = self._board.shared, time.monotonic()
        self._stops = [stop for stop in self._stops if stop[1] > now - 6 * HANGS]
        stops = list(self._stops)
        if shared.stop_began > shared.stop_ended:
            stops.append((shared.stop_began, now))
        return sum(max(0.0, end - max(began, moment)) for began, end in stops)

    def _told(self, number: int, thread: int, seconds: float) -> str:
        self._figures.hangs += 1
        ages, place = self.ages(), self._board[number]
        what = OPERATIONS[place.lines[thread].operation]
        self._board.show_stacks()
        return (
            f"{ages}thread {thread} of process {place.pid} in place {number} has been at {what!r} "
            f"for {seconds:.1f} s"
        )
