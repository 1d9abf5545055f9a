"""A store in which notes are written, and what is known of each: it is in, or it is in doubt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from atop import Index, Item, Store
from atop.errors import AtopError
from tests.checking import check_store


class Note(Item):
    """A page with a number."""


class Book:
    """The store at `path`. A note that was acknowledged is never lost."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.store = Store(path, **{"timeout": 2, **options})
        self.certain: set[int] = set()
        self.doubtful: set[int] = set()

    def write(self, size: int = 100, file: bytes = b"") -> int:
        """One transaction; what it raises is raised, and the note in doubt."""
        number = len(self.certain) + len(self.doubtful)
        self.doubtful.add(number)
        with self.store.transaction():
            note = Note(number=number, text=os.urandom(size), file=None)
            if file:
                with self.store.newFile("attachment") as made:
                    made.write(file)
                note.file = made
            self.store.pool("notes", Index("number", unique=True)).addItem(note)
        self.doubtful.discard(number)
        self.certain.add(number)
        return number

    def write_until(self, kind: type[AtopError], size: int = 100_000, most: int = 1000) -> str:
        """Write until that error comes; answers its words."""
        for _ in range(most):
            try:
                self.write(size)
            except kind as error:
                return str(error)
        raise AssertionError(f"{most} notes went in")

    def check(self, *, whole: bool = False) -> None:
        """What is certain is there, and nothing that nobody wrote; all agrees, if `whole`."""
        with self.store.snapshot():
            numbers = [note.number for note in self.store.items(Note)]
            pools = self.store.pools()
            listed = [note.number for note in pools[0].queryIndex("number")] if pools else []
        assert sorted(numbers) == listed, "the index is not what the notes are"
        found = set(numbers)
        assert self.certain <= found, f"lost: {sorted(self.certain - found)}"
        assert found <= self.certain | self.doubtful
        if whole:
            check_store(self.store)

    def close(self) -> None:
        self.store.close()

    def reopen(self) -> None:
        self.store = Store(self.path, timeout=2)
