"""What every contender does, each as its own documentation recommends.

All are equally durable: a transaction that has ended is on disk. All get a page cache of 64 MB, and
keep contacts with an id, sorted by name, e-mail address and year of birth. A method that finds
contacts looks at the name of each, so that none can put off loading them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

from benchmarks.contacts import Contact

CACHE_BYTES = 64 << 20
PAGE = 50


class Contender(ABC):
    """A collection of contacts in `folder`, open from the beginning. Their first id is 1.

    ``modules`` are what a program imports to use it.
    """

    modules: ClassVar[str]

    @abstractmethod
    def __init__(self, folder: Path, *, durable: bool = True) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def forget(self) -> None:
        """Let all loaded objects go; pages stay in the cache."""

    @abstractmethod
    def insert(self, contacts: Iterable[Contact]) -> None:
        """Add contacts in one transaction."""

    @abstractmethod
    def get(self, ids: Iterable[int]) -> None:
        """Load contacts by their ids, one by one."""

    @abstractmethod
    def pages_from(self, names: Iterable[str]) -> None:
        """For each name, load the page of contacts that begins with it, sorted by name."""

    @abstractmethod
    def page_at(self, offset: int) -> int:
        """Load the page of contacts from row `offset` on, by name; how many are there?"""

    @abstractmethod
    def count(self) -> int:
        """How many contacts are sorted by name."""

    @abstractmethod
    def position(self, name: str) -> int:
        """In which row the contacts with that name begin."""

    @abstractmethod
    def name_at(self, offset: int) -> str:
        """The name in row `offset`, by name."""

    @abstractmethod
    def walk(self) -> int:
        """Load every contact, by name; how many are there?"""

    def snapshot(self) -> AbstractContextManager[None] | None:
        """A reader that goes on seeing this moment, or ``None`` where there is no such thing."""
        return None
