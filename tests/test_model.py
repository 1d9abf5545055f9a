"""The whole object API against plain dicts: any order of calls leaves what the dicts have."""

from __future__ import annotations

import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atop import Index, Item, Store
from atop.errors import DuplicateKey, StaleValue
from tests.checking import check_store
from tests.conftest import elsewhere

POOLS = ("first", "second")
KEYS = st.one_of(st.none(), st.integers(0, 3), st.sampled_from(["a", "b"]))
VALUES = st.sampled_from([[], [1], {"k": [2]}, {3}, ([4],), "text", 5])


class Entry(Item):
    """What the machine works on."""


class World:
    """What should be in the store: attributes by number, and who is in which pool."""

    def __init__(self) -> None:
        self.items: dict[int, dict[str, Any]] = {}
        self.pools: dict[str, set[int]] = {name: set() for name in POOLS}
        self.files: dict[int, bytes] = {}


def rank(key: Any) -> tuple[int, Any]:
    return (0, 0) if key is None else (1, key) if isinstance(key, int) else (2, key)


def plain(value: Any) -> Any:
    """Items as numbers."""
    if isinstance(value, Item):
        return ("item", value.__dict__.get("number"))
    return copy.deepcopy(value)


class Machine(RuleBasedStateMachine):
    """A store, and the worlds that it was in at the begin of each open transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.folder: str | None = None
        self.outer: list[tuple[World, Any]] = []
        self.world = World()
        self.next = 0
        self.aliases: list[tuple[int, str, Any]] = []

    @initialize(on_disk=st.booleans(), optimistic=st.booleans())
    def open(self, on_disk: bool, optimistic: bool) -> None:
        self.optimistic = optimistic
        if on_disk:
            self.folder = tempfile.mkdtemp(prefix="atop-model-")
        self._open()

    def _open(self) -> None:
        path = None if self.folder is None else Path(self.folder, "store.atop")
        self.store = Store(path, durable=False, timeout=0.1, optimistic=self.optimistic)
        for name in POOLS:
            self.store.pool(name, "number", "key", Index("tags", multiple=True),
                            Index("unique", unique=True))

    # Helpers

    def pick(self, at: int) -> int:
        return sorted(self.world.items)[at % len(self.world.items)]

    def item(self, number: int) -> Any:
        for item in self.store.items(Entry):
            if item.number == number:
                return item
        raise AssertionError(f"item {number} is lost")

    has_items = precondition(lambda self: self.outer and self.world.items)
    in_transaction = precondition(lambda self: self.outer)

    # Transactions

    @rule()
    def begin(self) -> None:
        if len(self.outer) < 3:
            self.outer.append((copy.deepcopy(self.world), self.store.begin()))

    @in_transaction
    @rule()
    def commit(self) -> None:
        self.outer.pop()[1].commit()

    @in_transaction
    @rule()
    def abort(self) -> None:
        self.world, transaction = self.outer.pop()
        transaction.abort()

    @precondition(lambda self: not self.outer and self.folder)
    @rule(check=st.booleans())
    def reopen(self, check: bool) -> None:
        self.store.close()
        self.aliases.clear()
        self._open()

    @precondition(lambda self: not self.outer)
    @rule()
    def another_thread_writes(self) -> None:
        number, self.next = self.next, self.next + 1
        before = self.contents()

        def write() -> None:
            with self.store.transaction():
                self.store.pool("first").addItem(Entry(number=number, tags=["t"]))
                for item in self.store.items(Entry):
                    if item.number != number and isinstance(item.tags, list):
                        item.tags.append("other")

        with self.store.snapshot():
            elsewhere(write)
            assert self.contents() == before, "a snapshot saw a later commit"
        for attributes in self.world.items.values():
            attributes["tags"].append("other")
        self.world.items[number] = {"number": number, "tags": ["t"]}
        self.world.pools["first"].add(number)

    # Changes

    @in_transaction
    @rule(key=KEYS, value=VALUES, pools=st.sets(st.sampled_from(POOLS)))
    def add(self, key: Any, value: Any, pools: set[str]) -> None:
        number, self.next = self.next, self.next + 1
        attributes = {"number": number, "key": key, "tags": ["t"], "value": value}
        item = Entry(**copy.deepcopy(attributes))
        self.store.add(item)
        for name in pools:
            self.store.pool(name).addItem(item)
            self.world.pools[name].add(number)
        self.world.items[number] = copy.deepcopy(attributes)

    @has_items
    @rule(at=st.integers(0, 20), key=KEYS)
    def set_key(self, at: int, key: Any) -> None:
        number = self.pick(at)
        self.item(number).key = key
        self.world.items[number]["key"] = key

    @has_items
    @rule(at=st.integers(0, 20), value=VALUES, name=st.sampled_from(["value", "more"]))
    def set_value(self, at: int, value: Any, name: str) -> None:
        number = self.pick(at)
        setattr(self.item(number), name, copy.deepcopy(value))
        self.world.items[number][name] = copy.deepcopy(value)

    @has_items
    @rule(at=st.integers(0, 20))
    def delete_value(self, at: int) -> None:
        number = self.pick(at)
        if "value" in self.world.items[number]:
            del self.item(number).value
            del self.world.items[number]["value"]

    @has_items
    @rule(at=st.integers(0, 20), tag=st.sampled_from("abc"), rude=st.booleans())
    def tag_in_place(self, at: int, tag: str, rude: bool) -> None:
        number = self.pick(at)
        tags = self.item(number).tags
        list.append(tags, tag) if rude else tags.append(tag)
        self.world.items[number]["tags"].append(tag)

    @has_items
    @rule(at=st.integers(0, 20))
    def change_in_place(self, at: int) -> None:
        number = self.pick(at)
        for holder in (vars(self.item(number)), self.world.items[number]):
            change(holder.get("value"))

    @has_items
    @rule(at=st.integers(0, 20))
    def keep_alias(self, at: int) -> None:
        number = self.pick(at)
        self.aliases.append((number, "tags", self.item(number).tags))

    @in_transaction
    @rule(rude=st.booleans())
    def change_by_alias(self, rude: bool) -> None:
        while self.aliases:
            number, name, value = self.aliases.pop()
            if number not in self.world.items:
                continue
            item = self.item(number)
            if value is not getattr(item, name):
                try:
                    value.append("stale")
                except StaleValue:
                    continue
                assert "stale" not in getattr(item, name)
                continue
            list.append(value, "alias") if rude else value.append("alias")
            self.world.items[number][name].append("alias")

    @has_items
    @rule(one=st.integers(0, 20), two=st.integers(0, 20))
    def refer(self, one: int, two: int) -> None:
        first, second = self.pick(one), self.pick(two)
        self.item(first).more = [self.item(second)]
        self.world.items[first]["more"] = [("item", second)]

    @has_items
    @rule(at=st.integers(0, 20), key=st.integers(0, 2), pool=st.sampled_from(POOLS))
    def set_unique(self, at: int, key: int, pool: str) -> None:
        number = self.pick(at)
        before = copy.deepcopy(self.world)
        taken = {
            self.world.items[other].get("unique")
            for name in POOLS if number in self.world.pools[name]
            for other in self.world.pools[name] if other != number
        }
        item = self.item(number)
        try:
            with self.store.transaction():
                item.tags.append("u")
                item.unique = key
        except DuplicateKey:
            assert key in taken
            self.world = before
        else:
            assert key not in taken
            self.world.items[number]["tags"].append("u")
            self.world.items[number]["unique"] = key

    @has_items
    @rule(at=st.integers(0, 20), name=st.sampled_from(POOLS))
    def join_or_leave(self, at: int, name: str) -> None:
        number = self.pick(at)
        pool, item, members = self.store.pool(name), self.item(number), self.world.pools[name]
        if number in members:
            pool.removeItem(item)
            members.discard(number)
            return
        key = self.world.items[number].get("unique")
        taken = {self.world.items[other].get("unique") for other in members} - {None}
        try:
            pool.addItem(item)
        except DuplicateKey:
            assert key in taken
        else:
            assert key not in taken
            members.add(number)

    @has_items
    @rule(at=st.integers(0, 20))
    def delete(self, at: int) -> None:
        number = self.pick(at)
        for attributes in self.world.items.values():
            if attributes.get("more") == [("item", number)]:
                self.item(attributes["number"]).more = None
                attributes["more"] = None
        self.store.delete(self.item(number))
        del self.world.items[number]
        for members in self.world.pools.values():
            members.discard(number)

    @in_transaction
    @rule(data=st.binary(max_size=5))
    def add_file(self, data: bytes) -> None:
        with self.store.newFile("f") as file:
            file.write(data)
        assert file.id is not None
        self.world.files[file.id] = data

    @precondition(lambda self: self.outer and self.world.files)
    @rule(at=st.integers(0, 9))
    def delete_file(self, at: int) -> None:
        ident = sorted(self.world.files)[at % len(self.world.files)]
        self.store.delete(self.store.getItemByID(ident))
        del self.world.files[ident]

    # What must hold

    def contents(self) -> dict[int, dict[str, Any]]:
        return {
            item.number: {
                name: [plain(each) for each in value] if name == "more" and isinstance(value, list)
                else plain(value)
                for name, value in vars(item).items()
            }
            for item in self.store.items(Entry)
        }

    @rule()
    def look(self) -> None:
        assert self.contents() == self.world.items
        assert len(self.store) == len(self.world.items) + len(POOLS) + len(self.world.files)
        for ident, data in self.world.files.items():
            with self.store.getItemByID(ident).open() as source:
                assert source.read() == data

    @rule(name=st.sampled_from(POOLS))
    def look_at_a_pool(self, name: str) -> None:
        pool, members = self.store.pool(name), self.world.pools[name]
        items = [self.world.items[number] for number in members]
        assert [item.number for item in pool.queryIndex("number")] == sorted(members)
        assert list(pool.queryIndex("key").keys()) == sorted(
            (each.get("key") for each in items), key=rank
        )
        tags = sorted(tag for each in items for tag in set(each["tags"]))
        assert list(pool.queryIndex("tags").keys()) == tags
        assert len(pool) == len(members)

    @invariant()
    def ids_are_objects(self) -> None:
        if hasattr(self, "store") and self.world.items:
            first = next(self.store.items(Entry))
            assert self.store.getItemByID(first.id) is first

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            while self.outer:
                self.abort()
            self.look()
            for name in POOLS:
                self.look_at_a_pool(name)
            assert elsewhere(self.contents) == self.world.items
            check_store(self.store)
        finally:
            self.store.close()
            if self.folder is not None:
                shutil.rmtree(self.folder)


def change(value: Any) -> None:
    """Change a value at its deepest place, if it can be."""
    if isinstance(value, tuple):
        change(value[0])
    elif isinstance(value, dict):
        change(value["k"])
    elif isinstance(value, list):
        value.append(len(value))
    elif isinstance(value, set):
        value.add(len(value))


TestModel = Machine.TestCase
TestModel.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)
