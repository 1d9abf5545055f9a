"""The contacts in an Atop store."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atop import Item, Pool, Store
from benchmarks.contacts import INDEXES, Contact
from benchmarks.contender import CACHE_BYTES, PAGE, Contender


class Person(Item):
    """A contact."""

    name: str
    email: str
    city: str
    born: int


class WithAtop(Contender):
    """A pool with three indexes."""

    modules = "atop"

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._folder = folder
        self._store = Store(folder, cacheSize=CACHE_BYTES, durable=durable)
        self._pool = self._find_pool()
        self._first = self._pool.id + 1 if self._pool.id is not None else 0

    def close(self) -> None:
        self._store.close()

    def forget(self) -> None:
        # A second Store of the same folder shares the page cache, and has objects of its own.
        fresh = Store(self._folder)
        self._store.close()
        self._store = fresh
        self._pool = self._find_pool()
        self.get([1])

    def insert(self, contacts: Iterable[Contact]) -> None:
        add = self._pool.addItem
        with self._store.transaction():
            for name, email, city, born in contacts:
                add(Person(name=name, email=email, city=city, born=born))

    def get(self, ids: Iterable[int]) -> None:
        find, before = self._store.getItemByID, self._first - 1
        for ident in ids:
            _ = find(before + ident).name

    def pages_from(self, names: Iterable[str]) -> None:
        for name in names:
            for person in self._pool.queryIndex("name", startKey=name)[:PAGE]:
                _ = person.name

    def page_at(self, offset: int) -> int:
        return len([each.name for each in self._pool.queryIndex("name")[offset : offset + PAGE]])

    def count(self) -> int:
        return len(self._pool.queryIndex("name"))

    def position(self, name: str) -> int:
        return self._pool.queryIndex("name").position(name)

    def name_at(self, offset: int) -> str:
        return str(self._pool.queryIndex("name").keys()[offset])

    def walk(self) -> int:
        return sum(1 for person in self._pool.queryIndex("name") if person.name)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        begun, ended = threading.Event(), threading.Event()
        reader = threading.Thread(target=self._hold_snapshot, args=(begun, ended))
        reader.start()
        begun.wait()
        try:
            yield
        finally:
            ended.set()
            reader.join()

    def _hold_snapshot(self, begun: threading.Event, ended: threading.Event) -> None:
        with self._store.snapshot():
            before = len(self._store)
            begun.set()
            ended.wait()
            assert len(self._store) == before

    def _find_pool(self) -> Pool:
        return self._store.pool("contacts", *INDEXES)
