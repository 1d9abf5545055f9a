"""The contacts in an Atop store that several processes have open; the first of them serves it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

from atop import Item, Pool, Store
from atop.errors import AtopError
from benchmarks.contacts import INDEXES, Contact
from benchmarks.contender import CACHE_BYTES, PAGE
from benchmarks.sharing_client import Client, look, pause
from benchmarks.with_atop import Person


class Mark(Item):
    """The mark."""

    number: int


class AtopClient(Client):
    """A pool with three indexes."""

    packages = ("atopdb", "berkeleydb")
    lost = (AtopError,)

    @staticmethod
    def server(folder: Path) -> list[str]:
        return []

    @staticmethod
    def owner(folder: Path) -> int | None:
        return int(json.loads((_path(folder) / "owner").read_bytes())["pid"])

    def __init__(self, folder: Path) -> None:
        self._store = Store(_path(folder), cacheSize=CACHE_BYTES)

    def close(self) -> None:
        self._store.close()

    def create(self) -> None:
        with self._store.transaction():
            self._store.pool("contacts", *INDEXES)
            self._store.pool("marks").addItem(Mark(number=0))

    def insert(self, contacts: Sequence[Contact]) -> None:
        self._store.transact(self._add, contacts)

    def page_from(self, name: str, *, ahead: bool = False) -> int:
        loaded = 0
        for person in self._pool.queryIndex("name", startKey=name)[:PAGE]:
            look(person)
            loaded += 1
        return loaded

    def get(self, ids: Iterable[int]) -> None:
        find = self._store.getItemByID
        for ident in ids:
            look(find(ident))

    def ids(self) -> list[int]:
        return list(self._pool.queryIndex("name").ids())

    def moment(self) -> AbstractContextManager[object]:
        return self._store.snapshot()

    def mark(self) -> int:
        with self._store.snapshot():
            return self._mark.number

    def set_mark(self, number: int) -> None:
        with self._store.transaction():
            self._mark.number = number

    def recover(self) -> None:
        pause()

    def _add(self, contacts: Sequence[Contact]) -> None:
        add = self._pool.addItem
        for name, email, city, born in contacts:
            add(Person(name=name, email=email, city=city, born=born))

    @cached_property
    def _pool(self) -> Pool:
        return self._store.pool("contacts")

    @cached_property
    def _mark(self) -> Mark:
        mark: Mark = next(iter(self._store.pool("marks")))
        return mark


def _path(folder: Path) -> Path:
    return folder / "contacts.atop"
