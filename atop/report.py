"""What a verification found: each problem with what depends on it, and the way back."""

from __future__ import annotations

import errno
import os
import shlex
from dataclasses import dataclass

KEPT = 1000
RESTORE = "restore a backup with `atopdb restore`"
CHECK_DISK = (
    "copy the folder to another disk first, check this one, and go on with the copy; what cannot "
    f"be copied is lost: {RESTORE}, or save the rest with `atopdb salvage`"
)
_UNREADABLE = os.strerror(errno.EIO)


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

    ``readable`` is whether the tables can be walked without danger, ``index_readable`` whether the
    index can. ``repair`` and ``salvage`` are ways back for the store in the folder `path`.
    """

    def __init__(self, path: str = "") -> None:
        place = shlex.quote(path)
        self.repair = f"close the store, and run `atopdb verify --repair {place}`"
        self.salvage = (
            f"{self.repair}, which changes nothing if an item would be lost by it; or restore a "
            f"backup with `atopdb restore`, or save what can be with `atopdb salvage {place} NEW`"
        )
        if not path:
            self.repair = self.salvage = "make the store in memory anew"
        self.index_readable = True
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.readable = True
        self.more = 0
        self.more_notes = 0

    def damaged(self, damage: str, affects: str, remedy: str = RESTORE) -> None:
        """Add a problem; where a disk fails, nothing is to be written to it any more."""
        if _UNREADABLE in damage:
            remedy = CHECK_DISK
        if len(self.problems) < KEPT:
            self.problems.append(Problem(damage, affects, remedy))
        else:
            self.more += 1

    def damaged_page(self, table: str, damage: str, affects: str) -> None:
        """Add damage in the pages of a table, which nobody is to read any more."""
        self.damaged(damage, affects, self.salvage if table == "items" else self.repair)
        if table == "index":
            self.index_readable = False
        else:
            self.readable = False

    def note(self, text: str) -> None:
        """Add something that is no damage."""
        if len(self.notes) < KEPT:
            self.notes.append(text)
        else:
            self.more_notes += 1


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that a salvaged store lacks, or has otherwise than it was.

    ``kind`` is ``item``, ``older`` or ``doubtful`` (a version that may not be the last, or may be
    wrong), ``file`` (its bytes), ``name`` (of a file), ``pool``, ``index``, ``key`` or ``class``;
    ``id`` is the item's or pool's, or the number of the class.
    """

    kind: str
    id: int
    what: str


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What was saved of a store: how many of each, and what could not be.

    ``expected`` is how many items the last commit counted, ``None`` where that is lost too.
    ``current`` is whether the last commit can be told: where the store was not closed in order and
    its logs cannot be used, what was committed last may be lost without a trace.
    ``notes`` tell what was found damaged, and what is worth knowing.
    """

    items: int = 0
    expected: int | None = None
    entries: int = 0
    pools: int = 0
    files: int = 0
    losses: tuple[Loss, ...] = ()
    notes: tuple[str, ...] = ()
    current: bool = True

    @property
    def unknown(self) -> int:
        """How many items are lost of which nothing is known but that they were there."""
        told = sum(loss.kind == "item" for loss in self.losses)
        return 0 if self.expected is None else max(0, self.expected - self.items - told)

    @property
    def complete(self) -> bool:
        """Whether all of the store was saved as it was."""
        known = self.current and self.expected is not None
        return known and not self.losses and not self.unknown
