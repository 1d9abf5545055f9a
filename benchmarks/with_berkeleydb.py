"""The contacts in Berkeley DB by hand, laid out as Atop lays them out: the limit for it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from pickle import dumps, loads
from typing import Any

from berkeleydb import db

from benchmarks.contacts import Contact, Person
from benchmarks.contender import CACHE_BYTES, PAGE, Contender

_NAME, _EMAIL, _BORN = b"\x01", b"\x02", b"\x03"
_AFTER_NAMES = _EMAIL
_FLAGS = (
    db.DB_CREATE | db.DB_PRIVATE | db.DB_THREAD | db.DB_RECOVER
    | db.DB_INIT_MPOOL | db.DB_INIT_TXN | db.DB_INIT_LOG
)  # fmt: skip


class WithBerkeleyDB(Contender):
    """A table of pickled dicts by id and one of record-numbered index keys, which end in the id."""

    modules = "berkeleydb, pickle"

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._durable = durable
        self._environment = db.DBEnv()
        self._environment.set_cachesize(0, CACHE_BYTES, 1)
        self._environment.set_lg_bsize(1 << 20)
        self._environment.open(str(folder), _FLAGS, 0o600)
        self._items = self._open_table("items", 0)
        self._index = self._open_table("index", db.DB_RECNUM)
        self._log = 0
        self._descriptor = -1
        last = self._items.cursor().last()
        self._next = int.from_bytes(last[0], "big") + 1 if last else 1

    def close(self) -> None:
        self._environment.txn_checkpoint(0, 0, db.DB_FORCE)
        self._index.close()
        self._items.close()
        self._environment.log_archive(db.DB_ARCH_REMOVE)
        self._environment.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def forget(self) -> None:
        """By hand no object is kept."""

    def insert(self, contacts: Iterable[Contact]) -> None:
        rows: list[bytes] = []
        txn = self._environment.txn_begin()
        put = self._items.put
        for ident, (name, email, city, born) in enumerate(contacts, self._next):
            key = ident.to_bytes(8, "big")
            put(key, dumps(Person(name, email, city, born), 5), txn)
            rows += (
                b"%b%b\0%b" % (_NAME, name.encode(), key),
                b"%b%b\0%b" % (_EMAIL, email.encode(), key),
                b"%b%b%b" % (_BORN, born.to_bytes(4, "big"), key),
            )
        rows.sort()
        put = self._index.put
        for row in rows:
            put(row, b"", txn)
        txn.commit(db.DB_TXN_WRITE_NOSYNC)
        if self._durable:
            self._sync()
        self._next += len(rows) // 3

    def get(self, ids: Iterable[int]) -> None:
        get = self._items.get
        for ident in ids:
            _ = loads(get(ident.to_bytes(8, "big"))).name

    def pages_from(self, names: Iterable[str]) -> None:
        for name in names:
            cursor = self._index.cursor()
            self._load_page(cursor, cursor.set_range(_NAME + name.encode()))
            cursor.close()

    def page_at(self, offset: int) -> int:
        cursor = self._index.cursor()
        try:
            return self._load_page(cursor, cursor.set_recno(offset + 1))
        finally:
            cursor.close()

    def count(self) -> int:
        return self._rank(_AFTER_NAMES)

    def position(self, name: str) -> int:
        return self._rank(_NAME + name.encode())

    def name_at(self, offset: int) -> str:
        cursor = self._index.cursor()
        try:
            return bytes(cursor.set_recno(offset + 1)[0])[1:-9].decode()
        finally:
            cursor.close()

    def walk(self) -> int:
        get = self._items.get
        return sum(1 for key, _ in self._rows() if loads(get(key[-8:])).name)

    def _load_page(self, cursor: Any, row: Any) -> int:
        get, loaded = self._items.get, 0
        while row and row[0] < _AFTER_NAMES:
            _ = loads(get(row[0][-8:])).name
            loaded += 1
            if loaded == PAGE:
                break
            row = cursor.next()
        return loaded

    def _rows(self) -> Iterable[tuple[bytes, bytes]]:
        cursor = self._index.cursor()
        row = cursor.set_range(_NAME)
        while row and row[0] < _AFTER_NAMES:
            yield row
            row = cursor.next()
        cursor.close()

    def _rank(self, key: bytes) -> int:
        cursor = self._index.cursor()
        try:
            return int(cursor.get_recno()) - 1 if cursor.set_range(key) else 0
        finally:
            cursor.close()

    def _sync(self) -> None:
        last = self._environment.log_stat()["cur_file"]
        for number in range(self._log or last, last + 1):
            if number != self._log:
                if self._descriptor >= 0:
                    os.close(self._descriptor)
                self._descriptor = os.open(self._folder / f"log.{number:010}", os.O_RDWR)
            os.fdatasync(self._descriptor)
        self._log = last

    def _open_table(self, name: str, flags: int) -> Any:
        table = db.DB(self._environment)
        table.set_flags(flags | db.DB_CHKSUM)
        table.set_pagesize(4096)
        table.set_get_returns_none(2)
        access = db.DB_CREATE | db.DB_AUTO_COMMIT | db.DB_THREAD
        table.open(name, dbtype=db.DB_BTREE, flags=access, mode=0o600)
        return table
