"""Two optimistic sessions, interleaved in any way: as if each transaction had run by itself.

What each transaction has seen is noted. The notes of those that commit are read to a plain model,
in the order of the commits: there it must have seen the same.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from atop import Index, Item, Store, Transaction
from atop.errors import DuplicateKey, NoSuchItem, WriteConflict
from tests.checking import check_store

WHO = st.integers(0, 1)
NAMES = st.integers(0, 2)
READ_AND_CHANGED = st.sampled_from([("key", "set_key"), ("tags", "tag")])
KEYS = st.integers(0, 4)
READ = st.tuples(st.sampled_from(["key", "tags", "follow"]), NAMES)
CHANGE = st.tuples(st.sampled_from(["set_key", "tag"]), NAMES, KEYS)
OTHERS = st.one_of(
    st.tuples(st.just("refer"), NAMES, NAMES),
    st.tuples(st.just("add"), NAMES, KEYS),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("count"), KEYS, KEYS),
    st.tuples(st.just("first"), KEYS),
    st.tuples(st.just("size")),
)
STEPS = st.one_of(READ, READ, CHANGE, CHANGE, OTHERS)
MANY = st.lists(STEPS, min_size=1, max_size=3)
Steps = list[tuple[Any, ...]]


class Entry(Item):
    """What the machine works on. Its `name` never changes, and no other has it."""


class World:
    """The model: by name, a key, tags, and another entry."""

    def __init__(self) -> None:
        self.entries: dict[int, dict[str, Any]] = {}

    def key(self, name: int) -> Any:
        return self.entries[name]["key"] if name in self.entries else None

    def tags(self, name: int) -> Any:
        return list(self.entries[name]["tags"]) if name in self.entries else None

    def follow(self, name: int) -> Any:
        other = self.entries[name]["other"] if name in self.entries else None
        return None if other is None or other["gone"] else other["key"]

    def count(self, low: int, high: int) -> int:
        return sum(low <= entry["key"] <= high for entry in self.entries.values())

    def first(self, low: int) -> Any:
        keys = [entry["key"] for entry in self.entries.values() if entry["key"] >= low]
        return min(keys, default=None)

    def size(self) -> int:
        return len(self.entries)

    def set_key(self, name: int, key: int) -> bool:
        if name in self.entries:
            self.entries[name]["key"] = key
        return name in self.entries

    def tag(self, name: int, tag: int) -> bool:
        if name in self.entries:
            self.entries[name]["tags"].append(tag)
        return name in self.entries

    def refer(self, name: int, other: int) -> bool:
        both = name in self.entries and other in self.entries
        if both:
            self.entries[name]["other"] = self.entries[other]
        return both

    def add(self, name: int, key: int) -> bool:
        free = name not in self.entries
        if free:
            self.entries[name] = {"key": key, "tags": [], "other": None, "gone": False}
        return free

    def delete(self, name: int) -> bool:
        entry = self.entries.pop(name, None)
        if entry is not None:
            entry["gone"] = True
        return entry is not None


class Program:
    """The same on a store, by one that keeps its objects, and the lists that these hold."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path, optimistic=True, durable=False)
        self.pool = self.store.pool("entries", "key", Index("name", unique=True))
        self.known: dict[int, Any] = {}
        self.lists: dict[int, Any] = {}
        self.deleted: tuple[Any, ...] = ()

    def refresh(self) -> None:
        """Between transactions: forget what is gone."""
        self.deleted = ()
        self.known = {
            name: item for name, item in self.known.items()
            if item is not None and self.store.getItemByID(item.id, None) is item
            and item in self.pool
        }
        self.lists = {
            name: tags for name, tags in self.lists.items()
            if name in self.known and self.known[name].tags is tags
        }

    def find(self, name: int) -> Any:
        """An item that is known already costs no look at the store."""
        if self.known.get(name) is None:
            self.known[name] = self.pool.queryIndex("name", key=name).first()
        return self.known[name]

    def key(self, name: int) -> Any:
        item = self.find(name)
        return None if item is None else item.key

    def tags(self, name: int) -> Any:
        """By the list that was got before, if there is one."""
        if name not in self.lists:
            item = self.find(name)
            if item is None:
                return None
            self.lists[name] = item.tags
        return list(self.lists[name])

    def follow(self, name: int) -> Any:
        item = self.find(name)
        other = None if item is None else item.other
        if other is None or other.id is None or any(other is each for each in self.deleted):
            return None  # what it has deleted itself is an object as before, until it commits
        try:
            return other.key
        except NoSuchItem:
            return None

    def count(self, low: int, high: int) -> int:
        return len(self.pool.queryIndex("key", low, high))

    def first(self, low: int) -> Any:
        return self.pool.queryIndex("key", low).keys().first()

    def size(self) -> int:
        return len(self.store) - 1

    def set_key(self, name: int, key: int) -> bool:
        item = self.find(name)
        if item is not None:
            item.key = key
        return item is not None

    def tag(self, name: int, tag: int) -> bool:
        if self.tags(name) is None:
            return False
        tags = self.lists[name]
        list.append(tags, tag) if tag % 2 else tags.append(tag)
        return True

    def refer(self, name: int, other: int) -> bool:
        one, two = self.find(name), self.find(other)
        if one is None or two is None or two.name != other:
            return False
        one.other = two
        return True

    def add(self, name: int, key: int) -> bool:
        item = Entry(name=name, key=key, tags=[], other=None)
        try:
            self.pool.addItem(item)
        except DuplicateKey:
            return False
        self.known[name] = item
        return True

    def delete(self, name: int) -> bool:
        item = self.find(name)
        if item is None:
            return False
        self.store.delete(item)
        self.deleted += (item,)
        self.known.pop(name)
        self.lists.pop(name, None)
        return True


@dataclass
class Run:
    """A transaction that is open: the world at its begin, and what it has done and seen."""

    transaction: Transaction
    begin: World
    commits: int
    notes: list[tuple[str, tuple[Any, ...], Any]] = field(default_factory=list)


class Machine(RuleBasedStateMachine):
    """Two programs on one store."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="atop-serial-")
        self.world = World()
        self.commits = 0
        self.runs: list[Run | None] = [None, None]

    @initialize()
    def open(self) -> None:
        path = Path(self.folder, "store.atop")
        self.programs = [Program(path) for _ in range(2)]
        self.go_on_and_commit(0, [("add", name, name) for name in range(3)])

    # What the programs do

    def do(self, who: int, what: str, *args: Any) -> None:
        program, run = self.programs[who], self.runs[who]
        if run is None:
            program.refresh()
            begun = program.store.begin()
            run = self.runs[who] = Run(begun, copy.deepcopy(self.world), self.commits)
        run.notes.append((what, args, getattr(program, what)(*args)))

    @rule(who=WHO, steps=MANY)
    def go_on(self, who: int, steps: Steps) -> None:
        for what, *args in steps:
            self.do(who, what, *args)

    @rule(who=WHO, steps=MANY)
    def go_on_and_commit(self, who: int, steps: Steps) -> None:
        self.go_on(who, steps)
        self.commit(who)

    @rule(who=WHO, mine=MANY, theirs=MANY, more=MANY)
    def go_on_side_by_side(self, who: int, mine: Steps, theirs: Steps, more: Steps) -> None:
        self.go_on(who, mine)
        self.go_on_and_commit(1 - who, theirs)
        self.go_on_and_commit(who, more)

    @rule(who=WHO, name=NAMES, key=KEYS, what=READ_AND_CHANGED)
    def read_what_others_change(self, who: int, name: int, key: int, what: tuple[str, str]) -> None:
        read, change = what
        mine = [("set_key", (name + 1) % 3, key)]
        self.go_on_side_by_side(who, [(read, name)], [(change, name, key)], mine)

    @rule(who=WHO)
    def look_between(self, who: int) -> None:
        """Between transactions a program sees the newest state, and each id is one object."""
        if self.runs[who] is None:
            program = self.programs[who]
            program.refresh()
            for name, item in program.known.items():
                assert program.store.getItemByID(item.id) is item
                entry = self.world.entries[name]
                assert (item.key, item.tags) == (entry["key"], entry["tags"])

    @rule(who=WHO)
    def savepoint_rolled_back(self, who: int) -> None:
        """It changes nothing, but has read."""
        run, program = self.runs[who], self.programs[who]
        if run is None:
            return
        inner = program.store.begin()
        known, lists, deleted = dict(program.known), dict(program.lists), program.deleted
        notes = [("size", (), program.size()), ("tags", (1,), program.tags(1))]
        if program.tag(1, 1):
            program.delete(1)
        inner.abort()
        program.known, program.lists, program.deleted = known, lists, deleted
        run.notes += notes

    # How transactions end

    @rule(who=WHO)
    def commit(self, who: int) -> None:
        run, self.runs[who] = self.runs[who], None
        if run is None:
            return
        engine = self.programs[who].store.engine
        before = engine.serial
        try:
            run.transaction.commit()
        except WriteConflict:
            assert self.commits > run.commits, "nobody else has committed anything"
            return
        writing = engine.serial > before
        world = self.world if writing else run.begin
        for what, args, seen in run.notes:
            assert getattr(world, what)(*args) == seen, f"{what}{args} saw {seen}"
        self.commits += writing

    @rule(who=WHO)
    def abort(self, who: int) -> None:
        run, self.runs[who] = self.runs[who], None
        if run is not None:
            run.transaction.abort()

    def teardown(self) -> None:
        if not hasattr(self, "programs"):
            return
        try:
            for who in (0, 1):
                self.abort(who)
            for program in self.programs:
                found = {item.name: (item.key, item.tags) for item in program.store.items(Entry)}
                assert found == {
                    name: (entry["key"], entry["tags"])
                    for name, entry in self.world.entries.items()
                }
                check_store(program.store)
        finally:
            for program in self.programs:
                program.store.close()
            shutil.rmtree(self.folder)


TestSerializability = Machine.TestCase
TestSerializability.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)


def test_a_reference_to_what_the_same_transaction_has_deleted() -> None:
    machine = Machine()
    machine.open()
    machine.go_on(0, [("refer", 2, 0)])
    machine.go_on_and_commit(0, [("delete", 0), ("follow", 2)])
    machine.go_on_and_commit(1, [("follow", 2)])
    machine.teardown()
