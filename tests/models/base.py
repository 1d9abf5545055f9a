"""The machine that the other modules give rules to: a store, its transactions, and its ends."""

from __future__ import annotations

import copy
import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atop import File, Item, Store, Transaction, objects, query, transaction
from atop.errors import Conflict, NoSuchItem, TransactionError, TransactionLost
from tests.checking import check_store
from tests.models.owner import Owner
from tests.models.world import (
    FIRST_INDEXES,
    INDEXES,
    POOLS,
    Box,
    Entry,
    Passing,
    Worlds,
    hide_class,
)

PATIENCE = 60.0
_SHARED_MEMORY = Path("/dev/shm")
ROOM = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
"""Where syncs cost nothing: what they are for is not tried here."""
SMALL = ((objects, "TAIL_BYTES", 0), (query, "FIRST_PAGE", 2), (query, "PAGE", 3),
         (transaction, "FLUSH_ITEMS", 2))  # fmt: skip
MANY = st.integers(0, 20)

has_items = precondition(lambda self: self.worlds.now.items)
on_disk = precondition(lambda self: self.folder)


def in_transaction(method: Callable[..., None]) -> Callable[..., None]:
    """A rule that begins a transaction if there is none."""

    @functools.wraps(method)
    def call(self: Base, **given: Any) -> None:
        if not self.open:
            self.begin()
        method(self, **given)

    return call


def outside(method: Callable[..., None]) -> Callable[..., None]:
    """A rule that commits what is open."""

    @functools.wraps(method)
    def call(self: Base, **given: Any) -> None:
        while self.open:
            self.commit()
        method(self, **given)

    return call


class Base(RuleBasedStateMachine):
    """A store, and the worlds that it was in at the begin of each open transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.worlds = Worlds()
        self.open: list[Transaction] = []
        self.ended = ExitStack()
        self.folder: Path | None = None
        self.owner: Owner | None = None
        self.next = 0
        self.disturbed = False
        self.broken = False
        self.known_ids: set[int] = set()
        self.aliases: list[tuple[int, Any]] = []

    @initialize(
        kind=st.sampled_from(["memory", "folder", "folder", "client"]), optimistic=st.booleans(),
        durable=st.booleans(), small=st.booleans(), spill=st.sampled_from([False, False, True]),
    )
    def start(
        self, kind: str, optimistic: bool, durable: bool, small: bool, spill: bool
    ) -> None:
        self.optimistic, self.durable = optimistic, durable
        self.spills = spill and not optimistic
        for module, name, value in SMALL if small else ():
            self.ended.enter_context(patch.object(module, name, value))
        if self.spills:
            self.ended.enter_context(patch.object(transaction, "SPILL_BYTES", 500))
        if kind != "memory":
            self.folder = Path(tempfile.mkdtemp(prefix="atop-model-", dir=ROOM))
            self.ended.callback(lambda: shutil.rmtree(str(self.folder)))
        self.path = None if self.folder is None else self.folder / "store.atop"
        self.beside = ThreadPoolExecutor(1)
        self.ended.callback(self.beside.shutdown)
        self.open_store(owned=kind == "client")
        self.begin()
        for cls in (Entry, Entry, Passing):
            attributes: dict[str, Any] = {"number": self.number(), "tags": ["t"]}
            item = self.store.add(cls(**copy.deepcopy(attributes)))
            self.added(attributes["number"], item, attributes)
        self.commit()

    def open_store(self, *, owned: bool = False) -> None:
        if owned:
            assert self.path is not None
            self.owner = Owner(self.path)
        self.store = Store(self.path, durable=self.durable, timeout=0.3, allow=[Box],
                           optimistic=self.optimistic)
        for name in POOLS:
            if not any(pool.name == name for pool in self.store.pools()):
                self.store.pool(name, *(INDEXES[index] for index in FIRST_INDEXES))

    def close_store(self) -> None:
        """Nobody has it afterwards."""
        self.end_others()
        self.store.close()
        if self.owner is not None:
            self.owner.end()
            self.owner = None
        self.aliases.clear()

    def end_others(self) -> None:
        """Let the thread beside end what it has begun."""

    def in_thread(self, call: Any, *args: Any) -> Any:
        """What `call` returns in the thread beside, which has its own items."""
        return self.beside.submit(call, *args).result(PATIENCE)

    # Items

    def number(self) -> int:
        """A new one."""
        number, self.next = self.next, self.next + 1
        return number

    def pick(self, at: int) -> int:
        """The number of some item."""
        return sorted(self.worlds.now.items)[at % len(self.worlds.now.items)]

    def pick_whole(self, at: int) -> int | None:
        """The number of some item whose class is there."""
        now = self.worlds.now
        whole = sorted(now.items.keys() - now.passing if self.broken else now.items)
        return whole[at % len(whole)] if whole else None

    def item(self, number: int) -> Any:
        """The item, found by its id or among all."""
        if number % 2:
            return self.store.getItemByID(self.worlds.now.ids[number])
        for item in self.store.items():
            if getattr(item, "number", None) == number:
                return item
        raise AssertionError(f"item {number} is lost")

    def added(self, number: int, item: Item, attributes: dict[str, Any]) -> None:
        """`item` was put into the store."""
        ident = item.id
        assert ident is not None
        assert ident not in self.known_ids, f"id {ident} was given again"
        self.worlds.do(lambda world: world.add(number, ident, attributes))
        if isinstance(item, Passing):
            self.worlds.do(lambda world: world.passing.add(number))

    # Transactions

    @rule()
    def begin_one_more(self) -> None:
        if len(self.open) < 3:
            self.begin()

    @precondition(lambda self: self.open)
    @rule(roll_back=st.integers(0, 2))
    def end(self, roll_back: int) -> None:
        self.commit() if roll_back else self.abort()

    def begin(self) -> None:
        self.open.append(self.store.begin())
        self.worlds.begin()

    def commit(self) -> None:
        ended = self.open.pop()
        try:
            ended.commit()
        except Conflict:
            assert self.disturbed, "a conflict with nobody"
            assert not self.open, "a savepoint is not committed, it cannot conflict"
            self.worlds.lose()
        else:
            self.worlds.commit()
        self.settle()

    def abort(self) -> None:
        self.open.pop().abort()
        self.worlds.abort()
        self.settle()

    def settle(self) -> None:
        if not self.open:
            self.disturbed = False
            self.known_ids |= {*self.worlds.committed.ids.values(), *self.worlds.committed.files}

    # Ends of the store

    @on_disk
    @rule(how=st.sampled_from(["crash", "crash", "reopen", "reopen", "share", "hide a class"]))
    def go_and_come(self, how: str) -> None:
        """The store is closed and opened, or what a crash would leave of it is."""
        if how == "crash":
            self.crash()
            return
        while self.open:
            self.commit()
        self.close_store()
        if how == "hide a class":
            self.broken = not self.broken
            hide_class(Passing, self.broken)
        self.open_store(owned=how == "share")

    def crash(self) -> None:
        """Go on with a copy of the folder as it is while the store is open."""
        assert self.folder is not None
        assert self.path is not None
        left = self.folder / "left.atop"
        shutil.copytree(self.path, left, ignore=shutil.ignore_patterns("socket"))
        while self.open:
            self.open.pop().abort()
        self.worlds.lose()
        self.settle()
        self.close_store()
        shutil.rmtree(self.path)
        left.rename(self.path)
        self.open_store()
        self.look()

    @precondition(lambda self: self.owner)
    @rule(give_up=st.booleans())
    def kill_the_owner(self, give_up: bool) -> None:
        assert self.owner is not None
        self.owner.kill()
        self.owner = None
        while self.open:
            if give_up:
                self.abort()
                continue
            ended = self.open.pop()
            try:
                ended.commit()
            except (TransactionLost, Conflict):
                for each in reversed(self.open):
                    each.abort()
                self.open.clear()
                self.worlds.lose()
            else:
                self.worlds.commit()
            self.settle()
        self.look()

    # What must hold

    def contents(self) -> dict[int, dict[str, Any]]:
        """The attributes of all items, as somebody sees them in this thread."""
        return {
            item.number: {name: self.plain(value) for name, value in vars(item).items()
                          if name not in ("_class", "_problem")}
            for item in self.store.items() if hasattr(item, "number")
        }

    def plain(self, value: Any) -> Any:
        """Items as numbers; ``None`` for one that is gone."""
        if isinstance(value, list):
            return [self.plain(each) for each in value]
        if not isinstance(value, Item):
            return copy.deepcopy(value)
        if value.id is None or self.store.getItemByID(value.id, None) is not value:
            return ("item", None)
        return ("item", value.number)

    def check_contents(self, expected: Any) -> None:
        """They are what `expected` has, and references to what is gone lead nowhere."""
        wanted = {
            number: {name: _resolved(value, expected) for name, value in attributes.items()}
            for number, attributes in expected.items.items()
        }
        found = self.contents()
        assert found == wanted, _difference(found, wanted)
        assert len(self.store) == len(expected.items) + len(POOLS) + len(expected.files)
        assert {file.id for file in self.store.items(File)} == set(expected.files)
        for ident, data in expected.files.items():
            with self.store.getItemByID(ident).open() as source:
                assert source.read() == data

    @rule()
    def look(self) -> None:
        now = self.worlds.now
        self.check_contents(now)
        if not self.broken:
            passing = [item.number for item in self.store.items(Passing)]
            assert set(passing) == now.passing

    @rule(name=st.sampled_from(POOLS))
    def look_at_a_pool(self, name: str) -> None:
        pool, now = self.store.pool(name), self.worlds.now
        assert len(pool) == len(now.members[name])
        assert [each.name for each in pool.indexes] == now.indexes[name]
        assert {item.number for item in pool} == now.members[name]
        for index in now.indexes[name]:
            query = pool.queryIndex(index)
            if index == "friend":
                assert sorted(query.ids()) == sorted(now.ids[each] for each in now.members[name])
            else:
                assert list(query.pairs()) == now.rows(name, index)

    @invariant()
    def ids_are_objects(self) -> None:
        if hasattr(self, "store") and self.worlds.now.items:
            first = next(self.store.items())
            assert self.store.getItemByID(first.id) is first

    def teardown(self) -> None:
        hide_class(Passing, False)
        if not hasattr(self, "store"):
            return
        with self.ended:
            try:
                while self.open:
                    self.abort()
                self.look()
                for name in POOLS:
                    self.look_at_a_pool(name)
                self.end_others()
                self.in_thread(self.check_contents, self.worlds.now)
                self.close_store_checked()
            finally:
                with suppress(TransactionError, NoSuchItem):
                    self.close_store()

    def close_store_checked(self) -> None:
        """The store is whole, also seen from outside."""
        if self.folder is None:
            self.in_thread(check_store, self.store)
            return
        self.close_store()
        with Store(self.path, allow=[Box]) as again:
            check_store(again)


def _resolved(value: Any, world: Any) -> Any:
    if isinstance(value, list):
        return [_resolved(each, world) for each in value]
    if isinstance(value, tuple) and value[:1] == ("item",):
        return value if value[1] in world.items else ("item", None)
    return value


def _difference(found: dict[int, Any], wanted: dict[int, Any]) -> str:
    both = sorted(found.keys() | wanted.keys())
    return "\n".join(
        f"item {each} is {found.get(each)}, and should be {wanted.get(each)}"
        for each in both if found.get(each) != wanted.get(each)
    )
