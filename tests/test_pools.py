"""Pools: what is in them, their indexes, and what an index may be of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from atop import Index, Item, Pool, Store
from atop.errors import (
    DuplicateKey,
    IndexKeyError,
    IndexMismatch,
    NoSuchIndex,
    NoSuchItem,
    NotFound,
    NoTransaction,
    ValueRefused,
)
from tests.conftest import elsewhere


class Person(Item):
    """Sorted in many ways."""

    def age(self) -> int:
        return 2000 - int(self.born)

    @property
    def initial(self) -> str:
        return str(self.name[0])


@pytest.fixture
def people(store: Store) -> Pool:
    with store.transaction():
        pool = store.pool("people", "name", "born", Index("email", unique=True))
        for name, born in (("Bob", 1970), ("Ann", 1980), ("Cid", None)):
            pool.addItem(Person(name=name, born=born, email=name.lower()))
    return pool


def names(query: Any) -> str:
    return " ".join(item.name for item in query)


def test_a_pool_is_found_by_name_and_sorted_by_its_first_index(people: Pool) -> None:
    store = people.store
    assert store is not None
    assert store.pool("people") is people
    assert names(people) == "Ann Bob Cid"
    assert len(people) == 3
    assert [index.name for index in people.indexes] == ["name", "born", "email"]
    assert elsewhere(lambda: names(store.pool("people"))) == "Ann Bob Cid"
    assert store.pools() == [people]
    assert bool(people)


def test_a_missing_index_is_made_and_a_different_one_is_refused(people: Pool) -> None:
    store = people.store
    assert store is not None
    assert store.pool("people", "initial", "name") is people
    assert list(people.queryIndex("initial").keys()) == ["A", "B", "C"]
    for other in (Index("name", unique=True), Index("name", "born"), Index("name", multiple=True)):
        with pytest.raises(IndexMismatch, match="name"):
            store.pool("people", other)
    with store.transaction(), pytest.raises(IndexMismatch, match="name"):
        people.addIndex("name")
    assert len(people.indexes) == 4


def test_adding_puts_into_the_store_once(people: Pool) -> None:
    store = people.store
    assert store is not None
    new = Person(name="Eve", born=1, email="eve")
    with store.transaction():
        people.addItem(new)
        people.addItem(new)
        assert new in people
        assert (len(people), len(store)) == (4, 5)
    assert new.store is store
    with store.transaction():
        people.addItem(new)
    assert names(people.queryIndex("born")) == "Cid Eve Bob Ann"


def test_removing_leaves_the_item_in_the_store(people: Pool) -> None:
    store = people.store
    assert store is not None
    bob = people.getIndexItem("name", "Bob")
    with store.transaction():
        people.removeItem(bob)
        assert bob not in people
        with pytest.raises(NoSuchItem):
            people.removeItem(bob)
    assert names(people) == "Ann Cid"
    assert store.getItemByID(bob.id) is bob
    with store.transaction():
        bob.name = "Zed"
        people.addItem(bob)
    assert names(people) == "Ann Cid Zed"


def test_pools_are_changed_in_a_transaction_only(people: Pool) -> None:
    bob = people.queryIndex("name")[0]
    changes: list[Callable[[], None]] = [
        lambda: people.addItem(Person()), lambda: people.removeItem(bob),
        lambda: people.addIndex("x"), lambda: people.dropIndex("born"),
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(NoTransaction, match=r"store\.transaction"):
            change()
    assert names(people) == "Ann Bob Cid"


def test_an_item_in_many_pools_moves_in_all_of_them(people: Pool) -> None:
    store = people.store
    assert store is not None
    bob = people.getIndexItem("name", "Bob")
    with store.transaction():
        pools = [store.pool(f"pool {n}", "name", Index("tags", multiple=True)) for n in range(20)]
        for pool in pools:
            pool.addItem(bob)
    with store.transaction():
        bob.name = "Rob"
        bob.tags = ["x", "y", "x"]
    for pool in pools:
        assert list(pool.queryIndex("name").keys()) == ["Rob"]
        assert list(pool.queryIndex("tags").keys()) == ["x", "y"]
    with store.transaction():
        store.delete(bob)
        assert all(len(pool) == 0 for pool in pools)
    assert names(people) == "Ann Cid"


def test_deleting_a_pool_leaves_its_items(people: Pool) -> None:
    store = people.store
    assert store is not None
    bob = people.getIndexItem("name", "Bob")
    with store.transaction():
        people.addItem(people)
        store.delete(people)
    assert (len(store), store.pools()) == (3, [])
    assert bob.name == "Bob"
    with store.transaction():
        again = store.pool("people", "name")
        again.addItem(bob)
        bob.name = "Rob"
    assert names(again) == "Rob"


def test_the_items_of_a_deleted_pool_can_be_changed_and_deleted(people: Pool) -> None:
    store = people.store
    assert store is not None
    bob, ann = people.getIndexItem("name", "Bob"), people.getIndexItem("name", "Ann")
    with store.transaction():
        bob.name = "Rob"
        store.delete(people)
        bob.name = "Bert"
        store.delete(ann)
    assert len(store) == 2


def test_a_unique_index(people: Pool) -> None:
    store = people.store
    assert store is not None
    bob, ann = people.getIndexItem("name", "Bob"), people.getIndexItem("name", "Ann")
    with store.transaction():
        with pytest.raises(DuplicateKey, match=r"(?s)'bob'.*'email'.*item") as caught:
            people.addItem(Person(name="Dup", email="bob"))
        assert (caught.value.value, caught.value.other) == ("bob", bob.id)
        assert caught.value.index == "email"
    with store.transaction():
        bob.email, ann.email = ann.email, bob.email
    assert people.getIndexItem("email", "ann") is bob
    with store.transaction():
        for _ in range(3):
            people.addItem(Person(name="None", email=None))
    assert len(people.queryIndex("email", key=None)) == 3
    with store.transaction():
        store.delete(ann)
        people.addItem(Person(name="New", email="bob"))
    with pytest.raises(DuplicateKey), store.transaction():
        bob.email = 1
        people.addItem(Person(name="One", email=1.0))
    assert bob.email == "ann"


def test_an_index_over_a_full_pool(people: Pool) -> None:
    store = people.store
    assert store is not None
    with store.transaction():
        for number in range(1500):
            people.addItem(Person(name=f"{number:04}", email=f"{number}", born=number % 7))
    with store.transaction():
        people.addIndex(Index("both", ("born", "name")))
        assert people.queryIndex("both")[1].name == "0000"
        assert len(people.queryIndex("both", prefix=(3,))) == 214
    assert len(people.queryIndex("both")) == 1503
    with pytest.raises(DuplicateKey), store.transaction():
        people.addIndex(Index("one", "born", unique=True))
    with store.transaction():
        with pytest.raises(DuplicateKey):
            people.addIndex(Index("one", "born", unique=True))
        assert len(people.indexes) == 4
    with pytest.raises(NoSuchIndex):
        people.queryIndex("one")


def test_dropping_indexes(people: Pool) -> None:
    store = people.store
    assert store is not None
    with store.transaction():
        people.dropIndex("name")
        people.dropIndex("email")
        with pytest.raises(NoSuchIndex, match="nothing"):
            people.dropIndex("nothing")
    assert names(people) == "Cid Bob Ann"
    with store.transaction():
        people.dropIndex("born")
    assert names(people) == "Bob Ann Cid"
    with store.transaction():
        people.addIndex(Index("name", "email"))
    assert list(people.queryIndex("name").keys()) == ["ann", "bob", "cid"]


def test_a_pool_without_indexes_or_with_multiple_ones_alone(store: Store) -> None:
    with store.transaction():
        plain, tagged = store.pool("plain"), store.pool("tagged", Index("tags", multiple=True))
        for item in (Person(tags=["b", "a"]), Person(tags=[]), Person()):
            plain.addItem(item)
            tagged.addItem(item)
    assert [item.id for item in plain] == [3, 4, 5]
    assert (len(tagged), len(list(tagged))) == (3, 3)
    assert list(tagged.queryIndex("tags").keys()) == ["a", "b"]


def test_a_nameless_pool_can_be_held_by_an_item(store: Store) -> None:
    with store.transaction():
        holder = store.add(Item(parts=Pool("n")))
        holder.parts.addItem(Person(n=1)) if holder.parts.store else None
        len(store)
        holder.parts.addItem(Person(n=2))
    assert store.pools() == []
    assert len(elsewhere(lambda: list(store.getItemByID(holder.id).parts))) >= 1


@pytest.mark.parametrize(("index", "keys"), [
    (Index("n"), [None, 2, 5]),
    (Index("x", "n"), [None, 2, 5]),
    (Index("x", "address.city"), [None, None, "Rome"]),
    (Index("x", "address.lines.first"), [None, None, "Via"]),
    (Index("x", "double"), [None, 4, 10]),
    (Index("x", ("n", "address.city")), [(None, None), (2, "Rome"), (5, None)]),
    (Index("tags", multiple=True), ["a", "b", "b"]),
    (Index("nowhere"), [None, None, None]),
    (Index("id"), [2, 3, 4]),
    (Index("x", "friend.id"), [None, None, 3]),
])  # fmt: skip
def test_what_an_index_finds(store: Store, index: Index, keys: list[Any]) -> None:
    with store.transaction():
        pool = store.pool("pool", index)
        one = Sorted(n=2, tags=["a", "b"], address={"city": "Rome", "lines": {"first": "Via"}})
        store.add(one)
        pool.addItem(Sorted(tags=[]))
        pool.addItem(one)
        pool.addItem(Sorted(n=5, tags={"b"}, address={}))
        pool.queryIndex(index.name)[-1]
        if index.key == "friend.id":
            pool.getIndexItem("x", None).friend = one
            keys = [None, None, one.id]
        if index.key == "id":
            keys = sorted(item.id for item in pool)
    assert list(pool.queryIndex(index.name).keys()) == keys


class Sorted(Item):
    """Has a method to be sorted by."""

    def double(self) -> Any:
        return 2 * self.n if hasattr(self, "n") else None


def test_mixed_types_have_one_order(store: Store) -> None:
    zone = timezone(timedelta(hours=2))
    values: list[Any] = [
        None, False, True, -10**40, -1.5, 0, 2, 2.5, Decimal("2.6"), 10**40, float("inf"), "", "a",
        "ab", "b", "\ud800", "é", b"", b"a", date(2020, 1, 1), datetime(2020, 1, 1),
        datetime(2020, 1, 1, tzinfo=zone), timedelta(1), UUID(int=1), (), (1,), (1, "a"), (2, None),
    ]  # fmt: skip
    with store.transaction():
        pool = store.pool("mixed", "v")
        for value in reversed(values):
            pool.addItem(Item(v=value))
    keys = list(pool.queryIndex("v").keys())
    assert keys[0] is None
    assert len(keys) == len(values)
    for value in values:
        assert pool.getIndexItem("v", value).v == value
    order = {repr(item.v): at for at, item in enumerate(pool.queryIndex("v"))}
    numbers = [order[repr(value)] for value in values[3:11]]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("bad", [
    [1], {"a": 1}, {1}, 1j, (1, [2]), range(3),
], ids=repr)  # fmt: skip
def test_a_key_without_an_order_is_refused_by_name(people: Pool, bad: Any) -> None:
    store = people.store
    assert store is not None
    bob = people.getIndexItem("name", "Bob")
    with store.transaction():
        new = Person(name=bad)
        with pytest.raises(IndexKeyError, match=r"Person in no store|Person \d+.*'name'") as caught:
            people.addItem(new)
        assert (caught.value.index, caught.value.item) == ("name", new)
        assert new.store is None
    with pytest.raises(IndexKeyError, match=f"Person {bob.id}"), store.transaction():
        bob.name = bad
    assert names(people) == "Ann Bob Cid"
    with pytest.raises(IndexKeyError, match="name"):
        people.queryIndex("name", bad)


@pytest.mark.parametrize("make", [
    lambda: Index("n", key=lambda item: 1),  # type: ignore[arg-type]
    lambda: Index("n", key=["a"]),  # type: ignore[arg-type]
    lambda: Index("n", key=()),
    lambda: Index("n", key=("a", 1)),  # type: ignore[arg-type]
    lambda: Index(""),
    lambda: Index("a..b"),
    lambda: Index(5),  # type: ignore[arg-type]
])  # fmt: skip
def test_an_index_finds_its_key_by_name_alone(make: Callable[[], Index]) -> None:
    with pytest.raises(IndexKeyError, match="name"):
        make()


def test_an_index_does_not_go_through_other_items(store: Store) -> None:
    with store.transaction():
        pool = store.pool("pool", Index("x", "friend.name"))
        with pytest.raises(IndexKeyError, match=r"goes through"):
            pool.addItem(Person(friend=Person(name="a")))
    assert len(pool) == 0


def test_what_cannot_be_in_a_pool_is_refused(people: Pool) -> None:
    store = people.store
    assert store is not None
    with store.transaction():
        for bad in (None, 5, "Bob", Person):
            with pytest.raises(ValueRefused):
                people.addItem(bad)  # type: ignore[arg-type]
    assert 5 not in people
    assert Person() not in people
    with pytest.raises(NotFound, match="Zed"):
        people.getIndexItem("name", "Zed")
    with pytest.raises(NoSuchIndex, match=r"(?s)'nothing'.*'name'"):
        people.queryIndex("nothing")


def test_a_pool_keeps_its_name(store: Store) -> None:
    with store.transaction():
        pool = store.pool("one", "n")
    with pytest.raises((ValueRefused, AttributeError)), store.transaction():
        setattr(pool, "name", "two")  # noqa: B010
    with store.transaction():
        named = store.add(Pool("n", name="three"))
    assert store.pool("three") is named
    with pytest.raises(ValueRefused, match="one"), store.transaction():
        store.add(Pool("n", name="one"))
        len(store)
    with store.transaction():
        store.delete(named)
    assert store.pools() == [pool]
    assert store.pool("one") is pool


@pytest.mark.parametrize("name", ["", "a/b", "\0", "ünï", "\ud800", "x" * 3000])
def test_a_pool_may_have_any_string_as_name(store: Store, name: str) -> None:
    with store.transaction():
        pool = store.pool(name, "n")
        pool.addItem(Item(n=1))
    assert elsewhere(lambda: store.pool(name).name) == name
    assert store.pools() == [pool]
