"""Rules for pools: who is in them, by what they sort, and what queries of them answer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from atop.errors import DuplicateKey, IndexMismatch, NoSuchIndex, NoSuchItem
from tests.models.base import MANY, Base, has_items, in_transaction
from tests.models.world import INDEXES, POOLS, World, rank

NAMES = st.sampled_from(POOLS)
BOUNDS = st.one_of(st.none(), st.integers(0, 3), st.sampled_from(["a", "ab", "b"]))
ENDS = st.one_of(st.none(), st.integers(-4, 4))


class Pooling(Base):
    """What a program does with pools."""

    @has_items
    @rule(at=MANY, name=NAMES)
    @in_transaction
    def join_or_leave(self, at: int, name: str) -> None:
        number = self.pick(at)
        pool, item, now = self.store.pool(name), self.item(number), self.worlds.now
        if number in now.members[name]:
            pool.removeItem(item)
            with pytest.raises(NoSuchItem):
                pool.removeItem(item)
            self.worlds.do(lambda world: world.members[name].discard(number))
            return
        taken = now.taken(name, number)
        key = now.items[number].get("unique")
        try:
            pool.addItem(item)
        except DuplicateKey:
            assert key in taken
        else:
            assert key not in taken
            pool.addItem(item)
            self.worlds.do(lambda world: world.members[name].add(number))

    @has_items
    @rule(at=MANY, key=st.integers(0, 2))
    @in_transaction
    def set_unique(self, at: int, key: int) -> None:
        number = self.pick_whole(at)
        if number is None:
            return
        now, item = self.worlds.now, self.item(number)
        taken = set().union(*(now.taken(name, number) for name in POOLS
                              if number in now.members[name]))
        try:
            with self.store.transaction():
                item.tags.append("u")
                item.unique = key
        except DuplicateKey:
            assert key in taken
        else:
            assert key not in taken

            def effect(world: World) -> None:
                world.items[number]["tags"].append("u")
                world.items[number]["unique"] = key

            self.worlds.do(effect)

    @rule(name=NAMES, index=st.sampled_from(list(INDEXES)))
    @in_transaction
    def add_or_drop_an_index(self, name: str, index: str) -> None:
        pool, now = self.store.pool(name), self.worlds.now
        if index in now.indexes[name]:
            with pytest.raises(IndexMismatch):
                pool.addIndex(INDEXES[index])
            if index != "number":  # by which the pool is kept
                pool.dropIndex(index)
                self.worlds.do(lambda world: world.indexes[name].remove(index))
            return
        with pytest.raises(NoSuchIndex):
            pool.dropIndex(index)
        keys = [now.key(each, index) for each in now.members[name]]
        keys = [key for key in keys if key is not None]
        try:
            pool.addIndex(INDEXES[index])
        except DuplicateKey:
            assert INDEXES[index].unique
            assert len(set(keys)) < len(keys)
        else:
            assert not INDEXES[index].unique or len(set(keys)) == len(keys)
            self.worlds.do(lambda world: world.indexes[name].append(index))

    @precondition(lambda self: self.worlds.now.items)
    @rule(
        name=NAMES, at=MANY, low=BOUNDS, high=BOUNDS, backwards=st.booleans(), start=ENDS,
        stop=ENDS, turn=st.booleans(),
    )
    def query(
        self, name: str, at: int, low: Any, high: Any, backwards: bool, start: int | None,
        stop: int | None, turn: bool,
    ) -> None:
        now, pool = self.worlds.now, self.store.pool(name)
        index = [each for each in now.indexes[name] if each != "friend"][
            at % (len(now.indexes[name]) - ("friend" in now.indexes[name]))
        ]
        if index == "pair":
            low, high = (None if each is None else (each,) for each in (low, high))
        rows = [
            row for row in now.rows(name, index)
            if (low is None or rank(row[0]) >= rank(low))
            and (high is None or rank(row[0]) <= rank(high))
        ]
        ends = (high, low) if backwards else (low, high)
        found = pool.queryIndex(index, *ends, backwards=backwards)
        rows = rows[::-1] if backwards else rows
        assert len(found) == len(rows)
        assert list(found.pairs()) == rows
        assert list(reversed(found.ids())) == [ident for _, ident in reversed(rows)]
        step = -1 if turn else None
        assert list(found[start:stop:step].pairs()) == rows[start:stop:step]
        if self.open and INDEXES[index].multiple:
            return
        numbers = {ident: number for number, ident in now.ids.items()}
        sliced = [numbers[ident] for _, ident in rows[start:stop:step]]
        assert [item.number for item in found[start:stop:step]] == sliced

    @rule(name=NAMES, key=BOUNDS, backwards=st.booleans())
    def find(self, name: str, key: Any, backwards: bool) -> None:
        """Exactly that key, where it stands, and what begins like it."""
        if "key" not in self.worlds.now.indexes[name]:
            return
        pool, rows = self.store.pool(name), copy.copy(self.worlds.now.rows(name, "key"))
        same = [ident for each, ident in rows if each == key]
        if same:
            assert pool.getIndexItem("key", key).id == same[0]
        else:
            with pytest.raises(NoSuchItem):
                pool.getIndexItem("key", key)
        assert list(pool.queryIndex("key", key=key).ids()) == same
        before = [each for each, _ in rows if
                  (rank(each) > rank(key) if backwards else rank(each) < rank(key))]
        assert pool.queryIndex("key", backwards=backwards).position(key) == len(before)
        if isinstance(key, str):
            begins = [ident for each, ident in rows if isinstance(each, str)
                      and each.startswith(key)]
            assert list(pool.queryIndex("key", prefix=key).ids()) == begins
