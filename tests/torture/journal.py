"""What writers meant to commit and what they were told is committed, kept outside of the store.

One file, to which every process appends lines with ``O_APPEND``: ``I`` before a transaction
begins, ``C`` after its ``commit()`` has returned, ``A`` when it was told that nothing was kept.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Told:
    """The transactions of a journal, by their numbers."""

    meant: set[int] = field(default_factory=set)
    committed: set[int] = field(default_factory=set)
    aborted: set[int] = field(default_factory=set)


class Journal:
    """Appends to the file at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def meant(self, number: int) -> None:
        """The transaction of that number is about to begin."""
        os.write(self._descriptor, b"I %d\n" % number)

    def committed(self, number: int) -> None:
        """Its commit has returned."""
        os.write(self._descriptor, b"C %d\n" % number)

    def aborted(self, number: int) -> None:
        """Nothing of it was kept."""
        os.write(self._descriptor, b"A %d\n" % number)

    def clear(self) -> None:
        """Begin anew, when nobody writes."""
        os.ftruncate(self._descriptor, 0)

    def read(self) -> Told:
        """All that stands in it."""
        told = Told()
        sets = {b"I": told.meant, b"C": told.committed, b"A": told.aborted}
        for line in self.path.read_bytes().splitlines():
            kind, number = line.split()
            sets[kind].add(int(number))
        return told
