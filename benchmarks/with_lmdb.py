"""The contacts in LMDB by hand, laid out like those in Berkeley DB by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from pickle import dumps, loads
from typing import Any

import lmdb

from benchmarks.contacts import Contact, Person
from benchmarks.contender import PAGE, Contender
from benchmarks.entries import (
    CITY,
    EMAIL,
    END,
    NAME,
    after_name,
    at_name,
    by_city,
    by_year,
    entries,
    entries_of,
    name_in,
    number_of,
)

_MAP_BYTES = 1 << 36


class WithLMDB(Contender):
    """A table of pickled objects by id and one of index entries. The system caches its pages."""


    def __init__(self, folder: Path, *, durable: bool = True, checkpoints: bool = True) -> None:
        self._environment: Any = lmdb.open(
            str(folder), map_size=_MAP_BYTES, max_dbs=2, sync=durable
        )
        self._items = self._environment.open_db(b"items")
        self._index = self._environment.open_db(b"index")
        with self._environment.begin(self._items) as txn, txn.cursor() as cursor:
            self._next = int.from_bytes(cursor.key(), "big") + 1 if cursor.last() else 1

    def close(self) -> None:
        self._environment.close()

    def forget(self) -> None:
        """By hand no object is kept."""

    def insert(self, contacts: Iterable[Contact]) -> None:
        with self._environment.begin(write=True) as txn:
            rows: list[bytes] = []
            with txn.cursor(self._items) as cursor:
                cursor.putmulti(self._pickled(contacts, rows), append=True)
            self._put_entries(txn, rows)

    def update(self, years: Iterable[tuple[int, int]]) -> None:
        with self._environment.begin(write=True) as txn:
            rows: list[bytes] = []
            for ident, born in years:
                key = ident.to_bytes(8, "big")
                person = loads(txn.get(key, db=self._items))
                txn.delete(by_year(key, person.born), db=self._index)
                person.born = born
                txn.put(key, dumps(person, 5), db=self._items)
                rows.append(by_year(key, born))
            self._put_entries(txn, rows)

    def delete(self, ids: Iterable[int]) -> None:
        with self._environment.begin(write=True) as txn:
            for ident in ids:
                key = ident.to_bytes(8, "big")
                for row in entries_of(key, loads(txn.get(key, db=self._items))):
                    txn.delete(row, db=self._index)
                txn.delete(key, db=self._items)

    def ids_of(self, names: Iterable[str]) -> list[int]:
        with self._cursor() as cursor:
            return [number_of(cursor.key()) for name in names if cursor.set_range(at_name(name))]

    def get(self, ids: Iterable[int]) -> None:
        with self._environment.begin(self._items) as txn:
            get = txn.get
            for ident in ids:
                _ = loads(get(ident.to_bytes(8, "big"))).name

    def pages(self, ends: Iterable[tuple[str, str]]) -> int:
        loaded = 0
        with self._cursor() as cursor:
            for first, _ in ends:
                if cursor.set_range(at_name(first)):
                    loaded += self._load(islice(_names(cursor), PAGE))
        return loaded

    def page_at(self, offset: int) -> int:
        with self._cursor() as cursor:
            cursor.set_range(NAME)
            return self._load(islice(_names(cursor), offset, offset + PAGE))

    def count(self) -> int:
        with self._environment.begin() as txn:
            return int(txn.stat(self._items)["entries"])

    def count_between(self, low: str, high: str) -> int:
        with self._cursor() as cursor:
            return _count(cursor, at_name(low), after_name(high))

    def position(self, name: str) -> int:
        with self._cursor() as cursor:
            return _count(cursor, NAME, at_name(name))

    def walk(self) -> int:
        with self._cursor() as cursor:
            cursor.set_range(NAME)
            return self._load(_names(cursor))

    def walk_ids(self) -> int:
        with self._cursor() as cursor:
            cursor.set_range(NAME)
            return sum(1 for _ in map(number_of, _names(cursor)))

    def walk_keys(self) -> int:
        with self._cursor() as cursor:
            cursor.set_range(NAME)
            return sum(1 for _ in map(name_in, _names(cursor)))

    def add_index(self) -> None:
        with self._environment.begin(write=True) as txn:
            with txn.cursor(self._items) as cursor:
                rows = [by_city(key, loads(pickled).city) for key, pickled in cursor]
            self._put_entries(txn, rows)

    def drop_index(self) -> None:
        with self._environment.begin(write=True) as txn, txn.cursor(self._index) as cursor:
            found = cursor.set_range(CITY)
            while found and cursor.key() < END:
                found = cursor.delete()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._environment.begin():
            yield

    def _pickled(
        self, contacts: Iterable[Contact], rows: list[bytes]
    ) -> Iterator[tuple[bytes, bytes]]:
        for name, email, city, born in contacts:
            key = self._next.to_bytes(8, "big")
            rows += entries(key, name, email, born)
            self._next += 1
            yield key, dumps(Person(name, email, city, born), 5)

    def _put_entries(self, txn: Any, rows: list[bytes]) -> None:
        rows.sort()
        with txn.cursor(self._index) as cursor:
            cursor.putmulti((row, b"") for row in rows)

    def _load(self, rows: Iterable[bytes]) -> int:
        loaded = 0
        with self._environment.begin(self._items) as txn:
            get = txn.get
            for row in rows:
                _ = loads(get(row[-8:])).name
                loaded += 1
        return loaded

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with self._environment.begin(self._index) as txn, txn.cursor() as cursor:
            yield cursor


def _names(cursor: Any) -> Iterator[bytes]:
    """The entries by name, from where the cursor is."""
    for row in cursor.iternext(keys=True, values=False):
        if row >= EMAIL:
            return
        yield row


def _count(cursor: Any, low: bytes, high: bytes) -> int:
    if not cursor.set_range(low):
        return 0
    counted = 0
    for row in cursor.iternext(keys=True, values=False):
        if row >= high:
            break
        counted += 1
    return counted
