"""Session: what one thread has loaded from a store.

In one session an id is one object. What is cached is right: at each look-up outside a transaction,
and at the begin of each transaction and snapshot, the ids that were committed since become ghosts.
An optimistic transaction learns here which of the items that it touches were cached.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

from atop.classes import check_whole
from atop.engine.base import CATALOG, ITEMS, JoinedRow, Range, Row, View, suffix
from atop.engine.filefolder import PendingFile
from atop.engine.present import Present, Snapshot
from atop.engine.reads import Reads
from atop.errors import (
    DamagedStore,
    NoSuchItem,
    NoTransaction,
    SnapshotTooOld,
    StoreError,
    TransactionError,
    ValueRefused,
    WrongThread,
)
from atop.index import PoolPlan
from atop.item import Bond, Item, is_ghost
from atop.native import live_items
from atop.objects import Objects, number
from atop.records import Entries, decode_entries

if TYPE_CHECKING:
    from atop.pool import Pool
    from atop.store import Store
    from atop.transaction import Transaction

_UNKNOWN = -1
_PAGES = 400  # are remembered
_PAGE_ROWS = 200  # the longest of them


class Session(Objects):
    """The items of one thread, and the moment at which it sees the store."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.engine = store.engine
        self.transaction: Transaction | None = None
        self.snapshot: Snapshot | None = None
        self._present = Present(self.engine, self.engine.serial)
        self._serial = self._present.serial
        self._plans: dict[bytes, tuple[object, PoolPlan]] = {}
        self._pages: dict[Range, tuple[list[JoinedRow], list[Bond]]] = {}
        self._pages_of = self._serial

    # Looking at the store

    @property
    def view(self) -> View:
        """The tables as this thread sees them now, changes that are not yet flushed left out."""
        if self.transaction is not None:
            return self.transaction.overlay
        return self._present if self.snapshot is None else self.snapshot

    @property
    def seen_at(self) -> int | None:
        """The serial of the snapshot that this thread sees; ``None`` if that is the present."""
        if self.transaction is not None:
            return self.transaction.seen_at
        return None if self.snapshot is None else self.snapshot.serial

    def flushed(self) -> View:
        """The tables as this thread sees them now."""
        if self.transaction is not None:
            self.transaction.flush()
        return self.view

    def refresh(self) -> None:
        """Outside a transaction and snapshot: see what is committed by now."""
        if self.transaction is None and self.snapshot is None:
            serial = self.engine.serial
            if serial != self._serial:
                self.catch_up(serial)

    def catch_up(self, serial: int) -> None:
        """Make ghosts of what others have committed since the last time, up to `serial`."""
        if serial == self._serial:
            return
        changed = self._changed_since(self._serial)
        self._see(serial, changed)

    def distrust(self) -> None:
        """Ctrl-C may have left objects half rolled back: all are to show what is committed."""
        self._serial = _UNKNOWN
        with suppress(StoreError):  # whoever looks at the store next is told
            self.refresh()

    def _see(self, serial: int, changed: Iterable[bytes]) -> None:
        """Last of all it is noted that this is done: Ctrl-C may come before."""
        self._present.serial = serial
        self._renew(changed)
        self._serial = serial

    def _renew(self, changed: Iterable[bytes]) -> None:
        """Others have changed the items of these ids."""
        for key in changed:
            item = self.known(key)
            bond = None if item is None else item._atop
            if item is not None and bond is not None and (bond.resting or not is_ghost(item)):
                self.watch.renew(item, bond)

    def _changed_since(self, serial: int) -> list[bytes]:
        """The ids committed after `serial`; where these are not known, all that we have."""
        if serial == _UNKNOWN:
            return list(self.items)
        try:
            return self.engine.changed(serial).get(ITEMS, [])
        except SnapshotTooOld:
            return list(self.items)

    def committed(self, serial: int, changed: Iterable[bytes] = ()) -> None:
        """This session's own commit was `serial`: what it has cached is what was stored.

        `changed` are items that others have changed before it, since what it was based on.
        """
        self._see(serial, changed)

    # Optimistic transactions

    def watch_reads(self, reads: Reads) -> None:
        """The transaction that has just begun is to learn of all that it touches."""
        reads.keys[ITEMS].update(self.rest())

    def touched(self, key: bytes) -> None:
        transaction = self.transaction
        if transaction is not None and transaction.reads is not None:
            transaction.reads.keys[ITEMS].add(key)

    def deleted(self, key: bytes) -> Item | None:
        return None if self.transaction is None else self.transaction.deleted(key)

    def is_new_class(self, class_number: int) -> bool:
        return self.transaction is not None and self.transaction.is_new_class(class_number)

    def read(self, ask: Callable[[View], Any]) -> Any:
        """The answer of one read, after which all that is cached is of the same moment."""
        while True:
            view = self.flushed()
            self.refresh()
            answer = ask(view)
            if self._present.serial == self._serial or view is not self._present:
                return answer
            self.catch_up(self._present.serial)

    # Finding items

    def item(self, key: bytes) -> Item | None:
        """The item of that id, loaded; ``None`` if there is none."""
        self.refresh()
        reference = self.items.get(key)
        item = None if reference is None else reference()
        if item is None:
            record = self.view.get(ITEMS, key)
            return None if record is None else self.build(key, record)
        if is_ghost(item):
            assert item._atop is not None
            try:
                self.load(item, item._atop)
            except NoSuchItem:
                return None
        return item

    def page(self, within: Range) -> tuple[list[JoinedRow], list[Item]]:
        """A page of an index: its rows, and their items."""
        if self.transaction is not None:
            return self._read_page(within)
        self.refresh()
        if self._pages_of != self._serial:
            self._pages.clear()
            self._pages_of = self._serial
        known = self._pages.get(within)
        if known is not None:
            rows, bonds = known
            items = live_items(bonds)
            if items is not None:
                return rows, items
        page = self._read_page(within)
        if within.limit <= _PAGE_ROWS and self._pages_of == self._serial:
            self._remember(within, *page)
        return page

    def _remember(self, within: Range, rows: list[JoinedRow], items: list[Item]) -> None:
        """As long as nothing is committed, a page has the same items: it need not be read again."""
        bonds = [item._atop for item in items]
        if len(self._pages) >= _PAGES:
            del self._pages[next(iter(self._pages))]
        self._pages[within] = [(key, None) for key, _ in rows], cast("list[Bond]", bonds)

    def _read_page(self, within: Range) -> tuple[list[JoinedRow], list[Item]]:
        rows: list[JoinedRow] = self.read(lambda view: view.join(within, self.items))
        return rows, self.build_page(rows, self._joined)

    def foresee(self, within: Range, *, records: bool) -> None:
        """A page of an index is about to be asked for, with the items or without."""
        engine = self.engine if self.transaction is None else self.transaction.turn.engine
        engine.foresee(within, records=records)

    def _joined(self, key: bytes) -> Item:
        """The item of an index row, which was known when the row was read."""
        ident = suffix(key)
        item = self.known(ident)
        if item is None:
            item = self.item(ident)
        if item is None:
            raise NoSuchItem(
                f"the index has item {number(ident)}, which is gone: run `atopdb verify`",
                number(ident),
            )
        return item

    def scan_items(self, within: Range) -> list[Row]:
        """A page of all items' records by id."""
        rows: list[Row] = self.read(lambda view: view.scan(ITEMS, within))
        return rows

    def index_keys(self, within: Range) -> list[bytes]:
        """A page of the keys of the index."""
        keys: list[bytes] = self.read(lambda view: view.keys(within))
        return keys

    def count(self, low: bytes, high: bytes) -> int:
        """How many rows of the index are in the range."""
        counted: int = self.read(lambda view: view.count(low, high))
        return counted

    def plan(self, pool: Pool) -> PoolPlan:
        """The indexes of `pool`, ready to find entries."""
        definitions = pool._definitions
        assert pool._atop is not None
        key = pool._atop.key
        known = self._plans.get(key)
        if known is None or known[0] is not definitions:
            known = self._plans[key] = (definitions, PoolPlan(key, pool.numbered()))
        return known[1]

    def plan_at(self, key: bytes) -> PoolPlan:
        """The indexes of the pool with that key."""
        pool = self.item(key)
        if pool is None:
            raise DamagedStore(
                f"pool {number(key)} is gone, its entries are not: run `atopdb verify`"
            )
        return self.plan(cast("Pool", pool))

    def entries(self, key: bytes) -> Entries:
        """The entries in the index that the flushed record of an item has."""
        record = self.view.get(ITEMS, key)
        return frozenset() if record is None else decode_entries(record)

    def count_items(self) -> int:
        """How many items the store has."""
        self.flushed()
        if self.transaction is not None:
            return self.transaction.count_items()
        return (self.snapshot or self.engine).state.counts[ITEMS]

    def get_catalog(self, key: bytes) -> bytes | None:
        """A row of the table ``catalog``."""
        row: bytes | None = self.read(lambda view: view.get(CATALOG, key))
        return row

    def scan_catalog(self, low: bytes, high: bytes) -> list[Row]:
        """Rows of the table ``catalog``."""
        rows: list[Row] = self.read(lambda view: view.scan(CATALOG, Range(low, high)))
        return rows

    def bond(self, item: Item) -> Bond:
        """The bond of an item of this session.

        :raises ValueRefused: when it is no item at all.
        :raises NoSuchItem: when it is in no store.
        :raises OtherStore: when it is in another one.
        :raises WrongThread: when another thread loaded it.
        """
        if not isinstance(item, Item):
            raise ValueRefused(f"{item!r} is no Item: subclass Item, or hold it in one", item)
        bond = item._atop
        if bond is None or bond.gone:
            raise NoSuchItem(f"{item!r}: add it first", item)
        self.store.check_own(item)
        if bond.session is not self:
            raise WrongThread(f"{item!r} was loaded by another thread; get it by id in this one")
        return bond

    def pending_file(self, ident: int) -> PendingFile | None:
        """What there is of a file that this thread's transaction is making."""
        transaction = self.transaction
        while transaction is not None:
            for file in transaction.files:
                if file.id == ident:
                    return file
            transaction = transaction.outer
        return None

    # Changing items

    def changing(self, item: Item, bond: Bond) -> None:
        """An attribute of `item` is about to change.

        :raises WrongThread: in another thread than the session's.
        :raises NoTransaction: outside a transaction.
        :raises BrokenItem: when its class cannot be imported.
        """
        check_whole(item)
        self.writable(item, "being changed").changing(item, bond)

    def writable(self, thing: object, doing: str) -> Transaction:
        """The transaction of this thread; `thing` is `doing`, for the error if there is none."""
        if get_ident() != self.thread:
            raise WrongThread(
                f"{thing!r} is {doing} in thread {threading.current_thread().name!r}, which did "
                "not load it; get the item by its id in this thread"
            )
        if self.transaction is None:
            self.store.check_open()
            self.store.check_writable()
            raise NoTransaction(
                f"{thing!r} is {doing} outside a transaction; do it in "
                "`with store.transaction():`"
            )
        return self.transaction

    def check_outside(self) -> None:
        """Before a transaction begins: nothing may have changed in place outside one.

        :raises NoTransaction: naming an item that has; it is as it was.
        """
        changed = self.watch.changed()
        for item in changed:
            assert item._atop is not None
            self.watch.renew(item, item._atop)
        self.watch.settle()
        self._pages.clear()  # what is rolled back may have been built anew
        if changed:
            raise NoTransaction(
                f"a value in {changed[0]!r} was changed outside a transaction; the item is as it "
                "was: change it in `with store.transaction():`"
            )

    # Snapshots

    def begin_snapshot(self) -> Snapshot:
        """See the store as it is now, until :meth:`end_snapshot`."""
        if self.transaction is not None or self.snapshot is not None:
            raise TransactionError("a snapshot cannot begin here")
        snapshot = self.snapshot = Snapshot(self.engine)
        try:
            self.catch_up(snapshot.serial)
        except BaseException:
            self.end_snapshot()
            raise
        return snapshot

    def end_snapshot(self) -> None:
        """See what is committed from now on."""
        if self.snapshot is not None:
            self.snapshot.close()
        self.snapshot = None
