"""The contacts in SQLite by hand: a pickle, and beside it a column for each index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import dumps, loads

from benchmarks.contacts import INDEXES, Contact, Person
from benchmarks.contender import CACHE_BYTES, PAGE, Contender

_TABLE = """CREATE TABLE IF NOT EXISTS contacts
            (id INTEGER PRIMARY KEY, pickle BLOB, name TEXT, email TEXT, born INTEGER)"""
_INSERT = "INSERT INTO contacts (pickle, name, email, born) VALUES (?, ?, ?, ?)"
_GET = "SELECT pickle FROM contacts WHERE id = ?"
_FROM = "SELECT pickle FROM contacts WHERE name >= ? ORDER BY name LIMIT ?"
_AT = "SELECT pickle FROM contacts ORDER BY name LIMIT ? OFFSET ?"
_NAME_AT = "SELECT name FROM contacts ORDER BY name LIMIT 1 OFFSET ?"
_COUNT = "SELECT count(*) FROM contacts INDEXED BY by_name WHERE name >= ''"
_POSITION = "SELECT count(*) FROM contacts WHERE name < ?"


class WithSQLite(Contender):
    """One table; write-ahead log, synced at every commit."""

    modules = "sqlite3, pickle"

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self._path = folder / "contacts.sqlite3"
        self._connection = self._connect(durable=durable)
        self._connection.execute(_TABLE)
        for name in INDEXES:
            sql = f"CREATE INDEX IF NOT EXISTS by_{name} ON contacts ({name})"
            self._connection.execute(sql)

    def close(self) -> None:
        self._connection.close()

    def forget(self) -> None:
        """By hand no object is kept."""

    def insert(self, contacts: Iterable[Contact]) -> None:
        with self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_INSERT, (
                (
                    dumps(Person(name, email, city, born), 5),
                    name, email, born,
                )
                for name, email, city, born in contacts
            ))  # fmt: skip

    def get(self, ids: Iterable[int]) -> None:
        execute = self._connection.execute
        for ident in ids:
            _ = loads(execute(_GET, (ident,)).fetchone()[0]).name

    def pages_from(self, names: Iterable[str]) -> None:
        execute = self._connection.execute
        for name in names:
            for (pickled,) in execute(_FROM, (name, PAGE)):
                _ = loads(pickled).name

    def page_at(self, offset: int) -> int:
        rows = self._connection.execute(_AT, (PAGE, offset))
        return len([loads(pickled).name for (pickled,) in rows])

    def count(self) -> int:
        return int(self._connection.execute(_COUNT).fetchone()[0])

    def position(self, name: str) -> int:
        return int(self._connection.execute(_POSITION, (name,)).fetchone()[0])

    def name_at(self, offset: int) -> str:
        return str(self._connection.execute(_NAME_AT, (offset,)).fetchone()[0])

    def walk(self) -> int:
        rows = self._connection.execute("SELECT pickle FROM contacts ORDER BY name")
        return sum(1 for (pickled,) in rows if loads(pickled).name)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        reader = self._connect(durable=True)
        try:
            reader.execute("BEGIN")
            reader.execute(_GET, (1,)).fetchone()
            yield
        finally:
            reader.close()

    def _connect(self, *, durable: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_BYTES >> 10}")
        return connection
