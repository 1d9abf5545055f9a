"""Rules for what goes on beside: another thread with its own items, and another store."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from atop import Item, Store
from atop.errors import OtherStore, SnapshotTooOld, StoreBusy, WrongThread
from tests.models.base import MANY, Base, has_items, in_transaction, outside
from tests.models.world import Entry, World

# Readers wait for a transaction that was spilled, and so would the test for them.
reachable = precondition(lambda self: not (self.spills and self.open))


class Beside(Base):
    """A thread that reads and writes, also while this one has a transaction; a second store."""

    def __init__(self) -> None:
        super().__init__()
        self.snapshot: Any = None
        self.seen: World | None = None
        self.second = Store()
        self.copies: dict[int, dict[str, Any]] = {}

    # A thread

    @reachable
    @precondition(lambda self: self.seen is None)
    @rule()
    def begin_a_snapshot(self) -> None:
        """It is held over what is committed later."""

        def enter() -> None:
            self.snapshot = self.store.snapshot()
            self.snapshot.__enter__()

        self.in_thread(enter)
        self.seen = copy.deepcopy(self.worlds.committed)

    @reachable
    @rule(end=st.booleans())
    def look_beside(self, end: bool) -> None:
        """The other thread sees what its snapshot had, or what is committed."""
        seen = self.seen
        try:
            self.in_thread(self.check_contents, seen or self.worlds.committed)
        except SnapshotTooOld:
            assert self.spills, "a snapshot is lost without need"
            end = True
        if seen is not None and end:
            self.end_others()

    def end_others(self) -> None:
        if self.seen is not None:
            self.seen = None
            self.in_thread(self.snapshot.__exit__, None, None, None)

    @precondition(lambda self: self.worlds.now.files and not self.spills)
    @rule()
    @outside
    def delete_a_file_that_is_seen(self) -> None:
        """Its bytes stay for the snapshot, and go after it."""
        if not self.worlds.committed.files:
            return
        if self.seen is None:
            self.begin_a_snapshot()
        ident = min(self.worlds.committed.files)
        self.begin()
        self.store.delete(self.store.getItemByID(ident))
        self.worlds.do(lambda world: world.files.pop(ident))
        self.commit()
        self.look_beside(end=True)

    @reachable
    @rule(delete=st.booleans())
    def write_beside(self, delete: bool) -> None:
        """The other thread commits; a transaction of this one that has the turn keeps it out."""
        if self.seen is not None:
            return
        number = self.next
        got: list[int | None] = []

        def write() -> None:
            with self.store.transaction():
                item = Entry(number=number, tags=["t"])
                self.store.pool("first").addItem(item)
                for other in self.store.items(Entry):
                    if other is not item:
                        other.tags.append("other")
                if delete and self.worlds.committed.files:
                    self.store.delete(self.store.getItemByID(min(self.worlds.committed.files)))
            got.append(item.id)

        if self.open and not self.optimistic:
            with pytest.raises(StoreBusy):
                self.in_thread(write)
            return
        self.in_thread(write)
        self.number()
        self.disturbed = bool(self.open)
        self.worlds.do_beside(lambda world: _tag_all(world, number, got[0]))
        if delete and self.worlds.committed.files:
            self.worlds.do_beside(lambda world: world.files.pop(min(world.files)))
        if not self.open:
            self.settle()

    @has_items
    @rule(at=MANY)
    @in_transaction
    def touch_from_another_thread(self, at: int) -> None:
        if (number := self.pick_whole(at)) is None:
            return
        item = self.item(number)
        tags = item.tags

        def touch() -> None:
            with pytest.raises(WrongThread):
                item.key = "theirs"
            with pytest.raises(WrongThread):
                tags.append("theirs")

        self.in_thread(touch)
        assert item.tags == self.worlds.now.items[number]["tags"]

    @rule(conflict=st.booleans())
    @outside
    def transact(self, conflict: bool) -> None:
        """It is done once, however often it had to be tried."""
        number, tries = self.number(), 0
        ids: list[int] = []
        disturb = conflict and self.optimistic and self.seen is None

        def work() -> int | None:
            nonlocal tries
            tries += 1
            item = Entry(number=number, tags=["t"])
            self.store.pool("second").addItem(item)
            for each in self.store.items(Entry):
                if each is not item:
                    each.tags.append("tried")
            if disturb and tries == 1:
                self.in_thread(write)
            return item.id

        def write() -> None:
            with self.store.transaction():
                self.store.pool("first").addItem(Entry(number=other, tags=["t"]))
                ids.append(self.store.pool("first").getIndexItem("number", other).id)

        other = self.number()
        ident = self.store.transact(work)
        assert tries == 1 + disturb
        if disturb:
            self.worlds.do_beside(lambda world: _join(world, other, ids[0], "first"))
        self.worlds.do_beside(lambda world: _tag_all(world, number, ident, "second", "tried"))
        self.settle()

    # Another store

    @has_items
    @rule(at=MANY)
    @in_transaction
    def keep_stores_apart(self, at: int) -> None:
        """An item of one store is refused by the other, and nothing is different afterwards."""
        if (number := self.pick_whole(at)) is None:
            return
        item = self.item(number)
        with self.second.transaction():
            pool, holder = self.second.pool("pool"), self.second.add(Item(holds=None))
            with pytest.raises(OtherStore):
                self.second.add(item)
            with pytest.raises(OtherStore):
                pool.addItem(item)
            with pytest.raises(OtherStore):
                self.second.delete(item)
            with pytest.raises(OtherStore), self.second.transaction():
                holder.holds = item
            assert holder.holds is None
            assert item not in pool
            self.second.delete(holder)

    @has_items
    @rule(at=MANY, move=st.booleans())
    @in_transaction
    def copy_to_another_store(self, at: int, move: bool) -> None:
        """A copy has the item's values, is in no store, and shares nothing with it."""
        number = self.pick_whole(at)
        if number is None or {"friend", "more"} & self.worlds.now.items[number].keys():
            return
        item = self.item(number)
        copied = copy.deepcopy(item) if move else copy.copy(item)
        assert copied.store is None
        copied.tags.append("copied")
        with self.second.transaction():
            self.second.allowed = self.store.allowed
            self.second.add(copied)
        expected = copy.deepcopy(self.worlds.now.items[number])
        expected["tags"].append("copied")
        assert copied.id is not None
        self.copies[copied.id] = expected
        self.look_at_the_other_store()
        if move:
            self.store.delete(item)
            self.worlds.do(lambda world: world.delete(number))

    def look_at_the_other_store(self) -> None:
        found = {item.id: dict(vars(item)) for item in self.second.items(Item)
                 if hasattr(item, "number")}
        assert found == self.copies

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            with suppress(Exception):
                self.second.close()


def _join(world: World, number: int, ident: Any, pool: str) -> None:
    world.add(number, ident, {"number": number, "tags": ["t"]})
    world.members[pool].add(number)


def _tag_all(
    world: World, number: int, ident: Any, pool: str = "first", tag: str = "other"
) -> None:
    """An item more, and a tag more on all the others."""
    for each, attributes in world.items.items():
        if each not in world.passing:
            attributes["tags"].append(tag)
    _join(world, number, ident, pool)
