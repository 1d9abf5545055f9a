"""What a verification found: each problem with what depends on it, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

KEPT = 1000
RESTORE = "restore a backup with `atopdb restore`"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be.

    ``damage`` is what is wrong and where, ``affects`` what depends on it, ``remedy`` the way back.
    """

    damage: str
    affects: str
    remedy: str = RESTORE


@dataclass(frozen=True, slots=True)
class Report:
    """What a store holds at the commit ``serial``, and what is wrong with it.

    ``entries`` counts the rows of all indexes. ``problems`` are damage, the first thousand in the
    order in which they were found, and ``more`` is how many were found beside these. ``notes`` are
    what is worth knowing and is none, such as a reference to an item that was deleted.
    """

    serial: int = 0
    items: int = 0
    entries: int = 0
    files: int = 0
    pools: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    more: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.problems


class Findings:
    """Problems and notes as they are found; of each the first ones are kept, all are counted.

    ``readable`` is whether the tables can be walked without danger.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.readable = True
        self.more = 0
        self.more_notes = 0

    def damaged(self, damage: str, affects: str, remedy: str = RESTORE) -> None:
        """Add a problem."""
        if len(self.problems) < KEPT:
            self.problems.append(Problem(damage, affects, remedy))
        else:
            self.more += 1

    def note(self, text: str) -> None:
        """Add something that is no damage."""
        if len(self.notes) < KEPT:
            self.notes.append(text)
        else:
            self.more_notes += 1
