"""The contacts in SQLite by hand: a pickle for each, and beside it a column for each index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pickle import dumps, loads
from typing import Any

from benchmarks.contacts import Contact, Person
from benchmarks.with_sqlite3 import WithSQLite


class WithSQLitePickle(WithSQLite):
    """One table; write-ahead log, synced at every commit."""

    table = "pickle BLOB, name TEXT, email TEXT, born INTEGER"
    loaded = "pickle"
    insertion = "INSERT INTO contacts (pickle, name, email, born) VALUES (?, ?, ?, ?)"

    def rows(self, contacts: Iterable[Contact]) -> Iterable[tuple[Any, ...]]:
        return (
            (dumps(Person(name, email, city, born), 5), name, email, born)
            for name, email, city, born in contacts
        )

    def names(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
        return (loads(pickled).name for (pickled,) in rows)

    def update(self, years: Iterable[tuple[int, int]]) -> None:
        with self.writing() as connection:
            for ident, born in years:
                sql = "SELECT pickle FROM contacts WHERE id = ?"
                person = loads(connection.execute(sql, (ident,)).fetchone()[0])
                person.born = born
                sql = "UPDATE contacts SET pickle = ?, born = ? WHERE id = ?"
                connection.execute(sql, (dumps(person, 5), born, ident))

    def add_index(self) -> None:
        with self.writing() as connection:
            connection.create_function("city_of", 1, lambda pickled: loads(pickled).city)
            connection.execute("ALTER TABLE contacts ADD COLUMN city TEXT")
            connection.execute("UPDATE contacts SET city = city_of(pickle)")
            connection.execute("CREATE INDEX by_city ON contacts (city)")

    def drop_index(self) -> None:
        with self.writing() as connection:
            connection.execute("DROP INDEX by_city")
            connection.execute("ALTER TABLE contacts DROP COLUMN city")
