"""The contacts in Durus, on its file storage.

An index is a B-tree that leads from a key and a number to the object. The file storage does not
sync its file; it is made to here. Contacts are got by the ids that their objects have in Durus.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import islice
from pathlib import Path
from random import SystemRandom
from socket import AF_UNIX, socket
from time import sleep
from typing import Any

from durus.btree import BTree
from durus.client_storage import ClientStorage
from durus.connection import Connection
from durus.error import ConflictError
from durus.file_storage import FileStorage
from durus.logger import logger
from durus.persistent import Persistent
from durus.persistent_dict import PersistentDict
from durus.utils import str_to_int8

from benchmarks.contacts import INDEXES, Contact
from benchmarks.contender import PAGE, Contender, Insert

_OBJECTS = 100_000  # as it is by itself: about 64 MB of such contacts
_OFTEN = 10_000
_LAST = 1 << 62
_WARNING = "30"
_PAUSE = 0.01

logger.setLevel(logging.WARNING)


class SyncedStorage(FileStorage):  # type: ignore[misc]
    """The file storage, with a sync at the end of each commit."""

    def end(self, handle_invalidations: Any = None) -> None:
        super().end(handle_invalidations)
        self.shelf.get_file().fsync()


class Person(Persistent):  # type: ignore[misc]
    """A contact."""

    def __init__(self, number: int, name: str, email: str, city: str, born: int) -> None:
        self.number = number
        self.name = name
        self.email = email
        self.city = city
        self.born = born


class WithDurus(Contender):
    """Three B-trees. Durus has no page cache, and one of objects."""


    def __init__(self, folder: Path, *, durable: bool = True, checkpoints: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self._file = folder / "contacts.durus"
        self._open(SyncedStorage if durable else FileStorage)
        if "indexes" not in self._connection.get_root():
            trees = {name: BTree() for name in INDEXES}
            self._connection.get_root()["indexes"] = PersistentDict(trees)
            self._connection.commit()

    def close(self) -> None:
        self._storage.close()

    def forget(self) -> None:
        self._connection = Connection(self._storage, cache_size=_OBJECTS)

    def insert(self, contacts: Iterable[Contact]) -> None:
        _add(self._connection, contacts)
        self._connection.commit()

    def update(self, years: Iterable[tuple[int, int]]) -> None:
        by_year = self._index("born")
        for ident, born in years:
            person = self._connection.get(ident)
            del by_year[person.born, person.number]
            person.born = born
            by_year[born, person.number] = person
        self._connection.commit()

    def delete(self, ids: Iterable[int]) -> None:
        trees = [(name, self._index(name)) for name in INDEXES]
        for ident in ids:
            person = self._connection.get(ident)
            for name, tree in trees:
                del tree[getattr(person, name), person.number]
        self._connection.commit()

    def ids_of(self, names: Iterable[str]) -> list[int]:
        find = self._index("name").items_from
        return [str_to_int8(next(find((name, 0)))[1]._p_oid) for name in names]

    def get(self, ids: Iterable[int]) -> None:
        find = self._connection.get
        for ident in ids:
            _ = find(ident).name

    def pages(self, ends: Iterable[tuple[str, str]]) -> int:
        loaded, find = 0, self._index("name").items_from
        for first, _ in ends:
            for _, person in islice(find((first, 0)), PAGE):
                _ = person.name
                loaded += 1
        return loaded

    def page_at(self, offset: int) -> int:
        page = islice(self._index("name").values(), offset, offset + PAGE)
        return len([person.name for person in page])

    def count(self) -> int:
        return len(self._index("name"))

    def count_between(self, low: str, high: str) -> int:
        found = self._index("name").items_range((low, 0), (high, _LAST))
        return sum(1 for _ in found)

    def position(self, name: str) -> int:
        return sum(1 for _ in self._index("name").items_range(("", 0), (name, 0)))

    def walk(self) -> int:
        walked = 0
        for person in self._index("name").values():
            _ = person.name
            walked += 1
            if walked % _OFTEN == 0:
                self._connection.shrink_cache()
        return walked

    def walk_ids(self) -> int:
        people = self._index("name").values()
        return sum(1 for _ in (str_to_int8(person._p_oid) for person in people))

    def walk_keys(self) -> int:
        return sum(1 for _, _ in self._index("name"))

    def add_index(self) -> None:
        tree = self._connection.get_root()["indexes"]["city"] = BTree()
        for person in self._index("name").values():
            tree[person.city, person.number] = person
        self._connection.commit()

    def drop_index(self) -> None:
        del self._connection.get_root()["indexes"]["city"]
        self._connection.commit()

    @contextmanager
    def threads(self) -> Iterator[Callable[[], AbstractContextManager[Insert]]]:
        """Several connections need the server that comes with it."""
        self._storage.close()
        address = str(self._file.with_suffix(".socket"))
        server = subprocess.Popen([
            sys.executable, "-m", "durus", "-s", "--address", address, "--file", str(self._file),
            "--storage-class", "benchmarks.with_durus.SyncedStorage",
            "--logginglevel", _WARNING,
        ])  # fmt: skip
        try:
            _wait_for(address)
            yield lambda: _colleague(address)
        finally:
            server.terminate()
            server.wait()
            Path(address).unlink(missing_ok=True)
            self._open(SyncedStorage)

    def _open(self, storage: Any) -> None:
        self._storage = storage(str(self._file))
        self._connection = Connection(self._storage, cache_size=_OBJECTS)

    def _index(self, name: str) -> Any:
        return self._connection.get_root()["indexes"][name]


@contextmanager
def _colleague(address: str) -> Iterator[Insert]:
    storage = ClientStorage(address=address)
    connection = Connection(storage, cache_size=_OBJECTS)

    def insert(contacts: Iterable[Contact]) -> None:
        added = list(contacts)
        while True:
            connection.abort()
            with suppress(ConflictError):
                _add(connection, added)
                connection.commit()
                return

    try:
        yield insert
    finally:
        storage.close()


def _wait_for(address: str) -> None:
    while True:
        with suppress(OSError), socket(AF_UNIX) as probe:
            probe.connect(address)
            return
        sleep(_PAUSE)


def _add(connection: Any, contacts: Iterable[Contact]) -> None:
    indexes = connection.get_root()["indexes"]
    names, emails, years = (indexes[name] for name in INDEXES)
    number = SystemRandom().getrandbits  # a counter for all would be a conflict each time
    for contact in contacts:
        ident = number(62)
        person = Person(ident, *contact)
        names[person.name, ident] = person
        emails[person.email, ident] = person
        years[person.born, ident] = person
