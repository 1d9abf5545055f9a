"""What every contender does, each as its own documentation recommends.

All are equally durable: a transaction that has ended is on disk. All that have a page cache get one
of 64 MB. They keep contacts with an id, sorted by name, e-mail address and year of birth. A method
that finds contacts looks at the name of each, so that none can put off loading them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import ClassVar

from benchmarks.contacts import Contact

CACHE_BYTES = 64 << 20
PAGE = 50

Insert = Callable[[Iterable[Contact]], None]


class Contender(ABC):
    """A collection of contacts in `folder`, open from the beginning.

    Not `durable`, a transaction does not wait for the disk; ``relaxes`` says whether that can be
    had. Without `checkpoints` the log is kept as it is. ``logs`` are the names of files that are
    needed only until the next checkpoint.
    """

    logs: ClassVar[tuple[str, ...]] = ()
    relaxes: ClassVar[bool] = True

    @abstractmethod
    def __init__(
        self, folder: Path, *, durable: bool = True, checkpoints: bool = True
    ) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def forget(self) -> None:
        """Let all loaded objects go; pages stay in the cache."""

    @abstractmethod
    def insert(self, contacts: Iterable[Contact]) -> None:
        """Add contacts in one transaction."""

    @abstractmethod
    def update(self, years: Iterable[tuple[int, int]]) -> None:
        """Change years of birth, given with the contacts' ids, in one transaction."""

    @abstractmethod
    def delete(self, ids: Iterable[int]) -> None:
        """Remove contacts in one transaction."""

    @abstractmethod
    def ids_of(self, names: Iterable[str]) -> list[int]:
        """The id of the first contact with each name."""

    @abstractmethod
    def get(self, ids: Iterable[int]) -> None:
        """Load contacts by their ids, one by one."""

    @abstractmethod
    def pages(self, ends: Iterable[tuple[str, str]]) -> int:
        """For each pair of names, load the page of contacts that begins with the first of them.

        The second is where it ends, for those who have to know. Returns how many were loaded.
        """

    @abstractmethod
    def page_at(self, offset: int) -> int:
        """Load the page of contacts from row `offset` on, by name; how many are there?"""

    @abstractmethod
    def count(self) -> int:
        """How many contacts are sorted by name."""

    @abstractmethod
    def count_between(self, low: str, high: str) -> int:
        """How many contacts have names from `low` to `high`, both included."""

    @abstractmethod
    def position(self, name: str) -> int:
        """In which row the contacts with that name begin."""

    @abstractmethod
    def walk(self) -> int:
        """Load every contact, by name; how many are there?"""

    @abstractmethod
    def walk_ids(self) -> int:
        """Read the id of every contact, by name; how many are there?"""

    def walk_keys(self) -> int | None:
        """Read the name of every contact in order, without loading it; how many are there?

        ``None`` where that is impossible.
        """
        return None

    @abstractmethod
    def add_index(self) -> None:
        """Sort all contacts by city too, in one transaction."""

    @abstractmethod
    def drop_index(self) -> None:
        """Undo that."""

    def snapshot(self) -> AbstractContextManager[None] | None:
        """A reader that goes on seeing this moment, or ``None`` where there is no such thing."""
        return None

    @contextmanager
    def threads(self) -> Iterator[Callable[[], AbstractContextManager[Insert]]]:
        """While several threads work: what gives each of them something to insert with."""
        yield lambda: nullcontext(self.insert)

    def syncs(self) -> int | None:
        """How often the log was synced so far, where it is counted."""
        return None
