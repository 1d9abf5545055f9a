"""The contacts in Durus, served by its storage server.

An index is a B-tree that leads from a key and a number to the object. Of the file storages that
come with Durus the server is given ``FileStorage2``, which syncs its file at each commit; the one
that it would take by itself does not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from random import SystemRandom
from typing import Any

from durus.btree import BTree
from durus.client_storage import ClientStorage
from durus.connection import Connection
from durus.error import ConflictError, DurusError
from durus.persistent import Persistent
from durus.persistent_dict import PersistentDict
from durus.utils import ShortRead, str_to_int8

from benchmarks.contacts import INDEXES, Contact
from benchmarks.contender import PAGE
from benchmarks.sharing_client import OBJECTS, Client, look, pause, remove_socket, socket_of

_WARNING = "30"


class Person(Persistent):  # type: ignore[misc]
    """A contact."""

    def __init__(self, name: str, email: str, city: str, born: int) -> None:
        self.name = name
        self.email = email
        self.city = city
        self.born = born


class DurusClient(Client):
    """Three B-trees."""

    packages = ("Durus",)
    lost = (DurusError, ShortRead, OSError)
    idle_in_one_process = 50

    @staticmethod
    def server(folder: Path) -> list[str]:
        remove_socket(folder)
        return [
            sys.executable, "-m", "durus", "-s", "--address", socket_of(folder),
            "--file", str(folder / "contacts.durus"),
            "--storage-class", "durus.file_storage2.FileStorage2", "--repair",
            "--logginglevel", _WARNING,
        ]  # fmt: skip

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connect()

    def close(self) -> None:
        with suppress(OSError):  # the server was killed
            self._connection.get_storage().close()

    def create(self) -> None:
        root = self._connection.get_root()
        root["indexes"] = PersistentDict({name: BTree() for name in INDEXES})
        root["mark"] = PersistentDict(number=0)
        self._connection.commit()

    def insert(self, contacts: Sequence[Contact]) -> None:
        self._in_transaction(self._add, contacts)

    def page_from(self, name: str, *, ahead: bool = False) -> int:
        loaded = 0
        for _, person in islice(self._index("name").items_from((name, 0)), PAGE):
            look(person)
            loaded += 1
        return loaded

    def get(self, ids: Iterable[int]) -> None:
        find = self._connection.get
        for ident in ids:
            look(find(ident))

    def ids(self) -> list[int]:
        return [str_to_int8(person._p_oid) for person in self._index("name").values()]

    @contextmanager
    def moment(self) -> Iterator[None]:
        self._connection.abort()
        yield

    def mark(self) -> int:
        while True:
            with suppress(ConflictError), self.moment():
                return int(self._connection.get_root()["mark"]["number"])

    def set_mark(self, number: int) -> None:
        self._in_transaction(self._change_mark, number)

    def recover(self) -> None:
        self._connection.get_storage().s.close()
        while True:
            pause()
            with suppress(AssertionError, ShortRead, OSError):  # nobody listens, or not yet
                return self._connect()

    def _connect(self) -> None:
        storage = ClientStorage(address=socket_of(self._folder))
        self._connection = Connection(storage, cache_size=OBJECTS)

    def _in_transaction(self, call: Callable[[Any], None], argument: object) -> None:
        while True:
            self._connection.abort()
            with suppress(ConflictError):
                call(argument)
                self._connection.commit()
                return

    def _add(self, contacts: Sequence[Contact]) -> None:
        names, emails, years = map(self._index, INDEXES)
        number = SystemRandom().getrandbits  # a counter for all would be a conflict each time
        for contact in contacts:
            person, ident = Person(*contact), number(62)
            names[person.name, ident] = person
            emails[person.email, ident] = person
            years[person.born, ident] = person

    def _change_mark(self, number: int) -> None:
        self._connection.get_root()["mark"]["number"] = number

    def _index(self, name: str) -> Any:
        return self._connection.get_root()["indexes"][name]
