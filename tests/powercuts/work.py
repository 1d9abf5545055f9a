"""A life of a store, to be recorded: opened, all kinds of work, and an end, in order or not.

``python -m tests.powercuts.work FOLDER SEED STEPS WITHOUT`` works on the store in FOLDER. Sizes
that decide when something rare happens (a new log file, a checkpoint, a spill, the trimming of old
commits) are set small, in ways that depend on the seed.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

from atop import File, Index, Item, Pool, Store, transaction
from atop.engine import environment, filefolder, history, log
from atop.engine.base import TABLES, Range
from atop.engine.bdb import BerkeleyEngine
from atop.errors import DuplicateKey
from tests.powercuts.ledger import Ledger

_MOST_ITEMS = 250
_MOST_FILES = 12


class Note(Item):
    """Anything."""


class RolledBack(Exception):
    """Ends a transaction that is not wanted."""


class Worker:
    """Works on one store, in one thread, by a chance of its own."""

    def __init__(self, store: Store, seed: int, name: str, long_keys: bool) -> None:
        self.store = store
        self.chance = Random(f"{seed}/{name}")
        self.long_keys = long_keys
        self.acts: list[Callable[[], object]] = [
            self.add, self.add, self.change, self.change, self.change_in_place, self.delete,
            self.large_values, self.nested, self.undone, self.files, self.unfile,
        ]

    def work(self, steps: int) -> None:
        for _ in range(steps):
            act = self.chance.choice(self.acts)
            self.store.transact(act)

    @property
    def pool(self) -> Pool:
        return self.store.pool(
            "notes", "title", "size", Index("tags", multiple=True), Index("mark", unique=True)
        )

    def note(self) -> Note:
        chance = self.chance
        length = chance.choice((3, 20, 20, 100, *((3000, 9000) if self.long_keys else ())))
        return Note(
            title="".join(chance.choices("abcdeé ", k=length)),
            size=chance.choice((None, chance.randrange(1000), chance.random())),
            tags=chance.sample(("red", "green", "blue", "old", "new"), chance.randrange(4)),
            mark=chance.getrandbits(60),
            body=chance.randbytes(chance.choice((10, 100, 800))),
        )

    def some(self, count: int) -> list[Any]:
        query = self.pool.queryIndex("title")
        total = len(query)
        return [query[self.chance.randrange(total)] for _ in range(count)] if total else []

    def add(self) -> None:
        pool = self.pool
        for _ in range(self.chance.randint(1, 5)):
            pool.addItem(self.note())
        for item in self.some(max(0, len(pool) - _MOST_ITEMS) // 8):
            if item in pool:
                self.store.delete(item)

    def change(self) -> None:
        for item in self.some(self.chance.randint(1, 6)):
            fresh = self.note()
            item.title, item.size, item.body = fresh.title, fresh.size, fresh.body

    def change_in_place(self) -> None:
        for item in self.some(3):
            if "odd" in item.tags:
                item.tags.remove("odd")
            else:
                item.tags.append("odd")

    def delete(self) -> None:
        for item in set(self.some(self.chance.randint(1, 8))):
            self.store.delete(item)

    def large_values(self) -> None:
        for item in self.some(self.chance.randint(1, 3)):
            item.body = self.chance.randbytes(self.chance.choice((5000, 20_000, 60_000)))

    def nested(self) -> None:
        self.add()
        try:
            with self.store.transaction():
                self.change()
                self.add()
                raise RolledBack
        except RolledBack:
            self.delete()

    def undone(self) -> None:
        """A transaction of its own cannot be begun here, so what is undone is a savepoint."""
        item = self.note()
        self.pool.addItem(item)
        twin = self.note()
        twin.mark = item.mark
        try:
            with self.store.transaction():
                self.pool.addItem(twin)
                self.store.pool("notes").queryIndex("mark").first()
                raise RolledBack
        except (RolledBack, DuplicateKey):
            pass

    def files(self) -> None:
        for _ in range(self.chance.randint(1, 3)):
            with self.store.newFile("a name") as file:
                file.write(self.chance.randbytes(self.chance.choice((0, 10, 600, 9000))))

    def unfile(self) -> None:
        files = list(self.store.items(File))
        for file in self.chance.sample(files, min(len(files), self.chance.randint(1, 4))):
            self.store.delete(file)
        if len(files) < _MOST_FILES:
            self.files()


class Rare(Worker):
    """Does also what is done to a whole store, and only by one thread."""

    def work(self, steps: int) -> None:
        rare: list[Callable[[], object]] = [
            self.store.checkpoint, self.store.compact, self.bulk, self.bulk, self.bulk_undone,
            self.lazy, self.lazy, self.seen, partial(self.store.transact, self.index),
            partial(self.store.transact, self.other_pool),
        ]
        for _ in range(steps // 8):
            super().work(8)
            self.chance.choice(rare)()

    def bulk(self) -> None:
        """So much that it spills."""
        self.store.transact(self._much)

    def bulk_undone(self) -> None:
        try:
            with self.store.transaction():
                self._much()
                raise RolledBack
        except RolledBack:
            pass

    def _much(self) -> None:
        pool = self.store.pool("many", "title", "size")
        for item in list(pool):
            self.store.delete(item)
        for _ in range(self.chance.randint(40, 160)):
            pool.addItem(self.note())
            if self.chance.random() < 0.05:
                self.files()
                len(pool)

    def index(self) -> None:
        pool = self.pool
        if any(index.name == "body" for index in pool.indexes):
            pool.dropIndex("body")
        else:
            pool.addIndex(Index("body", ("size", "title")))

    def other_pool(self) -> None:
        pool = self.store.pool("other", "mark")
        for item in set(self.some(10)):
            pool.removeItem(item) if item in pool else pool.addItem(item)

    def lazy(self) -> None:
        """From now on commits are on disk when they return; or some time later."""
        self.store.durable = not self.store.durable

    def seen(self) -> None:
        """Files that are deleted while a snapshot sees them."""
        with self.store.snapshot():
            thread = threading.Thread(target=self._delete_files)
            thread.start()
            thread.join()

    def _delete_files(self) -> None:
        self.store.transact(self.unfile)


WITHOUT: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "the sync of the log": lambda: setattr(log, "_sync", lambda descriptor: None),
    "the sync of names of files": lambda: setattr(filefolder, "sync_folder", lambda folder: None),
    "waiting before files are removed": lambda: setattr(
        BerkeleyEngine, "remove_later",
        lambda engine, serial, files: engine.files.remove(files, serial),
    ),
}
"""What may be left undone, so that it can be seen that power cuts find out."""


def main(folder: Path, seed: int, steps: int, without: str) -> None:
    WITHOUT[without]()
    chance = Random(f"{seed}/life")
    log_file = chance.choice((128, 256, 1024)) << 10
    _set(environment, "_LOG_FILE_BYTES", log_file)
    _set(environment, "_LOG_BUFFER", min(log_file, chance.choice((32, 64, 1024)) << 10))
    _set(history, "KEPT_BYTES", chance.choice((60, 400, 8000)) << 10)
    _set(transaction, "SPILL_BYTES", 48 << 10)
    ledger = Ledger(folder)
    store = Store(
        folder / "store.atop", cacheSize=chance.choice((128, 512, 4096)) << 10, timeout=60,
        optimistic=chance.random() < 0.3,
    )
    engine = store.folder.engine if store.folder else None
    assert engine is not None
    ledger.begin(engine, {name: dict(engine.scan(name, Range())[1]) for name in TABLES})
    ledger.attach()
    long_keys = chance.random() < 0.4
    one, other = (Rare(store, seed, "one", long_keys), Worker(store, seed, "other", long_keys))
    failed: list[BaseException] = []
    beside = threading.Thread(target=_kept, args=(other, steps // 3, failed))
    if chance.random() < 0.7:
        beside.start()
    one.work(steps)
    if beside.ident is not None:
        beside.join()
    if failed:
        raise failed[0]
    if chance.random() < 0.6:
        store.close()
    os._exit(0)


def _kept(worker: Worker, steps: int, failed: list[BaseException]) -> None:
    try:
        worker.work(steps)
    except BaseException as error:
        failed.append(error)


def _set(module: ModuleType, name: str, value: int) -> None:
    assert hasattr(module, name), f"{module.__name__} has no {name} any more"
    setattr(module, name, value)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
