"""An attribute that is an item is a reference, and loads when it is first touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from atop import Item, Store
from atop.errors import NoSuchItem, NotFound, OtherStore, WrongThread
from tests.conftest import elsewhere, stored


class Node(Item):
    """Refers to others."""

    loads: list[int] = []  # noqa: RUF012

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.loads.append(state["n"])
        self.__dict__.update(state)


def add(store: Store, make: Callable[[], Item]) -> Any:
    """An item that another thread has stored, loaded anew."""

    def run() -> int:
        with store.transaction():
            return int(store.add(make()).id)

    return store.getItemByID(elsewhere(run))


def test_what_a_stored_item_reaches_is_stored_too(store: Store) -> None:
    root = add(store, lambda: Node(n=0, next=Node(n=1, next=Node(n=2)), l=[Node(n=3)],
                                   d={"k": (Node(n=4), [Node(n=5)])}))
    assert len(store) == 6
    assert (root.next.next.n, root.l[0].n) == (2, 3)
    assert (root.d["k"][0].n, root.d["k"][1][0].n) == (4, 5)
    assert all(item.store is store for item in store.items())
    with store.transaction():
        root.l.append(Node(n=6))
    assert len(store) == 7
    assert root.l[1].id is not None


def test_items_as_dict_keys_and_in_sets(store: Store) -> None:
    root = add(store, lambda: Node(n=0, by={Node(n=1): "one"}, them={Node(n=2)},
                                   frozen=frozenset([Node(n=3)])))
    assert [(key.n, value) for key, value in root.by.items()] == [(1, "one")]
    assert [each.n for each in root.them | root.frozen if each.n > 2] == [3]
    one = next(iter(root.by))
    assert root.by[one] == "one"
    with store.transaction():
        root.them.add(one)
    assert elsewhere(lambda: {each.n for each in store.getItemByID(root.id).them}) == {1, 2}


def test_cycles_and_self(store: Store) -> None:
    def make() -> Node:
        one, two = Node(n=1), Node(n=2)
        one.me, one.other, two.other, two.all = one, two, one, [one, two]
        return one

    one = add(store, make)
    assert len(store) == 2
    assert one.me is one
    assert one.other.other is one
    assert one.other.all[1] is one.other


def test_a_chain_of_10000_items(store: Store) -> None:
    def chain() -> Node:
        first = Node(n=0)
        for n in range(1, 10_000):
            first = Node(n=n, next=first)
        return first

    node = add(store, chain)
    assert len(store) == 10_000
    count = 1
    while hasattr(node, "next"):
        node, count = node.next, count + 1
    assert (node.n, count) == (0, 10_000)


def test_in_one_thread_an_id_is_one_object(store: Store) -> None:
    root = add(store, lambda: Node(n=0, one=Node(n=1)))
    one = root.one
    assert store.getItemByID(one.id) is one
    assert store.getItemByID(root.id) is root
    assert {id(item) for item in store.items()} == {id(root), id(one)}
    with store.transaction():
        pool = store.pool("nodes", "n")
        pool.addItem(one)
        assert pool.getIndexItem("n", 1) is one
        assert store.getItemByID(one.id) is one
    assert elsewhere(lambda: store.getItemByID(one.id)) is not one


def test_a_reference_loads_when_it_is_touched(store: Store) -> None:
    ident = add(store, lambda: Node(n=0, one=Node(n=1), two=Node(n=2))).id

    def touch() -> None:
        root = store.getItemByID(ident)
        one, two = root.one, root.two
        assert isinstance(one, Node)
        assert (one.id, one.store) == (2, store)
        repr(two)
        assert Node.loads == [0], "asking for id, store, class and repr loads nothing"
        assert two.n == 2
        assert Node.loads == [0, 2]

    Node.loads.clear()
    elsewhere(touch)


@pytest.mark.parametrize("change", [
    lambda pool, item: pool.addItem(item),
    lambda pool, item: item.store.pool("old").removeItem(item),
    lambda pool, item: item.store.pool("old").dropIndex("name"),
], ids=["add", "remove", "drop"])  # fmt: skip
def test_an_item_that_was_never_touched_keeps_its_attributes(store: Store, change: Any) -> None:
    with store.transaction():
        holder = store.add(Item(friend=Item(name="Bob")))
        store.pool("old", "id", "name").addItem(holder.friend)
        store.pool("new")
    ident = holder.id

    def work() -> None:
        with store.transaction():
            change(store.pool("new"), store.getItemByID(ident).friend)

    elsewhere(work)
    assert stored(holder.friend) == {"name": "Bob"}


def test_a_reference_to_a_deleted_item_names_the_id(store: Store) -> None:
    root = add(store, lambda: Node(n=0, one=Node(n=1)))
    number = root.one.id
    with store.transaction():
        store.delete(root.one)

    def touch() -> None:
        with pytest.raises(NotFound, match=rf"\b{number}\b"):
            store.getItemByID(root.id).one.n
        with pytest.raises(KeyError):
            store.getItemByID(number)

    elsewhere(touch)
    with store.transaction():
        root.n = 5
    assert len(store) == 1, "a deleted item does not come back with who refers to it"
    elsewhere(touch)
    with pytest.raises(NoSuchItem), store.transaction():
        store.delete(root.one)


def test_an_id_is_one_object_when_a_deletion_is_rolled_back(store: Store) -> None:
    ids: list[int] = []

    def fill() -> None:
        with store.transaction():
            target = store.add(Item(n=1))
            ids.extend((target.id, store.add(Item(next=target)).id))

    elsewhere(fill)
    target = store.getItemByID(ids[0])
    transaction = store.begin()
    with store.transaction():
        store.delete(target)
    holder = store.getItemByID(ids[1])
    assert holder.next is target
    transaction.abort()
    assert holder.next is target is store.getItemByID(ids[0])
    assert target.n == 1


def test_a_deleted_item_is_refused(store: Store) -> None:
    item = add(store, lambda: Node(n=1))
    with store.transaction():
        pool = store.pool("nodes", "n")
        store.delete(item)
        for use in (lambda: store.add(item), lambda: store.delete(item),
                    lambda: pool.addItem(item), lambda: setattr(item, "n", 2)):
            with pytest.raises(NoSuchItem, match="1"):
                use()
    assert len(store) == 1


def test_an_item_of_another_store_is_refused(store: Store) -> None:
    with Store() as other:
        with other.transaction():
            foreign = other.add(Node(n=1))
        mine = add(store, lambda: Node(n=0, l=[]))
        pool = store.pool("nodes", "n")
        with store.transaction():
            for use in (store.add, store.delete, pool.addItem, pool.removeItem):
                with pytest.raises((OtherStore, NoSuchItem)):
                    use(foreign)
        assert foreign not in pool
        with pytest.raises(OtherStore), store.transaction():
            mine.friend = foreign
        with pytest.raises(OtherStore), store.transaction():
            mine.l.append(foreign)
        assert vars(mine) == {"n": 0, "l": []}
        assert stored(mine) == {"n": 0, "l": []}
        assert len(store) == 2


def test_an_item_of_another_thread_is_no_reference(store: Store) -> None:
    theirs = add(store, lambda: Node(n=1))

    def refer() -> None:
        with store.transaction():
            store.add(Node(n=2, friend=theirs))

    with pytest.raises(WrongThread):
        elsewhere(refer)
    assert len(store) == 1
