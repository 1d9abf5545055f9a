"""A program that uses a store from its making to its end, while system calls fail under it.

It says on its output what it was told: which commits are in, which are in doubt. When whoever makes
the calls fail has been asked to stop, the same store has to work, and to have all that was
committed.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from atop import File, Index, Item, Pool, Store
from atop.engine import environment
from atop.errors import AtopError
from tests.checking import check_store

CLEAR = {"StoreFull", "StoreFailed", "StorePermission", "NotAStore", "StoreBusy", "StoreError"}
_COMMITS = 8


class Entry(Item):
    """One of many, each with its number in an index."""


class Life:
    """What one program does with the store at `path`, and what it knows of its commits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store: Store | None = None
        self.certain: set[int] = set()
        self.doubtful: set[int] = set()
        self.files: dict[int, bytes] = {}
        self.refused: Counter[str] = Counter()
        self.unread = 0
        self._next = 0

    def live(self) -> None:
        """All that a store is used for."""
        self._try(self._open)
        for _ in range(_COMMITS):
            self._commit(200)
        self._commit(200, file=os.urandom(5000))
        self._commit(150_000)
        self._commit(150_000)
        self._try(self._checkpoint)
        self._commit(200, file=os.urandom(5000))
        self._commit(150_000)
        self._try(self._delete)
        self._try(self._close)
        self._try(self._open)
        self._commit(200)
        self._try(self._compact)
        self._commit(200)

    def go_on(self) -> None:
        """Nothing fails any more: the store that is open, or can be opened now, works at once."""
        self._open()
        self._look()
        number = self._add(200, os.urandom(5000))
        self.certain.add(number)
        for _ in range(3):
            self.certain.add(self._add(150_000, b""))
        self._checkpoint()
        self._look()
        self._close()
        self._open()
        self._look()
        store = self._opened()
        check_store(store)
        self._close()

    def end(self) -> None:
        self._close()

    def told(self) -> dict[str, Any]:
        return {"refused": dict(self.refused), "unread": self.unread, "certain": len(self.certain)}

    def _try(self, do: Callable[[], object]) -> bool:
        """Whether it worked; a clear error is an answer too, any other ends the program."""
        try:
            do()
        except AtopError as error:
            name = type(error).__name__
            if name not in CLEAR:
                raise
            self.refused[name] += 1
            return False
        return True

    def _commit(self, size: int, file: bytes = b"") -> None:
        if self.store is None and not self._try(self._open):
            return
        number = self._next
        self.doubtful.add(number)
        if self._try(lambda: self._add(size, file)):
            self.doubtful.discard(number)
            self.certain.add(number)
        if not self._try(self._look):
            self.unread += 1

    def _add(self, size: int, file: bytes) -> int:
        """One transaction: an entry in the pool, and perhaps a file that it refers to."""
        store, number = self._opened(), self._next
        self._next += 1
        if file:
            self.files[number] = file
        with store.transaction():
            entry = Entry(number=number, data=os.urandom(size), file=None)
            if file:
                with store.newFile(f"{number}.bin") as made:
                    made.write(file)
                entry.file = made
            store.pool("entries", Index("number", unique=True)).addItem(entry)
        return number

    def _look(self) -> None:
        """All that is certain can be read, and nothing is there that nobody has written."""
        store = self._opened()
        with store.snapshot():
            pool = self._pool()
            found = {entry.number: entry for entry in pool.queryIndex("number")} if pool else {}
            lost = self.certain - found.keys()
            assert not lost, f"commits are lost: {sorted(lost)}"
            stray = found.keys() - self.certain - self.doubtful
            assert not stray, f"commits that failed wholly are there: {sorted(stray)}"
            for number, content in self.files.items():
                if number in found:
                    file = cast(File, found[number].file)
                    with file.open() as opened:
                        assert opened.read() == content, f"the file of {number} is another"

    def _pool(self) -> Pool | None:
        pools = self._opened().pools()
        return pools[0] if pools else None

    def _delete(self) -> None:
        pool = self._pool()
        if pool is None:
            return
        store = self._opened()
        number = min(self.certain, default=None)
        if number is None:
            return
        self.certain.discard(number)
        self.doubtful.add(number)
        with store.transaction():
            store.delete(pool.getIndexItem("number", number))

    def _opened(self) -> Store:
        if self.store is None:
            self._open()
        assert self.store is not None
        return self.store

    def _open(self) -> None:
        if self.store is None:
            self.store = Store(self.path, timeout=0.5)

    def _checkpoint(self) -> None:
        self._opened().checkpoint()

    def _compact(self) -> None:
        self._opened().compact()

    def _close(self) -> None:
        store, self.store = self.store, None
        if store is not None:
            store.close()


def main(path: str, descriptor: int) -> None:
    """Wait to be let go; live; ask for the end of all trouble; go on."""
    parent = socket.socket(fileno=descriptor)

    def say(*words: object) -> None:
        """Tell the parent, and wait until it says to go on."""
        parent.sendall(json.dumps(words).encode() + b"\n")
        parent.recv(1)

    environment._LOG_BUFFER = 32 << 10
    environment._LOG_FILE_BYTES = 256 << 10
    life = Life(Path(path))
    with TemporaryDirectory() as warm:  # what is imported only when it is needed
        warming = Life(Path(warm, "warm.atop"))
        warming.live()
        warming.end()
    say("ready")
    try:
        life.live()
        say("trouble", life.told())
        life.go_on()
        say("well", life.told())
    except BaseException:
        say("wrong", traceback.format_exc())
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
