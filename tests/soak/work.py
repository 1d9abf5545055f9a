"""What a program does all day with a store, in bounded data; one process of a soak.

``python -m tests.soak.work PLACE OPTIONS`` works until its input ends, and then prints how often it
did what. Any error ends it, and fails the soak.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from atop import File, Item, Store
from atop.errors import SnapshotTooOld

MAILS = 1500
FILES = 40
MANY = 1500
TEXT = "All work and no play makes the log a long log. " * 8


class Mail(Item):
    """One of many."""


class Worker:
    """Opens the store, works in it with threads that read, and opens it anew now and then."""

    def __init__(self, place: str, name: str, care: bool, spill: bool, options: Any) -> None:
        self.place, self.name, self.options = place, name, options
        self.care, self.spill = care, spill
        self.done: Counter[str] = Counter()
        self.stopping = threading.Event()
        self.failed: list[str] = []
        self.dice = random.Random(name)

    def run(self) -> None:
        """Until it is told to stop."""
        while not self.stopping.is_set():
            with Store(self.place, timeout=60, **self.options) as store:
                self._work_in(store)
            self.done["opened"] += 1

    def stop_at_end(self, source: TextIO) -> None:
        """Stop when `source` ends."""
        source.read()
        self.stopping.set()

    def _work_in(self, store: Store) -> None:
        until = time.monotonic() + self.dice.uniform(4, 20)
        closing = threading.Event()
        readers = [threading.Thread(target=self.caught, args=(self._read, store, closing, age))
                   for age in (0.0, 0.5, 10.0)]  # fmt: skip
        for reader in readers:
            reader.start()
        try:
            while time.monotonic() < until and not self.stopping.is_set():
                self._choose()(store)
                time.sleep(0.002)
        finally:
            closing.set()
            for reader in readers:
                reader.join()

    def _choose(self) -> Callable[[Store], None]:
        tasks: list[tuple[Callable[[Store], None], int]] = [
            (self.write, 200), (self.change, 200), (self.attach, 30), (self.write_much, 2),
        ]
        if self.care:
            tasks += [(self.checkpoint, 2), (self.compact, 1), (self.back_up, 1)]
        if self.spill:
            tasks += [(self.write_too_much, 1)]
        kinds, weights = zip(*tasks, strict=True)
        chosen: Callable[[Store], None] = self.dice.choices(kinds, weights)[0]
        return chosen

    # Writing

    def write(self, store: Store) -> None:
        """A mail comes, an old one goes."""

        def work() -> None:
            mails = store.pool("mails", "n", "sender")
            mails.addItem(Mail(n=time.time(), sender=self.name, text=TEXT, tags=[]))
            for old in list(mails.queryIndex("n")[: max(0, len(mails) - MAILS)]):
                store.delete(old)

        store.transact(work)
        self.done["written"] += 1

    def change(self, store: Store) -> None:
        """Somebody reads a mail and puts a tag on it."""

        def work() -> None:
            mails = store.pool("mails", "n", "sender").queryIndex("n")
            if len(mails):
                mail = mails[self.dice.randrange(len(mails))]
                mail.tags = [*mail.tags[-3:], self.dice.random()]

        store.transact(work)
        self.done["changed"] += 1

    def attach(self, store: Store) -> None:
        """A file comes, an old one goes."""

        def work() -> None:
            files = store.pool("files", "id")
            with store.newFile("attachment") as file:
                file.write(self.dice.randbytes(self.dice.randrange(200_000)))
            files.addItem(file)
            for old in list(files.queryIndex("id")[: max(0, len(files) - FILES)]):
                store.delete(old)

        store.transact(work)
        self.done["files"] += 1

    def write_much(self, store: Store) -> None:
        """Many items in one transaction, gone with the next."""
        name = f"many by {self.name}"

        def fill() -> None:
            pool = store.pool(name, "n")
            for n in range(MANY):
                pool.addItem(Item(n=n, text=TEXT))

        def drop() -> None:
            for each in list(store.pool(name)):
                store.delete(each)

        store.transact(drop)
        store.transact(fill)
        self.done["large"] += 1

    def write_too_much(self, store: Store) -> None:
        """More than a transaction keeps in memory, rolled back."""
        with store.transaction() as transaction:
            for _ in range(70):
                store.add(Item(text=self.dice.randbytes(1 << 20)))
            transaction.flush()
            transaction.abort()
        self.done["spilled"] += 1

    # Reading

    def _read(self, store: Store, closing: threading.Event, age: float) -> None:
        while not closing.wait(0.01):
            try:
                with store.snapshot():
                    before = self._look(store)
                    closing.wait(age * random.random())
                    assert self._look(store) == before, "two reads in a snapshot differ"
                self.done["snapshots"] += 1
            except SnapshotTooOld:
                self.done["too old"] += 1

    def _look(self, store: Store) -> Any:
        mails = store.pool("mails").queryIndex("n")
        middle = len(mails) // 2
        files = store.pool("files").queryIndex("id")
        sizes = 0
        if len(files):
            file: File = files[-1]
            with file.open() as source:
                sizes = len(source.read())
            assert sizes == file.size
        return (len(store), len(mails), [(mail.id, mail.tags) for mail in mails[middle:][:20]],
                sizes)

    # Care

    def checkpoint(self, store: Store) -> None:
        store.checkpoint()
        self.done["checkpoints"] += 1

    def compact(self, store: Store) -> None:
        store.compact()
        self.done["compactions"] += 1

    def back_up(self, store: Store) -> None:
        folder = Path(tempfile.mkdtemp(prefix="atop-soak-"))
        try:
            store.backup(folder / "copy.atop")
        finally:
            shutil.rmtree(folder)
        self.done["backups"] += 1

    def caught(self, call: Callable[..., None], *args: Any) -> None:
        try:
            call(*args)
        except BaseException:
            self.failed.append(traceback.format_exc())
            self.stopping.set()


def main() -> None:
    """Work until there is no more input."""
    given = json.loads(sys.argv[2])
    worker = Worker(sys.argv[1], given.pop("name"), given.pop("care"), given.pop("spill"), given)
    thread = threading.Thread(target=worker.caught, args=(worker.run,))
    thread.start()
    threading.Thread(target=worker.stop_at_end, args=(sys.stdin,), daemon=True).start()
    thread.join()
    print(json.dumps({"done": worker.done, "failed": worker.failed}))


if __name__ == "__main__":
    main()
