"""Verifying a store: that every byte of it agrees with every other.

Pages come first, since a damaged one ends all reading. Then the items are walked at one moment,
each with its index rows, references and file, and after them the rows of the index. Both walks go
page by page: what is kept of a store does not grow with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atop.care import dropped
from atop.classes import PREFIX as CLASSES
from atop.engine.base import CATALOG, INDEX, ITEMS, Range, State, View
from atop.engine.environment import COMMITS
from atop.engine.progress import Progress, silent
from atop.errors import DamagedStore, StoreClosed, StoreFailed, TransactionError
from atop.indexcheck import IndexCheck
from atop.itemcheck import ItemCheck, Reader
from atop.objects import number
from atop.pool import POOLS, Pool
from atop.report import Findings, Report

if TYPE_CHECKING:
    from atop.store import Store


def verify(store: Store, progress: Progress | None = None) -> Report:
    """See :meth:`atop.store.Store.verify`."""
    return _Verification(store, progress or silent).report()


class _Verification:
    def __init__(self, store: Store, progress: Progress) -> None:
        self._store = store
        self._progress = progress
        self._findings = Findings("" if store.path is None else str(store.path))
        self._items: ItemCheck | None = None
        self._entries = 0

    def report(self) -> Report:
        session = self._store.session()
        if session.transaction is not None:
            raise TransactionError("a store is verified outside transactions: end this one first")
        serial = self._store.engine.state.serial
        for note in dropped(self._store):
            self._findings.note(note)
        try:
            self._pages()
            if self._findings.readable:
                serial = self._content()
            else:
                self._findings.note("items were not looked at, as reading a bad page may never end")
        except StoreClosed:
            raise
        except (DamagedStore, StoreFailed) as error:
            self._findings.damaged(
                str(error), "the rest of the store was not looked at, since it cannot be read"
            )
        return self._made(serial)

    def _made(self, serial: int) -> Report:
        items, findings = self._items, self._findings
        if findings.more_notes:
            findings.notes.append(f"{findings.more_notes:,} more notes")
        return Report(
            serial,
            items.items if items else 0,
            self._entries,
            items.files if items else 0,
            len(items.pools) if items else 0,
            tuple(findings.problems),
            tuple(findings.notes),
            findings.more,
        )

    def _pages(self) -> None:
        """Berkeley DB's verifier, and the files that nobody knows; nobody writes meanwhile."""
        for table, damage in self._store.keeper.blemishes(self._store.timeout, self._progress):
            if table:
                self._findings.damaged_page(table, damage, _DEPENDS[table])
            else:
                self._findings.damaged(
                    damage,
                    "nothing: it only takes room; it is left from a transaction that did not come "
                    "to its end",
                    self._findings.repair,
                )

    def _content(self) -> int:
        reader = Reader(self._store)
        state = reader.begin_snapshot().state
        try:
            items = self._items = ItemCheck(reader, self._findings, self._progress)
            items.run(state.counts[ITEMS])
            self._catalog(reader.view, items.pools)
            if self._findings.index_readable:
                index = IndexCheck(reader, items, self._findings, self._progress)
                self._entries = index.run(state.counts[INDEX])
            else:
                self._findings.note("rows of indexes were not looked at: their pages are damaged")
            self._counts(state, reader.view)
        finally:
            reader.end_snapshot()
        return state.serial

    def _counts(self, state: State, view: View) -> None:
        assert self._items is not None
        found = {
            ITEMS: self._items.items,
            INDEX: self._entries,
            CATALOG: len(view.scan(CATALOG, Range())),
        }
        if not self._findings.index_readable:
            del found[INDEX]
        for name, rows in found.items():
            if rows != state.counts[name]:
                self._findings.damaged(
                    f"table {name!r} has {rows:,} rows and should have {state.counts[name]:,}",
                    _DEPENDS[name],
                    self._findings.salvage if name == ITEMS else self._findings.repair,
                )
        counted = view.count(None, None) if INDEX in found else self._entries
        if counted != self._entries:
            self._findings.damaged(
                f"table 'index' counts {counted:,} rows and has {self._entries:,}",
                "len(), position() and pages far from the first one are wrong",
                self._findings.repair,
            )
        if self._items.last >= state.next_id:
            self._findings.damaged(
                f"the next id is {state.next_id}, and there is an item {self._items.last}",
                "a new item would take the place of another",
                self._findings.repair,
            )

    def _catalog(self, view: View, pools: dict[int, Pool]) -> None:
        """Names of pools lead to pools, and pools with a name are found by it."""
        named = {pool.name: ident for ident, pool in pools.items() if pool.name is not None}
        for key, value in view.scan(CATALOG, Range()):
            if key.startswith(POOLS):
                name = key[len(POOLS) :].decode("utf-8", "surrogatepass")
                if named.get(name) == number(value):
                    del named[name]
                else:
                    self._findings.damaged(
                        f"the name of pool {name!r} leads to item {number(value)}, which is no "
                        "pool of that name",
                        f"the pool {name!r} cannot be opened",
                        self._findings.repair,
                    )
            elif not key.startswith(CLASSES):
                self._findings.note(f"the catalog has an unknown row {key!r}")
        for name, ident in named.items():
            self._findings.damaged(
                f"pool {ident} is not found by its name {name!r}",
                f"opening the pool {name!r} makes an empty one",
                self._findings.repair,
            )


_DEPENDS = {
    ITEMS: "items that cannot be loaded, and all that refers to them",
    INDEX: "pools show too few items, or in the wrong order",
    CATALOG: "pools are not found by name, and items not by class",
    COMMITS: "snapshots, and the counts and the next id of the store",
}
