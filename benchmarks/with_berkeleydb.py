"""The contacts in Berkeley DB by hand, laid out as Atop lays them out: the limit for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from pickle import dumps, loads
from typing import Any

from berkeleydb import db

from benchmarks.contacts import Contact, Person
from benchmarks.contender import CACHE_BYTES, PAGE, Contender
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

_FLAGS = (
    db.DB_CREATE | db.DB_PRIVATE | db.DB_THREAD | db.DB_RECOVER
    | db.DB_INIT_MPOOL | db.DB_INIT_TXN | db.DB_INIT_LOG
)  # fmt: skip


class WithBerkeleyDB(Contender):
    """A table of pickled objects by id and one of record-numbered index entries."""

    logs = ("log.*",)

    def __init__(self, folder: Path, *, durable: bool = True, checkpoints: bool = True) -> None:
        folder.mkdir(exist_ok=True)  # there are no checkpoints before it is closed
        self._durable = durable
        self._environment = db.DBEnv()
        self._environment.set_cachesize(0, CACHE_BYTES, 1)
        self._environment.set_lg_bsize(1 << 20)
        self._environment.open(str(folder), _FLAGS, 0o600)
        self._items = self._open_table("items", 0)
        self._index = self._open_table("index", db.DB_RECNUM)
        self._log = _Log(folder, self._environment)
        self._writing = threading.Lock()
        last = self._items.cursor().last()
        self._next = int.from_bytes(last[0], "big") + 1 if last else 1

    def close(self) -> None:
        self._environment.txn_checkpoint(0, 0, db.DB_FORCE)
        self._index.close()
        self._items.close()
        self._environment.log_archive(db.DB_ARCH_REMOVE)
        self._environment.close()
        self._log.close()

    def forget(self) -> None:
        """By hand no object is kept."""

    def insert(self, contacts: Iterable[Contact]) -> None:
        with self._transaction() as txn:
            rows: list[bytes] = []
            put = self._items.put
            for name, email, city, born in contacts:
                key = self._next.to_bytes(8, "big")
                put(key, dumps(Person(name, email, city, born), 5), txn)
                rows += entries(key, name, email, born)
                self._next += 1
            self._put_entries(rows, txn)

    def update(self, years: Iterable[tuple[int, int]]) -> None:
        with self._transaction() as txn:
            rows: list[bytes] = []
            for ident, born in years:
                key = ident.to_bytes(8, "big")
                person = loads(self._items.get(key))
                self._index.delete(by_year(key, person.born), txn)
                person.born = born
                self._items.put(key, dumps(person, 5), txn)
                rows.append(by_year(key, born))
            self._put_entries(rows, txn)

    def delete(self, ids: Iterable[int]) -> None:
        with self._transaction() as txn:
            for ident in ids:
                key = ident.to_bytes(8, "big")
                for row in entries_of(key, loads(self._items.get(key))):
                    self._index.delete(row, txn)
                self._items.delete(key, txn)

    def ids_of(self, names: Iterable[str]) -> list[int]:
        with closing(self._index.cursor()) as cursor:
            return [number_of(cursor.set_range(at_name(name))[0]) for name in names]

    def get(self, ids: Iterable[int]) -> None:
        get = self._items.get
        for ident in ids:
            _ = loads(get(ident.to_bytes(8, "big"))).name

    def pages(self, ends: Iterable[tuple[str, str]]) -> int:
        with closing(self._index.cursor()) as cursor:
            return sum(
                self._load_page(cursor, cursor.set_range(at_name(first))) for first, _ in ends
            )

    def page_at(self, offset: int) -> int:
        with closing(self._index.cursor()) as cursor:
            return self._load_page(cursor, cursor.set_recno(offset + 1))

    def count(self) -> int:
        return self._rank(EMAIL)

    def count_between(self, low: str, high: str) -> int:
        return self._rank(after_name(high)) - self._rank(at_name(low))

    def position(self, name: str) -> int:
        return self._rank(at_name(name))

    def walk(self) -> int:
        get = self._items.get
        return sum(1 for key in self._names() if loads(get(key[-8:])).name)

    def walk_ids(self) -> int:
        return sum(1 for _ in map(number_of, self._names()))

    def walk_keys(self) -> int:
        return sum(1 for _ in map(name_in, self._names()))

    def add_index(self) -> None:
        with self._transaction() as txn, closing(self._items.cursor()) as cursor:
            rows = []
            item = cursor.first()
            while item:
                rows.append(by_city(item[0], loads(item[1]).city))
                item = cursor.next()
            self._put_entries(rows, txn)

    def drop_index(self) -> None:
        with self._transaction() as txn, closing(self._index.cursor(txn)) as cursor:
            row = cursor.set_range(CITY)
            while row and row[0] < END:
                cursor.delete()
                row = cursor.next()

    def syncs(self) -> int:
        return self._log.syncs

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._writing:
            txn = self._environment.txn_begin()
            yield txn
            txn.commit(db.DB_TXN_WRITE_NOSYNC)
            number = self._log.written()
        if self._durable:
            self._log.wait(number)

    def _put_entries(self, rows: list[bytes], txn: Any) -> None:
        rows.sort()
        put = self._index.put
        for row in rows:
            put(row, b"", txn)

    def _load_page(self, cursor: Any, row: Any) -> int:
        get, loaded = self._items.get, 0
        while row and row[0] < EMAIL:
            _ = loads(get(row[0][-8:])).name
            loaded += 1
            if loaded == PAGE:
                break
            row = cursor.next()
        return loaded

    def _names(self) -> Iterator[bytes]:
        with closing(self._index.cursor()) as cursor:
            row = cursor.set_range(NAME)
            while row and row[0] < EMAIL:
                yield row[0]
                row = cursor.next()

    def _rank(self, key: bytes) -> int:
        with closing(self._index.cursor()) as cursor:
            if cursor.set_range(key):
                return int(cursor.get_recno()) - 1
            return int(cursor.get_recno()) if cursor.last() else 0

    def _open_table(self, name: str, flags: int) -> Any:
        table = db.DB(self._environment)
        table.set_flags(flags | db.DB_CHKSUM)
        table.set_pagesize(4096)
        table.set_get_returns_none(2)
        access = db.DB_CREATE | db.DB_AUTO_COMMIT | db.DB_THREAD
        table.open(name, dbtype=db.DB_BTREE, flags=access, mode=0o600)
        return table


class _Log:
    """Syncs the log, once for all transactions that wait for it."""

    def __init__(self, folder: Path, environment: Any) -> None:
        self.syncs = 0
        self._folder = folder
        self._environment = environment
        self._lock = threading.Lock()
        self._written = self._synced = self._file = 0
        self._descriptor = -1

    def written(self) -> int:
        """One more transaction is in the log: its number."""
        self._written += 1
        return self._written

    def wait(self, number: int) -> None:
        """Return when the transaction of that number is on disk."""
        with self._lock:
            if self._synced < number:
                target = self._written
                self._sync()
                self._synced = target
                self.syncs += 1

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def _sync(self) -> None:
        last = self._environment.log_stat()["cur_file"]
        for number in range(self._file or last, last + 1):
            if number != self._file:
                self.close()
                self._descriptor = os.open(self._folder / f"log.{number:010}", os.O_RDWR)
            os.fdatasync(self._descriptor)
        self._file = last
