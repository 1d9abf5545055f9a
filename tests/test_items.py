"""Ordinary classes are items, with all that classes do."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property, total_ordering
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from atop import Item, Store
from atop.classes import Broken
from atop.errors import AtopError, BrokenItem, NewerClass, NoTransaction, NotStorable, ValueRefused
from atop.item import registry
from tests.conftest import elsewhere, run_child, stored

T = TypeVar("T")


class Person(Item):
    """With an ``__init__`` of its own."""

    greeting = "Hello"
    shared: ClassVar[list[int]] = []

    def __init__(self, first: str, last: str = "", **more: Any) -> None:
        super().__init__(**more)
        self.first = first
        self.last = last
        self.calls = 0

    @property
    def full(self) -> str:
        return f"{self.first} {self.last}"

    @full.setter
    def full(self, value: str) -> None:
        self.first, self.last = value.split()

    @cached_property
    def letters(self) -> list[str]:
        return sorted(self.first)

    def greet(self) -> str:
        return f"{self.greeting} {self.full}"


class Employee(Person):
    """Inherits."""

    greeting = "Dear"


@dataclasses.dataclass
class Contact(Item):
    """A dataclass, so with ``__eq__`` and without ``__hash__``."""

    name: str
    city: str = "Rome"
    tags: list[str] = dataclasses.field(default_factory=list)
    friend: Any = None


@total_ordering
class Version(Item):
    """Compared and hashed by value."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self.n == other.n

    def __lt__(self, other: Version) -> bool:
        return bool(self.n < other.n)

    def __hash__(self) -> int:
        return hash(self.n)


class Empty(Item):
    """False, and has no length."""

    def __len__(self) -> int:
        return 0


class Shape(Item, ABC):
    """Abstract."""

    @abstractmethod
    def area(self) -> int:
        """How large it is."""


class Square(Shape):
    """Not abstract."""

    def area(self) -> int:
        return int(self.side**2)


class Box(Item, Generic[T]):
    """Generic."""


class Fallback(Item):
    """Has a ``__getattr__`` of its own."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("x_"):
            return name
        return super().__getattr__(name)


class Careful(Item):
    """Has a ``__setattr__`` of its own."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value.strip() if isinstance(value, str) else value)


class Selective(Item):
    """Decides what is stored."""

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("temporary", None)
        state["count"] = len(self.tags)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self.restored = [1]


class Note(Item):
    """Comes in two versions."""

    classVersion = 2

    def upgrade(self, version: int) -> None:
        if version < 2:
            self.words = self.text.split()
            del self.text


def add(store: Store, make: Callable[[], Item]) -> Any:
    """An item that another thread has stored, loaded anew."""

    def run() -> int:
        with store.transaction():
            return int(store.add(make()).id)

    return store.getItemByID(elsewhere(run))


def test_a_class_with_init_property_methods_and_class_attributes(store: Store) -> None:
    person = add(store, lambda: Employee("Bob", "Brown", age=3))
    assert (person.full, person.greet(), person.age) == ("Bob Brown", "Dear Bob Brown", 3)
    with store.transaction():
        person.full = "Ann Archer"
        person.greeting = "Hi"
    assert stored(person) == {
        "first": "Ann", "last": "Archer", "calls": 0, "age": 3, "greeting": "Hi"
    }  # fmt: skip
    with store.transaction():
        del person.greeting
    assert person.greeting == "Dear"
    assert isinstance(person, Person)
    assert type(person) is Employee


def test_init_is_not_called_on_loading(store: Store) -> None:
    person = add(store, lambda: Person("Bob"))
    with store.transaction():
        person.calls = 5
    assert stored(person)["calls"] == 5


def test_a_dataclass(store: Store) -> None:
    contact = add(store, lambda: Contact("Bob", tags=["a"]))
    assert contact == Contact("Bob", tags=["a"])
    assert contact != Contact("Bob")
    with store.transaction():
        contact.tags.append("b")
    assert stored(contact)["tags"] == ["a", "b"]
    as_dict = dataclasses.asdict(contact)
    as_dict["tags"].append("c")
    assert json.loads(json.dumps(as_dict))["tags"] == ["a", "b", "c"]
    assert contact.tags == ["a", "b"]
    assert Contact("x").tags is not Contact("y").tags
    assert "name='Bob'" in repr(contact)
    other = dataclasses.replace(contact, name="Ann")
    assert (other.id, other.name) == (None, "Ann")


def test_dataclasses_that_refer_to_each_other_can_be_rolled_back(store: Store) -> None:
    one, two = Contact("1"), Contact("2")
    one.friend, two.friend = two, one
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.add(one)
        one.name = "x"
        len(store)
        1 / 0
    assert one.friend is two
    assert two.friend is one
    assert one.name == "1"


def test_items_compare_and_hash_as_their_class_says(store: Store) -> None:
    two = add(store, lambda: Version(2))
    assert two == Version(2)
    assert hash(two) == hash(Version(2))
    assert max([Version(1), two]) is two
    plain = add(store, Item)
    assert plain == plain
    assert plain != add(store, Item)
    assert len({plain, plain}) == 1


def test_an_item_that_is_false_is_one_object(store: Store) -> None:
    empty = add(store, Empty)
    assert not empty
    assert [item is empty for item in store.items()] == [True]
    with store.transaction():
        pool = store.pool("empties", "n")
        pool.addItem(empty)
        assert pool.queryIndex("n").first() is empty
    assert empty in pool


def test_abstract_and_generic_classes(store: Store) -> None:
    square = add(store, lambda: Square(side=3))
    assert square.area() == 9
    with pytest.raises(TypeError, match="abstract"):
        Shape()  # type: ignore[abstract]
    box = add(store, lambda: Box[int](value=[1], inner=Square(side=2)))
    assert box.value == [1]
    assert box.inner.area() == 4


def test_own_getattr_and_setattr(store: Store) -> None:
    item = add(store, lambda: Fallback(tags=["a"]))
    assert (item.x_any, item.tags) == ("x_any", ["a"])
    with pytest.raises(AttributeError, match="nothing"):
        item.nothing
    with store.transaction():
        item.tags.append("b")
    assert stored(item)["tags"] == ["a", "b"]
    careful = add(store, Careful)
    with pytest.raises(NoTransaction):
        careful.name = " x "
    with store.transaction():
        careful.name = " x "
    assert stored(careful) == {"name": "x"}


def test_own_getstate_and_setstate(store: Store) -> None:
    item = add(store, lambda: Selective(tags=["a"], temporary=object()))
    assert vars(item) == {"tags": ["a"], "count": 1, "restored": [1]}
    with pytest.raises(NoTransaction):
        item.tags.append("x")
    with store.transaction():
        item.tags.append("b")
        item.temporary = lambda: None
        item.restored.append(2)
    assert stored(item) == {"tags": ["a", "b"], "count": 2, "restored": [1]}
    with pytest.raises(ZeroDivisionError), store.transaction():
        item.tags.append("c")
        1 / 0
    assert item.tags == ["a", "b"]


def test_a_cached_property_is_computed_once_and_is_no_change(store: Store) -> None:
    person = add(store, lambda: Person("bca", tags=["x"]))
    assert person.tags == ["x"]
    assert person.letters == ["a", "b", "c"]
    assert person.letters is person.letters
    with store.transaction():
        person.last = "B"
    assert stored(person)["last"] == "B"


def test_copies_are_in_no_store_and_share_nothing(store: Store) -> None:
    contact = add(store, lambda: Contact("Bob", tags=["a"], friend=Contact("Ann")))
    for made in (copy.copy(contact), copy.deepcopy(contact), pickle.loads(pickle.dumps(contact))):
        assert type(made) is Contact
        assert (made.id, made.store) == (None, None)
        assert (made.name, made.tags, made.friend.name) == ("Bob", ["a"], "Ann")
        made.tags.append("x")
        made.name = "Copy"
    assert vars(contact)["tags"] == ["a"]
    assert copy.copy(contact).friend is contact.friend
    with store.transaction():
        made = store.add(copy.copy(contact))
        made.tags.append("y")
    assert stored(contact)["tags"] == ["a"]
    assert stored(made)["tags"] == ["a", "y"]


def test_vars_dir_and_repr_show_a_ghost_as_it_is(store: Store) -> None:
    holder = add(store, lambda: Item(friend=Person("Bob", tags=["a"])))
    ghost = holder.friend
    assert repr(ghost) == f"<Person {ghost.id}>"
    assert ghost.__class__ is Person
    assert {"first", "tags", "greet", "full"} <= set(dir(ghost))
    assert set(vars(holder)) == {"friend"}
    assert vars(add(store, lambda: Item(f=Person("Bob", tags=["a"]))).f)["tags"] == ["a"]
    assert isinstance(ghost, Person)
    assert repr(Person("x")) == "<Person in no store>"


def test_slots_are_refused() -> None:
    with pytest.raises(ValueRefused, match="__slots__"):
        type("Slotted", (Item,), {"__slots__": ("x",)})
    with pytest.raises(ValueRefused, match="__slots__"):
        dataclasses.make_dataclass("Slotted", ["x"], bases=(Item,), slots=True)


@pytest.mark.parametrize("name", ["id", "store", "_atop"])
def test_names_that_are_atops_own_are_refused(name: str) -> None:
    with pytest.raises(ValueRefused, match=name):
        Item(**{name: 1})
    with pytest.raises(AtopError, match=name):
        type("Own", (Item,), {name: 1})


@pytest.mark.parametrize("name", [
    "self", "cls", "key", "session", "bond", "hidden", "mark", "upgrade", "classVersion",
    "_atop_added", "_atop_removing", "_class", "_problem", "name", "attributes", "transaction",
    "__custom__", "not an identifier", "ünïcode", "_writer", "_definitions",
])  # fmt: skip
def test_any_other_attribute_will_do(store: Store, name: str) -> None:
    item = add(store, lambda: Item(**{name: ["v"]}))
    assert getattr(item, name) == ["v"]
    with store.transaction():
        getattr(item, name).append("w")
    assert stored(item) == {name: ["v", "w"]}
    with store.transaction():
        store.delete(item)
    assert len(store) == 0


def test_an_item_of_an_older_class_version_is_upgraded(
    open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as old_program:
        old_program.setattr(Note, "classVersion", 1)
        ident = add(open_store(), lambda: Note(text="a b", n=1)).id

    note = open_store().getItemByID(ident)
    assert vars(note) == {"words": ["a", "b"], "n": 1}
    with pytest.raises(NoTransaction):
        note.words.append("x")
    with pytest.raises(ZeroDivisionError), note.store.transaction():
        note.words.append("x")
        1 / 0
    assert vars(note) == {"words": ["a", "b"], "n": 1}, "rolled back, it is upgraded again"
    with note.store.transaction():
        note.words.append("c")

    assert vars(open_store().getItemByID(ident)) == {"words": ["a", "b", "c"], "n": 1}
    with monkeypatch.context() as old_program:
        old_program.setattr(Note, "classVersion", 1)
        with pytest.raises(NewerClass, match="version 2"):
            open_store().getItemByID(ident).n


def test_an_item_whose_class_is_gone_keeps_all_its_bytes(
    open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    class_ = type("Lost", (Item,), {"__module__": __name__, "__qualname__": "Lost"})
    with store.transaction():
        item = store.add(class_(tags=["a"], friend=Person("Bob")))
        number = item.id
    record = store.engine.get("items", number.to_bytes(8, "big"))[1]
    del registry[__name__, "Lost"]
    store.close()

    store = open_store()
    broken = store.getItemByID(number)
    assert isinstance(broken, Broken)
    changes: list[Callable[[], None]] = [
        lambda: setattr(broken, "x", 1), lambda: delattr(broken, "tags")
    ]  # fmt: skip
    for change in changes:
        with store.transaction(), pytest.raises(BrokenItem, match="Lost"):
            change()
    with store.transaction(), pytest.raises(BrokenItem, match="Lost"):
        broken.tags.append("b")
    with pytest.raises(BrokenItem, match="Lost"), store.transaction():
        list.append(broken.tags, "b")
    assert broken.tags == ["a"]
    with store.transaction():
        pool = store.pool("things", "nothing")
        pool.addItem(broken)
        store.add(Item(friend=broken))
    assert list(pool) == [broken]
    with store.transaction():
        pool.removeItem(broken)
    assert store.engine.get("items", number.to_bytes(8, "big"))[1] == record
    store.close()

    monkeypatch.setitem(registry, (__name__, "Lost"), class_)
    store = open_store()
    again = store.getItemByID(number)
    assert (type(again), again.tags, again.friend.first) == (class_, ["a"], "Bob")


def test_an_item_whose_class_comes_back_is_whole_when_it_is_loaded_again(
    open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    class_ = type("Late", (Item,), {"__module__": __name__, "__qualname__": "Late"})
    with store.transaction():
        holder_id = store.add(Item(friend=class_(n=1))).id
    del registry[__name__, "Late"]
    store.close()

    store = open_store()
    friend = store.getItemByID(holder_id).friend
    monkeypatch.setitem(registry, (__name__, "Late"), class_)
    with store.transaction():
        friend.n = 2
    assert type(friend) is class_
    assert stored(friend) == {"n": 2}
    assert not store.verify().problems


def test_what_refers_to_a_broken_item_has_it_whole_when_its_class_is_back(
    open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    class_ = type("Away", (Item,), {"__module__": __name__, "__qualname__": "Away"})
    store = open_store()
    with store.transaction():
        away_id = store.add(class_(n=1)).id
    del registry[__name__, "Away"]
    store.close()
    store = open_store()
    with store.transaction():
        holder_id = store.add(Item(friend=store.getItemByID(away_id))).id
    store.close()

    monkeypatch.setitem(registry, (__name__, "Away"), class_)
    store = open_store()
    friend = store.getItemByID(holder_id).friend
    assert (friend.n, type(friend)) == (1, class_)
    assert not store.verify().problems


def test_a_broken_item_can_be_deleted_and_referred_to(
    open_store: Callable[..., Store]
) -> None:
    store = open_store()
    class_ = type("Gone", (Item,), {"__module__": "no_such_module", "__qualname__": "Gone"})
    with store.transaction():
        holder = store.add(Item(friend=class_(n=1)))
        holder_id = holder.id
    del registry["no_such_module", "Gone"]
    store.close()
    store = open_store()
    friend = store.getItemByID(holder_id).friend
    assert "no_such_module" in repr(vars(friend))
    with store.transaction():
        store.delete(friend)
    assert len(store) == 1


def test_a_class_in_main_belongs_to_its_program(tmp_path: Path) -> None:
    program = """
import sys
from atop import Item, Store
class Mine(Item): "Mine"
with Store(sys.argv[1]) as store:
    if len(store) == 0:
        with store.transaction():
            print(type(store.add(Mine(tags=["a"]))).__name__)
    else:
        item = next(store.items())
        with store.transaction():
            item.tags.append("b")
        print(type(item) is Mine, item.tags)
"""
    path = str(tmp_path / "s")
    assert run_child(program, path) == "Mine\n"
    assert run_child(program, path) == "True ['a', 'b']\n"
    with Store(path) as store:
        assert isinstance(next(store.items()), Broken), "this program has another __main__"


def test_an_item_of_a_class_in_a_function_is_refused(store: Store) -> None:
    class Local(Item):
        """Nobody can import this."""

    with pytest.raises(NotStorable, match="Local"), store.transaction():
        store.add(Local())
    assert len(store) == 0


def test_a_deleted_item_keeps_what_it_shows(store: Store) -> None:
    item = add(store, lambda: Item(tags=["a"], n=1))
    with store.transaction():
        store.delete(item)
    assert (item.n, item.tags) == (1, ["a"])
