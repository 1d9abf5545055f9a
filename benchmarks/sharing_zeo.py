"""The contacts in ZODB, served by ZEO from a file storage.

An index is a B-tree that leads from a key and an object id to the object. The file storage syncs
its file at each commit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import transaction
import ZEO
import ZODB
from BTrees.OOBTree import OOBTree
from persistent.mapping import PersistentMapping
from ZODB.POSException import ConflictError, POSError
from ZODB.utils import p64, u64

from benchmarks.contacts import INDEXES, Contact
from benchmarks.contender import PAGE
from benchmarks.persistent_person import Person
from benchmarks.sharing_client import OBJECTS, Client, look, pause, remove_socket, socket_of


class ZeoClient(Client):
    """Three B-trees. Objects get a cache that has room for all that is looked at."""

    packages = ("ZEO", "ZODB", "BTrees", "persistent", "uvloop")
    lost = (POSError, ValueError)  # a server that was killed gives ids out again
    idle_in_one_process = 50

    @staticmethod
    def server(folder: Path) -> list[str]:
        remove_socket(folder)
        storage = str(folder / "contacts.fs")
        return [sys.executable, "-m", "ZEO.runzeo", "-a", socket_of(folder), "-f", storage]

    def __init__(self, folder: Path) -> None:
        self._database = ZODB.DB(ZEO.client(socket_of(folder)), cache_size=OBJECTS)
        self._manager = transaction.TransactionManager()
        self._connection = self._database.open(self._manager)

    def close(self) -> None:
        self._manager.abort()
        self._connection.close()
        self._database.close()

    def create(self) -> None:
        with self._manager:
            root = self._connection.root()
            root["indexes"] = PersistentMapping({name: OOBTree() for name in INDEXES})
            root["mark"] = PersistentMapping(number=0)

    def insert(self, contacts: Sequence[Contact]) -> None:
        self._in_transaction(self._add, contacts)

    def page_from(self, name: str, *, ahead: bool = False) -> int:
        page = list(islice(self._index("name").values((name, 0)), PAGE))
        if ahead:
            self._connection.prefetch(page)
        for person in page:
            look(person)
        return len(page)

    def get(self, ids: Iterable[int]) -> None:
        find = self._connection.get
        for ident in ids:
            look(find(p64(ident)))

    def ids(self) -> list[int]:
        return [ident for _, ident in self._index("name")]

    def moment(self) -> AbstractContextManager[object]:
        manager: AbstractContextManager[object] = self._manager
        return manager

    def mark(self) -> int:
        with self._manager:
            return int(self._connection.root()["mark"]["number"])

    def set_mark(self, number: int) -> None:
        self._in_transaction(self._change_mark, number)

    def recover(self) -> None:
        self._manager.abort()
        pause()

    def _in_transaction(self, call: Callable[[Any], None], argument: object) -> None:
        while True:
            try:
                with self._manager:
                    call(argument)
            except ConflictError:
                continue
            return

    def _add(self, contacts: Sequence[Contact]) -> None:
        names, emails, years = map(self._index, INDEXES)
        add = self._connection.add
        for contact in contacts:
            person = Person(*contact)
            add(person)
            ident = u64(person._p_oid)
            names[person.name, ident] = person
            emails[person.email, ident] = person
            years[person.born, ident] = person

    def _change_mark(self, number: int) -> None:
        self._connection.root()["mark"]["number"] = number

    def _index(self, name: str) -> Any:
        return self._connection.root()["indexes"][name]
