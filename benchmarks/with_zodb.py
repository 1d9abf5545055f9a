"""The contacts in ZODB, on a file storage.

An index is a B-tree that leads from a key and an object id to the object. The file storage syncs
its file at each commit. Contacts are got by the ids that their objects have in ZODB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import transaction
import ZODB
from BTrees.OOBTree import OOBTree
from persistent.mapping import PersistentMapping
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.utils import p64, u64

from benchmarks.contacts import INDEXES, Contact
from benchmarks.contender import CACHE_BYTES, PAGE, Contender, Insert
from benchmarks.persistent_person import Person

_OBJECTS = 1 << 30  # the limit is that of bytes
_CONNECTIONS = 16
_LAST = 1 << 63
_OFTEN = 10_000


class WithZODB(Contender):
    """Three B-trees. There is no page cache; that of objects has a limit of 64 MB of pickles."""

    relaxes = False

    def __init__(self, folder: Path, *, durable: bool = True, checkpoints: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self._database = ZODB.DB(
            FileStorage(str(folder / "contacts.fs")),
            pool_size=_CONNECTIONS, cache_size=_OBJECTS, cache_size_bytes=CACHE_BYTES,
        )  # fmt: skip
        self._manager = transaction.TransactionManager(explicit=True)
        self._manager.begin()
        self._connection = self._database.open(self._manager)
        if "indexes" not in self._connection.root():
            trees = {name: OOBTree() for name in INDEXES}
            self._connection.root()["indexes"] = PersistentMapping(trees)
            self._commit()

    def close(self) -> None:
        self._manager.abort()
        self._connection.close()
        self._database.close()

    def forget(self) -> None:
        self._connection.cacheMinimize()

    def insert(self, contacts: Iterable[Contact]) -> None:
        _add(self._connection, contacts)
        self._commit()

    def update(self, years: Iterable[tuple[int, int]]) -> None:
        by_year = self._index("born")
        for ident, born in years:
            person = self._connection.get(p64(ident))
            del by_year[person.born, ident]
            person.born = born
            by_year[born, ident] = person
        self._commit()

    def delete(self, ids: Iterable[int]) -> None:
        trees = [(name, self._index(name)) for name in INDEXES]
        for ident in ids:
            person = self._connection.get(p64(ident))
            for name, tree in trees:
                del tree[getattr(person, name), ident]
        self._commit()

    def ids_of(self, names: Iterable[str]) -> list[int]:
        by_name = self._index("name")
        return [by_name.minKey((name, 0))[1] for name in names]

    def get(self, ids: Iterable[int]) -> None:
        find = self._connection.get
        for ident in ids:
            _ = find(p64(ident)).name

    def pages(self, ends: Iterable[tuple[str, str]]) -> int:
        by_name = self._index("name")
        return sum(
            len([person.name for person in islice(by_name.values((first, 0)), PAGE)])
            for first, _ in ends
        )

    def page_at(self, offset: int) -> int:
        page = self._index("name").values()[offset : offset + PAGE]
        return len([person.name for person in page])

    def count(self) -> int:
        return len(self._index("name"))

    def count_between(self, low: str, high: str) -> int:
        return len(self._index("name").keys((low, 0), (high, _LAST)))

    def position(self, name: str) -> int:
        return len(self._index("name").keys(None, (name, 0), excludemax=True))

    def walk(self) -> int:
        walked = 0
        for person in self._index("name").values():
            _ = person.name
            walked += 1
            if walked % _OFTEN == 0:
                self._connection.cacheGC()
        return walked

    def walk_ids(self) -> int:
        return sum(1 for _, _ in self._index("name"))

    def walk_keys(self) -> int:
        return sum(1 for _, _ in self._index("name"))

    def add_index(self) -> None:
        tree = self._connection.root()["indexes"]["city"] = OOBTree()
        for (_, ident), person in self._index("name").items():
            tree[person.city, ident] = person
        self._commit()

    def drop_index(self) -> None:
        del self._connection.root()["indexes"]["city"]
        self._commit()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        manager = transaction.TransactionManager()
        reader = self._database.open(manager)
        before = len(reader.root()["indexes"])
        yield
        assert len(reader.root()["indexes"]) == before
        manager.abort()
        reader.close()

    @contextmanager
    def threads(self) -> Iterator[Callable[[], AbstractContextManager[Insert]]]:
        yield self._colleague
        self._manager.abort()
        self._manager.begin()

    @contextmanager
    def _colleague(self) -> Iterator[Insert]:
        manager = transaction.TransactionManager()
        connection = self._database.open(manager)

        def insert(contacts: Iterable[Contact]) -> None:
            added = list(contacts)
            while True:
                try:
                    with manager:
                        _add(connection, added)
                    return
                except ConflictError:
                    continue

        try:
            yield insert
        finally:
            manager.abort()
            connection.close()

    def _commit(self) -> None:
        self._manager.commit()
        self._manager.begin()

    def _index(self, name: str) -> Any:
        return self._connection.root()["indexes"][name]


def _add(connection: Any, contacts: Iterable[Contact]) -> None:
    indexes = connection.root()["indexes"]
    names, emails, years = (indexes[name] for name in INDEXES)
    add = connection.add
    for contact in contacts:
        person = Person(*contact)
        add(person)
        ident = u64(person._p_oid)
        names[person.name, ident] = person
        emails[person.email, ident] = person
        years[person.born, ident] = person
