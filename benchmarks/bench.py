"""The collections of one contender, open as long as they are worked with."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from subprocess import DEVNULL, run

from benchmarks.contacts import SEED, Contact, contacts
from benchmarks.contender import Contender
from benchmarks.landmarks import Landmarks
from benchmarks.worker import Figures, check


class Bench:
    """Each collection is known by how many contacts it was made with."""

    def __init__(self, kind: type[Contender], folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.chance = random.Random(SEED)
        self._open: dict[int, Contender] = {}
        self._landmarks: dict[int, Landmarks] = {}
        self._more = contacts(1 << 62, SEED + 1)
        self._added: Counter[int] = Counter()

    def contender(self, items: int) -> Contender:
        """The collection of that many, opened if it is not open."""
        if items not in self._open:
            self._open[items] = self.kind(self.path(items))
        return self._open[items]

    def cold(self, items: int) -> None:
        """Forget its objects, and read its files, which the system's memory may have lost.

        Another process reads: to close a file here would drop SQLite's locks on it.
        """
        self.contender(items).forget()
        files = [each for each in self.path(items).rglob("*") if each.is_file()]
        run(["cat", "--", *files], stdout=DEVNULL, check=True)

    def landmarks(self, items: int) -> Landmarks:
        """Where to look in it."""
        if items not in self._landmarks:
            self._landmarks[items] = Landmarks.load(self.folder.parent, items)
        return self._landmarks[items]

    def path(self, items: int) -> Path:
        """Its folder."""
        return self.folder / str(items)

    def new(self, items: int, count: int) -> list[Contact]:
        """Contacts that are about to be added to it."""
        self._added[items] += count
        return [next(self._more) for _ in range(count)]

    def emptied(self, items: int) -> None:
        """It was made anew."""
        self._added[items] = 0

    def check_count(self, items: int, counted: int, expected: int) -> None:
        """Of `expected` contacts that were there at first, none is missing, nor one too many."""
        check(0 <= counted - expected <= self._added[items])

    def close(self) -> Figures:
        """Close all that is open."""
        while self._open:
            self._open.popitem()[1].close()
        return {}
