"""Who takes part, and what each one is. A contender is imported only where it is measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

from benchmarks.contender import Contender
from benchmarks.goals import MINE

BY_PICKLE = "sqlite3+pickle"


@dataclass(frozen=True)
class Entry:
    """Where its class is, what a program imports to use it, from where, and how it is used."""

    place: str
    modules: str
    packages: tuple[str, ...]
    words: str

    def load(self) -> type[Contender]:
        """Its class."""
        module, _, name = self.place.partition(":")
        found: type[Contender] = getattr(import_module(f"benchmarks.{module}"), name)
        return found


CONTENDERS: dict[str, Entry] = {
    MINE: Entry("with_atop:WithAtop", "atop", (), "a pool with three indexes."),
    "berkeleydb": Entry(
        "with_berkeleydb:WithBerkeleyDB", "berkeleydb, pickle", ("berkeleydb",),
        "the same layout by hand, pickled objects in one table, record-numbered index keys in "
        "another; private memory, no locks, no history of commits, one sync of the log for all "
        "threads that wait. It marks the limit for Atop.",
    ),
    "lmdb": Entry(
        "with_lmdb:WithLMDB", "lmdb, pickle", ("lmdb",),
        "that layout in LMDB, whose pages the system caches; rows are not numbered. It marks "
        "another limit.",
    ),
    "sqlite3": Entry(
        "with_sqlite3:WithSQLite", "sqlite3", (),
        "rows by hand: one table with a column for each attribute, three indexes, write-ahead "
        "log. A contact that is loaded is a tuple.",
    ),
    BY_PICKLE: Entry(
        "with_sqlite3_pickle:WithSQLitePickle", "sqlite3, pickle", (),
        "the same, with a pickled object and a column for each index. Another index is another "
        "column, filled from the pickles.",
    ),
    "sqlalchemy": Entry(
        "with_sqlalchemy:WithSQLAlchemy", "sqlalchemy.orm", ("SQLAlchemy",),
        "its ORM on SQLite with the same settings: one mapped class. Many contacts are inserted, "
        "changed and deleted by the ORM's bulk statements, one by the session. The session keeps "
        "no object that the program does not keep.",
    ),
    "zodb": Entry(
        "with_zodb:WithZODB", "ZODB.FileStorage, BTrees.OOBTree, transaction",
        ("ZODB", "BTrees", "persistent", "transaction"),
        "a file storage, and three B-trees (``OOBTree``) that lead from key and object id to the "
        "object; its cache of objects limited to 64 MB of their pickles. *Cold* is after "
        "``cacheMinimize()``.",
    ),
    "durus": Entry(
        "with_durus:WithDurus", "durus.file_storage, durus.connection, durus.btree", ("Durus",),
        "its file storage, and three of its B-trees that lead from key and a number to the "
        "object; a cache of 100,000 objects, as it is by itself. That storage never syncs its "
        "file, so it is made to at each commit. *Cold* is a new connection. Eight threads have a "
        "connection each to its server, without which there can be only one.",
    ),
    "objectbox": Entry(
        "with_objectbox:WithObjectBox", "objectbox", ("objectbox",),
        "one entity; indexes of strings by value. It sorts what a query has found, so a page is "
        "asked for by the names where it begins and where it ends, which the others are not told. "
        "Keys cannot be had without their objects.",
    ),
}  # fmt: skip


def packages(names: Iterable[str]) -> dict[str, str]:
    """The versions of what the contenders of those names need."""
    return {
        package: version(package)
        for name in names
        for package in CONTENDERS[name].packages
        if package != "berkeleydb"
    }
