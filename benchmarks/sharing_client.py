"""What every client does, each as its own documentation recommends.

A collection of contacts, sorted by name, e-mail address and year of birth, lives in a folder that
one process serves; clients are other processes. All are equally durable: a transaction that has
ended is on disk. Beside the contacts there is a number, the mark, for clients to see changing.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import ClassVar, Protocol

from benchmarks.contacts import Contact

OBJECTS = 100_000


class Named(Protocol):
    """A contact, whatever class it has."""

    name: str
    email: str
    city: str
    born: int


class Client(ABC):
    """A client of the collection in `folder`, connected from the beginning.

    ``packages`` are the distributions that a program needs to use it. ``lost`` are the errors that
    it gets when the process that serves has gone. ``idle_in_one_process`` is how many clients that
    do nothing one process holds.
    """

    packages: ClassVar[tuple[str, ...]]
    lost: ClassVar[tuple[type[Exception], ...]]
    idle_in_one_process: ClassVar[int] = 1

    @staticmethod
    @abstractmethod
    def server(folder: Path) -> list[str]:
        """The command of the process that serves `folder`; none where the first client does."""

    @staticmethod
    def owner(folder: Path) -> int | None:
        """The process among the clients that serves `folder`; ``None`` where :meth:`server` does.
        """
        return None

    @abstractmethod
    def __init__(self, folder: Path) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @classmethod
    def idle(cls, folder: Path) -> object:
        """A client that has read something and now does nothing, for as long as it is kept."""
        client = cls(folder)
        client.mark()
        return client

    @abstractmethod
    def create(self) -> None:
        """Make the empty collection, with the mark at nought."""

    @abstractmethod
    def insert(self, contacts: Sequence[Contact]) -> None:
        """Add contacts in one transaction; again, as long as it conflicts with another."""

    @abstractmethod
    def page_from(self, name: str, *, ahead: bool = False) -> int:
        """Load the page of contacts that begins with it, sorted by name; how many are there?

        With `ahead` those who can are told beforehand what will be looked at.
        """

    @abstractmethod
    def get(self, ids: Iterable[int]) -> None:
        """Load contacts by their ids, one by one."""

    @abstractmethod
    def ids(self) -> list[int]:
        """The ids of all contacts, by name."""

    @abstractmethod
    def moment(self) -> AbstractContextManager[object]:
        """A context in which all that is read is from one moment, which is now."""

    @abstractmethod
    def mark(self) -> int:
        """The mark, read in a moment of its own."""

    @abstractmethod
    def set_mark(self, number: int) -> None:
        """Change the mark, in one transaction."""

    @abstractmethod
    def recover(self) -> None:
        """What a program does after one of the errors that are ``lost``."""


def look(contact: Named) -> None:
    """Touch all attributes, so that nobody can put off loading them."""
    _ = contact.name, contact.email, contact.city, contact.born


def socket_of(folder: Path) -> str:
    """Where a server of `folder` listens: relative, since such paths must be short."""
    return os.path.join(".", os.path.relpath(folder / "socket"))


def remove_socket(folder: Path) -> None:
    """Remove what a killed server left."""
    with suppress(FileNotFoundError):
        (folder / "socket").unlink()


def pause() -> None:
    """Wait for a tenth of a millisecond, so that others have the processor."""
    time.sleep(1e-4)
