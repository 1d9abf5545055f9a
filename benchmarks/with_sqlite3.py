"""The contacts in SQLite by hand: a row for each, with a column for each attribute."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.contacts import INDEXES, Contact
from benchmarks.contender import CACHE_BYTES, PAGE, Contender, Insert

_FROM = "FROM contacts WHERE name >= ? ORDER BY name LIMIT ?"
_AT = "FROM contacts ORDER BY name LIMIT ? OFFSET ?"
_COUNT = "SELECT count(*) FROM contacts INDEXED BY by_name WHERE name >= ''"
_BETWEEN = "SELECT count(*) FROM contacts WHERE name BETWEEN ? AND ?"
_POSITION = "SELECT count(*) FROM contacts WHERE name < ?"
_ID = "SELECT id FROM contacts WHERE name = ? LIMIT 1"
_DELETE = "DELETE FROM contacts WHERE id = ?"
_TIMEOUT = 60.0


class WithSQLite(Contender):
    """One table; write-ahead log, synced at every commit."""

    logs = ("*-wal", "*-shm")
    table: ClassVar[str] = "name TEXT, email TEXT, city TEXT, born INTEGER"
    loaded: ClassVar[str] = "name, email, city, born"
    insertion: ClassVar[str] = "INSERT INTO contacts (name, email, city, born) VALUES (?, ?, ?, ?)"

    def __init__(self, folder: Path, *, durable: bool = True, checkpoints: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self._path = folder / "contacts.sqlite3"
        self._select = f"SELECT {self.loaded} "
        self.connection = self._connect(durable=durable)
        self.connection.execute(
            f"CREATE TABLE IF NOT EXISTS contacts (id INTEGER PRIMARY KEY, {self.table})"
        )
        for name in INDEXES:
            sql = f"CREATE INDEX IF NOT EXISTS by_{name} ON contacts ({name})"
            self.connection.execute(sql)
        if not checkpoints:
            self.connection.execute("PRAGMA wal_autocheckpoint = 0")

    def close(self) -> None:
        self.connection.close()

    def forget(self) -> None:
        """By hand no object is kept."""

    def rows(self, contacts: Iterable[Contact]) -> Iterable[tuple[Any, ...]]:
        """What is inserted."""
        return contacts

    def names(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
        """The name in each row that was loaded."""
        return (name for name, _, _, _ in rows)

    def insert(self, contacts: Iterable[Contact]) -> None:
        self._insert(self.connection, contacts)

    def update(self, years: Iterable[tuple[int, int]]) -> None:
        with self.writing() as connection:
            connection.executemany(
                "UPDATE contacts SET born = ? WHERE id = ?",
                ((born, ident) for ident, born in years),
            )

    def delete(self, ids: Iterable[int]) -> None:
        with self.writing() as connection:
            connection.executemany(_DELETE, ((ident,) for ident in ids))

    def ids_of(self, names: Iterable[str]) -> list[int]:
        execute = self.connection.execute
        return [execute(_ID, (name,)).fetchone()[0] for name in names]

    def get(self, ids: Iterable[int]) -> None:
        execute, sql = self.connection.execute, f"{self._select} FROM contacts WHERE id = ?"
        for _ in self.names(execute(sql, (ident,)).fetchone() for ident in ids):
            pass

    def pages(self, ends: Iterable[tuple[str, str]]) -> int:
        execute, sql = self.connection.execute, self._select + _FROM
        return sum(len(list(self.names(execute(sql, (first, PAGE))))) for first, _ in ends)

    def page_at(self, offset: int) -> int:
        return self._load(self._select + _AT, PAGE, offset)

    def count(self) -> int:
        return self._number(_COUNT)

    def count_between(self, low: str, high: str) -> int:
        return self._number(_BETWEEN, low, high)

    def position(self, name: str) -> int:
        return self._number(_POSITION, name)

    def walk(self) -> int:
        return self._load(self._select + "FROM contacts ORDER BY name")

    def walk_ids(self) -> int:
        return sum(1 for _ in self.connection.execute("SELECT id FROM contacts ORDER BY name"))

    def walk_keys(self) -> int:
        return sum(1 for _ in self.connection.execute("SELECT name FROM contacts ORDER BY name"))

    def add_index(self) -> None:
        self.connection.execute("CREATE INDEX by_city ON contacts (city)")

    def drop_index(self) -> None:
        self.connection.execute("DROP INDEX by_city")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        reader = self._connect(durable=True)
        try:
            reader.execute("BEGIN")
            reader.execute(_COUNT).fetchone()
            yield
        finally:
            reader.close()

    @contextmanager
    def threads(self) -> Iterator[Callable[[], AbstractContextManager[Insert]]]:
        yield self._colleague

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes."""
        with self.connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def _colleague(self) -> Iterator[Insert]:
        connection = self._connect(durable=True)
        try:
            yield lambda contacts: self._insert(connection, contacts)
        finally:
            connection.close()

    def _insert(self, connection: sqlite3.Connection, contacts: Iterable[Contact]) -> None:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(self.insertion, self.rows(contacts))

    def _load(self, sql: str, *values: object) -> int:
        return sum(1 for _ in self.names(self.connection.execute(sql, values)))

    def _number(self, sql: str, *values: object) -> int:
        return int(self.connection.execute(sql, values).fetchone()[0])

    def _connect(self, *, durable: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=_TIMEOUT)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_BYTES >> 10}")
        return connection
