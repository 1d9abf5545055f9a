"""Count what operations take, beside what they may take: ``make bench-quick``.

Calls of the tables, log syncs and blocks of memory are the same on any machine, however busy.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atop import Item, Pool, Store
from atop.engine import rows
from benchmarks.contacts import INDEXES, Contact, contacts
from benchmarks.contender import PAGE
from benchmarks.grid import Grid
from benchmarks.with_atop import Person

SMALL, LARGE = 2_000, 20_000
_COUNTED = ("get", "getmany", "scan", "keys", "join", "count", "write_all")
_THREADS, _EACH = 8, 40


@dataclass(frozen=True)
class Bounds:
    """The most that an operation may take; ``None`` where it does not matter.

    ``calls`` are those of functions that read or write rows of tables, ``blocks`` of memory are
    those still in use while what it answered is held, for each of its items.
    """

    calls: int
    syncs: float = 0
    blocks: float | None = None


BOUNDS = {
    "insert all in one transaction": Bounds(4, 1),
    "durable insert of one": Bounds(2, 1),
    "durable inserts of one, 8 threads, a commit": Bounds(3, 0.7),
    "get by id, cold": Bounds(1, blocks=17),
    "get by id, warm": Bounds(0, blocks=0.1),
    "50 from a random place of an index, cold": Bounds(1, blocks=17),
    "50 from a random place of an index, warm": Bounds(0, blocks=0.1),
    "page of 50 at 90 %, ids only": Bounds(1, blocks=2),
    "count of a range": Bounds(1),
    "position of a key": Bounds(1),
    "keys only, 1,000": Bounds(5, blocks=2),
    "durable update of one, of an indexed attribute": Bounds(6, 1),
    "update of 500, got one by one, in one transaction": Bounds(504, 1),
    "delete of 500, got one by one, in one transaction": Bounds(504, 1),
}


@dataclass(frozen=True)
class Count:
    """What an operation took, of each kind in :class:`Bounds`."""

    calls: float
    syncs: float
    blocks: float

    def within(self, bounds: Bounds) -> bool:
        """Whether that is no more than it may take."""
        few = bounds.blocks is None or self.blocks <= bounds.blocks
        return self.calls <= bounds.calls and self.syncs <= bounds.syncs and few


def main() -> int:
    """Print the table; 1 if an operation takes more than it may."""
    sizes = {items: count(items) for items in (SMALL, LARGE)}
    bad = False
    table: list[list[str]] = []
    for name, bounds in BOUNDS.items():
        found = [counts[name] for counts in sizes.values()]
        good = all(each.within(bounds) for each in found)
        bad = bad or not good
        table.append([
            name,
            *(_shown(each) for each in found),
            _shown(bounds),
            "yes" if good else "no",
        ])
    headings = ("", *(f"{items:,} items" for items in sizes), "at most", "reached")
    Grid("Calls of tables, log syncs, blocks of memory an item", headings, table).show()
    return int(bad)


def count(items: int) -> dict[str, Count]:
    """What each operation takes with so many items."""
    with tempfile.TemporaryDirectory(prefix="atop-counts-") as folder, _counting() as calls:
        bench = _Bench(Path(folder) / "store", items, calls)
        try:
            return dict(bench.run())
        finally:
            bench.close()


class _Bench:
    """The operations, in an order in which each finds what it needs."""

    def __init__(self, path: Path, items: int, calls: list[str]) -> None:
        self._store = Store(path)
        self._path = path
        self._items = items
        self._calls = calls
        self._more = contacts(10**9, 1)
        self._pool = self._find_pool()

    def close(self) -> None:
        self._store.close()

    def run(self) -> Iterator[tuple[str, Count]]:
        all_of_them = list(contacts(self._items))
        names = sorted(each.name for each in all_of_them)
        begin, end = names[self._items // 10], names[self._items // 2]
        name = iter(BOUNDS)

        def of(work: Callable[[], object], times: int = 1) -> tuple[str, Count]:
            return next(name), self._counted(work, times)

        yield of(partial(self._insert, self._pool, all_of_them))
        yield of(partial(self._insert, self._pool, [next(self._more)]))
        yield next(name), self._crowd()
        self._forget()
        some = list(self._pool.queryIndex("name")[:PAGE].ids())
        for _ in range(2):
            yield of(partial(self._get, some), PAGE)
        for _ in range(2):
            yield of(lambda: list(iter(self._pool.queryIndex("name", startKey=end)[:PAGE])), PAGE)
        at = self._items * 9 // 10
        yield of(lambda: list(iter(self._pool.queryIndex("name")[at : at + PAGE].ids())), PAGE)
        yield of(lambda: len(self._pool.queryIndex("name", startKey=begin, endKey=end)))
        yield of(lambda: self._pool.queryIndex("name").position(end))
        yield of(lambda: list(iter(self._pool.queryIndex("name")[:1000].keys())), 1000)
        yield of(partial(self._change, some[:1]))
        many = list(self._pool.queryIndex("born")[:500].ids())
        yield of(partial(self._change, many))
        yield of(partial(self._delete, many))

    def _counted(self, work: Callable[[], object], times: int) -> Count:
        """Blocks are counted for each of `times`, calls too where each is a call of its own."""
        self._calls.clear()
        syncs = self._store.stats().log_syncs
        gc.collect()
        self._calls.clear()
        blocks = sys.getallocatedblocks()
        held = work()
        calls = len(self._calls)
        gc.collect()
        blocks = sys.getallocatedblocks() - blocks
        del held
        each = calls / times if calls == times else calls
        return Count(each, self._store.stats().log_syncs - syncs, round(blocks / times, 1))

    def _crowd(self) -> Count:
        ready = threading.Barrier(_THREADS)
        given = [[next(self._more) for _ in range(_EACH)] for _ in range(_THREADS)]

        def insert(each: list[Contact]) -> None:
            pool = self._find_pool()
            ready.wait()
            for contact in each:
                self._insert(pool, [contact])

        threads = [threading.Thread(target=insert, args=(each,)) for each in given]
        syncs = self._store.stats().log_syncs
        self._calls.clear()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        commits = _THREADS * _EACH
        calls, synced = len(self._calls), self._store.stats().log_syncs - syncs
        return Count(round(calls / commits, 1), round(synced / commits, 2), 0)

    def _forget(self) -> None:
        """Have none of its items in memory."""
        fresh = Store(self._path)
        self._store.close()
        self._store = fresh
        self._pool = self._find_pool()
        _ = self._pool.queryIndex("name")[-1].name

    def _find_pool(self) -> Pool:
        return self._store.pool("contacts", *INDEXES)

    def _insert(self, pool: Pool, given: list[Contact]) -> None:
        with self._store.transaction():
            for name, email, city, born in given:
                pool.addItem(Person(name=name, email=email, city=city, born=born))

    def _get(self, ids: list[int]) -> list[Item]:
        return [self._store.getItemByID(ident) for ident in ids]

    def _change(self, ids: list[int]) -> None:
        with self._store.transaction():
            for ident in ids:
                self._store.getItemByID(ident).born += 1

    def _delete(self, ids: list[int]) -> None:
        with self._store.transaction():
            for ident in ids:
                self._store.delete(self._store.getItemByID(ident))


@contextmanager
def _counting() -> Iterator[list[str]]:
    """The names of the functions of atop.engine.rows, as they are called; not by each other."""
    calls: list[str] = []
    within = threading.local()

    def counted(name: str) -> Callable[..., Any]:
        function = getattr(rows, name)

        def call(*args: Any) -> Any:
            if getattr(within, "call", False):
                return function(*args)
            calls.append(name)
            within.call = True
            try:
                return function(*args)
            finally:
                within.call = False

        return call

    with ExitStack() as stack:
        for name in _COUNTED:
            stack.enter_context(mock.patch.object(rows, name, counted(name)))
        yield calls


def _shown(count: Count | Bounds) -> str:
    blocks = "" if count.blocks is None else f"  {count.blocks:g}"
    return f"{count.calls:g}  {count.syncs:g}{blocks}"


if __name__ == "__main__":
    raise SystemExit(main())
