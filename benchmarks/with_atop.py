"""The contacts in an Atop store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from atop import Item, Pool, Store
from benchmarks.contacts import INDEXES, Contact
from benchmarks.contender import CACHE_BYTES, PAGE, Contender, Insert


class Person(Item):
    """A contact."""

    name: str
    email: str
    city: str
    born: int


class WithAtop(Contender):
    """A pool with three indexes."""

    logs = ("log.*",)

    def __init__(self, folder: Path, *, durable: bool = True, checkpoints: bool = True) -> None:
        self._folder = folder
        self._store = Store(folder, cacheSize=CACHE_BYTES, durable=durable)
        self._pool = self._find_pool()
        self._held = ExitStack()
        if not checkpoints:  # as while a backup is made
            assert self._store.folder is not None
            self._held.enter_context(self._store.folder.engine.environment.paused())

    def close(self) -> None:
        self._held.close()
        self._store.close()

    def forget(self) -> None:
        # A second Store of the same folder shares the page cache, and has objects of its own.
        fresh = Store(self._folder)
        self._store.close()
        self._store = fresh
        self._pool = self._find_pool()
        _ = self._pool.queryIndex("name")[0].name

    def insert(self, contacts: Iterable[Contact]) -> None:
        self._insert(self._pool, contacts)

    def update(self, years: Iterable[tuple[int, int]]) -> None:
        find = self._store.getItemByID
        with self._store.transaction():
            for ident, born in years:
                find(ident).born = born

    def delete(self, ids: Iterable[int]) -> None:
        find, delete = self._store.getItemByID, self._store.delete
        with self._store.transaction():
            for ident in ids:
                delete(find(ident))

    def ids_of(self, names: Iterable[str]) -> list[int]:
        query = self._pool.queryIndex
        return [query("name", key=name).ids()[0] for name in names]

    def get(self, ids: Iterable[int]) -> None:
        find = self._store.getItemByID
        for ident in ids:
            _ = find(ident).name

    def pages(self, ends: Iterable[tuple[str, str]]) -> int:
        loaded = 0
        for first, _ in ends:
            for person in self._pool.queryIndex("name", startKey=first)[:PAGE]:
                _ = person.name
                loaded += 1
        return loaded

    def page_at(self, offset: int) -> int:
        return len([each.name for each in self._pool.queryIndex("name")[offset : offset + PAGE]])

    def count(self) -> int:
        return len(self._pool.queryIndex("name"))

    def count_between(self, low: str, high: str) -> int:
        return len(self._pool.queryIndex("name", startKey=low, endKey=high))

    def position(self, name: str) -> int:
        return self._pool.queryIndex("name").position(name)

    def walk(self) -> int:
        return sum(1 for person in self._pool.queryIndex("name") if person.name)

    def walk_ids(self) -> int:
        return sum(1 for _ in self._pool.queryIndex("name").ids())

    def walk_keys(self) -> int:
        names = self._pool.queryIndex("name").keys()
        return sum(1 for _ in names)

    def add_index(self) -> None:
        with self._store.transaction():
            self._pool.addIndex("city")

    def drop_index(self) -> None:
        with self._store.transaction():
            self._pool.dropIndex("city")

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

    @contextmanager
    def threads(self) -> Iterator[Callable[[], AbstractContextManager[Insert]]]:
        yield self._colleague

    def syncs(self) -> int:
        return self._store.stats().log_syncs

    def _colleague(self) -> AbstractContextManager[Insert]:
        pool = self._find_pool()  # of this thread
        return nullcontext(lambda contacts: self._insert(pool, contacts))

    def _insert(self, pool: Pool, contacts: Iterable[Contact]) -> None:
        add = pool.addItem
        with self._store.transaction():
            for name, email, city, born in contacts:
                add(Person(name=name, email=email, city=city, born=born))

    def _hold_snapshot(self, begun: threading.Event, ended: threading.Event) -> None:
        with self._store.snapshot():
            before = len(self._store)
            begun.set()
            ended.wait()
            assert len(self._store) == before

    def _find_pool(self) -> Pool:
        return self._store.pool("contacts", *INDEXES)
