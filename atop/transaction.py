"""Transaction: what one thread is about to change, its commit and its roll-back.

Changed objects wait until somebody asks the tables or the transaction ends; then they are flushed,
as records and index entries, into the transaction's overlay. A nested transaction is one more
overlay. Nothing that was rolled back is seen in any object afterwards.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from atop.batch import Batch, Membership
from atop.classes import Broken, check_whole, class_row
from atop.engine.base import CATALOG, INDEX, ITEMS, Commit, Turn, next_state
from atop.engine.filefolder import PendingFile
from atop.engine.ids import Given
from atop.engine.optimism import Optimist
from atop.engine.overlay import Overlay
from atop.engine.present import Present
from atop.errors import (
    DuplicateKey,
    NoSuchItem,
    NotStorable,
    StoreError,
    TransactionEnded,
    ValueRefused,
    WrongThread,
)
from atop.item import (
    Bond,
    Item,
    class_of,
    is_ghost,
    make_present,
    raw_dict,
    set_bond,
    set_dict,
)
from atop.objects import number
from atop.records import (
    Entries,
    decode_entries,
    decode_header,
)
from atop.session import Session
from atop.values import IMMUTABLE
from atop.watch import Before

if TYPE_CHECKING:
    from atop.pool import Pool

SPILL_BYTES = 128 << 20
FLUSH_ITEMS = 100  # so few that the garbage collector seldom gets to see what is done with them

_numbers = itertools.count(1)


class Transaction:
    """All or nothing. A context manager: commits at the end, rolls back on an exception."""

    def __init__(self, session: Session, turn: Turn, outer: Transaction | None = None) -> None:
        self._session = session
        self.turn = turn
        self.outer = outer
        self._number = next(_numbers)
        self._optimist = turn if isinstance(turn, Optimist) else None
        self.reads = self._optimist.reads if self._optimist else None
        self._ended = False
        self._flushing = False
        self._spilled = False
        self._changed: dict[bytes, Item] = {}
        self._members: dict[bytes, Membership] = {}
        self._deleted: dict[bytes, Item] = {}
        self._classes: dict[type[Item], int] = {}
        self._new_classes: set[int] = set()
        self._flush_at = FLUSH_ITEMS
        self.files: list[PendingFile] = []
        self.removed_files: list[int] = []
        if outer is None:
            state = turn.state
            self.overlay = Overlay(
                self._optimist.view if self._optimist else Present(turn.engine, state.serial)
            )
            self._counts = dict(state.counts)
            self._ids = Given(turn.more_ids, turn.ids)
        else:
            outer.flush()
            self.overlay = Overlay(outer.overlay)
            self._counts = {}
            self._ids = outer._ids.inner()

    @property
    def pending(self) -> bool:
        """Whether there is anything to commit by now, in this transaction or an outer one."""
        self.flush()
        return self._differs()

    def commit(self) -> None:
        """Make the changes so, durably on return. A nested transaction hands them to its outer.

        When anything goes wrong, nothing is changed and the transaction is rolled back.

        :raises WriteConflict: when it is optimistic, and others have changed what it has read.
        """
        self._check_innermost()
        try:
            self.flush()
        except BaseException:
            self.abort()
            raise
        if self.outer is None:
            self._commit()
        else:
            self._merge(self.outer)

    def abort(self) -> None:
        """Roll back: everything is again as it was at the begin."""
        self._check_innermost()
        self._end()
        try:
            if self.outer is None:
                self.turn.release()
        finally:
            self._roll_back()

    def __enter__(self) -> Transaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        if self._ended:
            return False
        nested = self._session.transaction is not self
        while self._session.transaction is not self:
            assert self._session.transaction is not None
            self._session.transaction.abort()
        if error is None and not nested:
            self.commit()
            return False
        self.abort()
        if error is None:
            raise TransactionEnded("a nested transaction was still open: all was rolled back")
        return False

    # What changes

    def changing(self, item: Item, bond: Bond) -> None:
        """An attribute of `item` is about to change."""
        self._touch(item, bond)
        if bond.fresh and bond.before is None:
            bond.before = Before(self._session.store, item)
        members = self._members.get(bond.key)
        if members:
            for pool_key, entries in members.items():
                if entries is not False:
                    members[pool_key] = None

    def add(self, item: Item) -> Bond:
        """Give `item`, which is in no store, an id in this one; answers its bond."""
        if len(self._changed) > self._flush_at:  # before: a flushed item is flushed again
            self._flush_early()
        key = self._ids.next().to_bytes(8, "big")
        bond = self._session.register(key, item)
        self._session.woken(bond)
        bond.stored = False
        bond.fresh = True
        bond.mark = self._number
        self._changed[key] = item
        try:
            class_of(item)._atop_added(item, self, bond)
            if not IMMUTABLE.issuperset(map(type, raw_dict(item).values())):
                bond.before = Before(self._session.store, item)
        except BaseException:
            self.forget(item, bond)
            raise
        return bond

    def delete(self, item: Item, bond: Bond) -> None:
        """Take `item` out of all pools and the store."""
        self.changing(item, bond)
        self._changed.pop(bond.key, None)
        self._members.pop(bond.key, None)
        if bond.stored:
            for entry in self.entries(bond.key):
                self.overlay.delete(INDEX, entry + bond.key)
            self.overlay.delete(ITEMS, bond.key)
        self._deleted[bond.key] = item
        self._session.items.pop(bond.key, None)
        self._session.watch.forget(bond.key)

    def join(self, pool: Pool, item: Item, bond: Bond) -> None:
        """`item` is to be in `pool`; its keys are computed now, so that a bad one fails here."""
        plan = self._session.plan(pool)
        entries = plan.entries(item)
        if bond.mark != self._number or bond.key not in self._changed:
            self._touch(item, bond)
        members = self._members.setdefault(bond.key, {})
        members[_key(pool)] = entries if bond.fresh and bond.before is None else None
        if plan.unique:
            before = set(self._changed)
            try:
                self.flush()
            except DuplicateKey:
                members.pop(_key(pool), None)
                self._forget_reached(before)
                raise

    def _forget_reached(self, before: set[bytes]) -> None:
        """Items that a flush has added, and that wait since, are not to be added after all."""
        for key, item in list(self._changed.items()):
            bond = item._atop
            if bond is not None and not bond.stored and key not in before:
                self.forget(item, bond)

    def leave(self, pool: Pool, item: Item, bond: Bond) -> None:
        """`item` is to be in `pool` no longer."""
        self._touch(item, bond)
        self._members.setdefault(bond.key, {})[_key(pool)] = False

    def forget(self, item: Item, bond: Bond) -> None:
        """An item that was just added is not to be added after all."""
        self._changed.pop(bond.key, None)
        self._members.pop(bond.key, None)
        self._session.items.pop(bond.key, None)
        class_of(item)._atop_forgotten(item, self, bond)
        set_bond(item, None)

    def is_member(self, pool: Pool, key: bytes) -> bool | None:
        """Whether the item of that id has joined or left `pool`; ``None`` for neither."""
        members = self._members.get(key)
        if not members or _key(pool) not in members:
            return None
        return members[_key(pool)] is not False

    def entries(self, key: bytes) -> Entries:
        """The entries in the index that the item's flushed record has."""
        record = self.overlay.get(ITEMS, key)
        return frozenset() if record is None else decode_entries(record)

    @property
    def seen_at(self) -> int | None:
        """The serial of the snapshot that it reads; ``None`` if nobody else can commit."""
        return None if self._optimist is None else self._optimist.snapshot.serial

    def count_items(self) -> int:
        """How many items the store has now."""
        if self.reads is not None:
            self.reads.span(ITEMS, None, None)
        return self._count(ITEMS)

    def _count(self, table: str) -> int:
        more = self.overlay.totals()[table]
        if self.outer is not None:
            return self.outer._count(table) + more
        below = self._optimist.snapshot.state.counts[table] if self._optimist else 0
        return below + self._counts[table] + more

    def _touch(self, item: Item, bond: Bond) -> None:
        """`item` is to be written, so it has to be loaded."""
        self.check_alive(item, bond)
        if is_ghost(item):
            self._session.load(item, bond)
        bond.mark = self._number
        self._changed[bond.key] = item

    def check_alive(self, item: Item, bond: Bond) -> None:
        """Raise :class:`NoSuchItem` for an item that was deleted in this transaction."""
        if self.deleted(bond.key) is not None:
            raise NoSuchItem(f"{item!r} was deleted in this transaction", item.id)

    def deleted(self, key: bytes) -> Item | None:
        """The item of that id, if it was deleted in this transaction or an outer one."""
        if key in self._deleted or self.outer is None:
            return self._deleted.get(key)
        return self.outer.deleted(key)

    # Flushing

    def flush(self) -> None:
        """Write what has changed into the overlay, all of it or, on an error, nothing."""
        if self._flushing:
            return
        watch = self._session.watch
        self.turn.working()
        for item in watch.changed():
            assert item._atop is not None
            check_whole(item)
            self.changing(item, item._atop)
        watch.settle()
        if self._changed:
            self._flushing = True
            try:
                self._flush()
            finally:
                self._flushing = False
        if self.outer is None and self.overlay.size > SPILL_BYTES and self.turn.can_spill:
            self._spill()

    def _flush(self) -> None:
        batch = Batch(self, self._session, self._members)
        try:
            while self._changed:
                batch.waiting.update(self._changed)
                self._changed = {}
                batch.prepare()
            batch.check_unique()
        except BaseException:
            self._changed = {**batch.items, **batch.waiting, **self._changed}
            raise
        batch.write()

    def refer(self, item: Item) -> tuple[int, int]:
        """What stands for `item` in the record of another; one in no store is added to this."""
        if item._atop is None:
            self.add(item)
        bond = item._atop
        assert bond is not None
        if not bond.gone:
            self._session.bond(item)
        cls = class_of(item)
        if cls is Broken:  # it is to be of its own class again when that is there
            record = self.overlay.get(ITEMS, bond.key)
            if record is not None:
                return number(bond.key), decode_header(record)[0]
            cls = Item
        return number(bond.key), self.class_number(cls)

    def class_number(self, cls: type[Item]) -> int:
        """The number of `cls` in the class table, where it is entered if it has none."""
        known = self._classes.get(cls) or self._session.store.classes.number(cls)
        if known is None:
            if "<locals>" in cls.__qualname__:
                raise NotStorable(
                    f"{cls.__qualname__} is defined in a function, so its items could not be "
                    "loaded again: define it in a module",
                    cls,
                )
            known, exists = self._session.store.classes.find_number(cls, self.overlay)
            if not exists:
                self.overlay.put(CATALOG, *class_row(known, cls), existed=False)
                self._new_classes.add(known)
            self._classes[cls] = known
        return known

    def is_new_class(self, class_number: int) -> bool:
        """Whether this transaction, or an outer one, has entered a class with that number."""
        return class_number in self._new_classes or (
            self.outer is not None and self.outer.is_new_class(class_number)
        )

    def _differs(self) -> bool:
        return self._spilled or self.overlay.size > 0 or (
            self.outer is not None and self.outer._differs()
        )

    def _flush_early(self) -> None:
        """Free memory. What is refused now may be in order at the end, so it is tried again."""
        try:
            self.flush()
        except ValueRefused:
            self._flush_at = 2 * len(self._changed)

    def _spill(self) -> None:
        self._spilled = True
        for name, more in self.overlay.totals().items():
            self._counts[name] += more
        self.turn.spill(self.overlay.drain())

    # Ending

    def _commit(self) -> None:
        totals = self.overlay.totals()
        counts = {name: count + totals[name] for name, count in self._counts.items()}
        state = self.turn.state
        next_id = self._ids.end or state.next_id
        commit = Commit(
            next_state(state, next_id, counts),
            self.overlay.changes(),
            files=[(file.id, file.name) for file in self.files],
            removed=self.removed_files,
        )
        if not (commit.changes or self._spilled or self._ids.runs):
            self._end()
            self._session.watch.settle()
            self.turn.release()
            return
        try:
            self.turn.apply(commit, self._session.store.durable)
        finally:
            self._settle(commit)

    def _settle(self, commit: Commit) -> None:
        """The commit is in, or it is not: make the objects show that."""
        self._end()
        if not self.turn.applied:
            try:
                self._roll_back()
            finally:
                self.turn.release()
            if self._optimist is not None:
                with suppress(StoreError):  # whoever looks at the store next is told
                    self._session.refresh()
            return
        session = self._session
        session.store.classes.committed(self._classes)
        session.store.files.kept(self.files)
        for item in self._deleted.values():
            _make_free(item)
        for item in self._added_items():
            assert item._atop is not None
            item._atop.fresh = False
            if item._atop.before is not None:
                item._atop.before = None
        session.watch.settle()
        self._go_on(commit.state.serial)

    def _go_on(self, serial: int) -> None:
        """Let the session see what it has committed, and what others have in between."""
        if self._optimist is None:
            self._session.committed(serial)
        elif self._optimist.landed is not None:
            state, changed = self._optimist.landed
            self._session.committed(state.serial, changed)

    def _merge(self, outer: Transaction) -> None:
        self._end()
        outer.overlay.merge(self.overlay)
        outer._ids.take(self._ids)
        outer._deleted.update(self._deleted)
        outer._classes.update(self._classes)
        outer._new_classes |= self._new_classes
        outer.files += self.files
        outer.removed_files += self.removed_files

    def _roll_back(self) -> None:
        session = self._session
        changed = set(map(id, session.watch.changed()))
        for file in self.files:
            session.store.files.discard(file.path, file.name)
        session.forget_classes(self._classes.values())
        for item in self._deleted.values():
            assert item._atop is not None
            session.register_again(item._atop)
        for item in list(self._added_items()):
            assert item._atop is not None
            self._unbind(item, item._atop)
        for item in session.known_items():
            bond = item._atop
            if bond is not None and (self._has_written(bond) or id(item) in changed):
                bond.mark = self.outer._number if self.outer else 0
                session.watch.renew(item, bond)
        session.watch.settle()

    def _has_written(self, bond: Bond) -> bool:
        """Whether the item was changed here; also if its object was dropped and built since."""
        return (
            self._spilled or bond.mark >= self._number or self.overlay.differs(ITEMS, bond.key)
        )

    def _added_items(self) -> Iterator[Item]:
        """The items that were added and are alive."""
        for first, end in self._ids.runs:
            for item in self._session.known_between(first, end):
                if item._atop is None:
                    self._session.forget_unbound(item)
                else:
                    yield item

    def _unbind(self, item: Item, bond: Bond) -> None:
        """An item that was added is as it was before, and in no store."""
        self._session.items.pop(bond.key, None)
        self._session.watch.forget(bond.key)
        now = {**raw_dict(item), **(bond.hidden or {})}
        make_present(item)
        set_bond(item, None)
        set_dict(item, now if bond.before is None else bond.before.restore(item, now))

    def _end(self) -> None:
        self._ended = True
        self._session.transaction = self.outer

    def _check_innermost(self) -> None:
        if threading.get_ident() != self._session.thread:
            raise WrongThread("a transaction ends in the thread that began it")
        if self._ended or self._session.transaction is not self:
            raise TransactionEnded(
                "this transaction is over" if self._ended else "end the nested transaction first"
            )


def _make_free(item: Item) -> None:
    """A deleted item is an object like any other, but that references to it lead nowhere."""
    bond = item._atop
    assert bond is not None
    bond.gone = True
    raw_dict(item).update(bond.hidden or {})
    bond.hidden = None


def _key(pool: Item) -> bytes:
    assert pool._atop is not None
    return pool._atop.key

