"""A change made in place is never lost, and a roll-back leaves nothing of it in any object."""

from __future__ import annotations

import heapq
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from atop import Index, Item, Store
from atop.errors import NoTransaction, NotStorable, StaleValue
from tests.conftest import elsewhere, stored


class Thing(Item):
    """Any attributes."""


class Point:
    """A value class, for ``allow``."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x

    __hash__ = object.__hash__


class Stop(Exception):
    """Ends a transaction."""


def _list() -> list[Any]:
    return [3, 1, 2]


def _call(name: str, *args: Any) -> Callable[[Any], Any]:
    def call(value: Any) -> Any:
        return getattr(value, name)(*args)

    call.__name__ = f"{name}{args}"
    return call


def _set(key: Any, value: Any) -> Callable[[Any], Any]:
    return _call("__setitem__", key, value)


def _nested(value: Any) -> None:
    value["a"][0]["b"].append(9)


CHANGES: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    *((_list, change) for change in (
        _call("append", 9), _call("extend", [9]), _call("insert", 0, 9), _call("remove", 1),
        _call("pop"), _call("clear"), _call("sort"), _call("reverse"), _set(0, 9),
        _set(slice(0, 2), []), _call("__delitem__", 0), _call("__iadd__", [9]),
        _call("__imul__", 2), lambda value: list.append(value, 9),
        lambda value: heapq.heappush(value, 0), lambda value: list.__init__(value, [7]),
    )),
    *((lambda: {"a": 1, "b": 2}, change) for change in (
        _set("c", 3), _call("__delitem__", "a"), _call("pop", "a"), _call("popitem"),
        _call("clear"), _call("setdefault", "c", 3), _call("update", {"a": 9}),
        _call("__ior__", {"a": 9}), lambda value: dict.update(value, a=9),
    )),
    *((lambda: {1, 2}, change) for change in (
        _call("add", 3), _call("remove", 1), _call("discard", 1), _call("clear"),
        _call("update", [3]), _call("difference_update", [1]),
        _call("intersection_update", [1]), _call("symmetric_difference_update", [1]),
        _call("__ior__", {3}), _call("__iand__", {1}), _call("__isub__", {1}),
        _call("__ixor__", {1}), lambda value: set.add(value, 3),
    )),
    (lambda: bytearray(b"ab"), _call("append", 1)),
    (lambda: deque([1, 2]), _call("rotate")),
    (lambda: array("i", [1]), _call("append", 2)),
    (lambda: OrderedDict(a=1, b=2), _call("move_to_end", "a")),
    (lambda: defaultdict(list, a=[1]), lambda value: value["new"].append(1)),
    (lambda: Counter("aab"), _call("update", "b")),
    (lambda: SimpleNamespace(x=1), lambda value: setattr(value, "x", 2)),
    (lambda: Point(1), lambda value: setattr(value, "x", 2)),
    (lambda: [Point(1)], lambda value: setattr(value[0], "x", 2)),
    (lambda: ({"deep": [1]},), lambda value: value[0]["deep"].append(2)),
    (lambda: {"a": [{"b": [1]}]}, _nested),
    (lambda: [[[[[]]]]], lambda value: value[0][0][0][0].append(1)),
    (lambda: {"d": deque([1])}, lambda value: value["d"].append(2)),
]  # fmt: skip


def _name(pair: Any) -> str:
    return f"{type(pair[0]()).__name__}-{getattr(pair[1], '__name__', '')}"


@pytest.fixture(params=CHANGES, ids=[f"{at}-{_name(pair)}" for at, pair in enumerate(CHANGES)])
def case(request: pytest.FixtureRequest) -> tuple[Any, Any, Callable[[Any], Any]]:
    """A value, what it is after a change, and the change."""
    make, change = request.param
    changed = make()
    change(changed)
    assert changed != make() or isinstance(changed, OrderedDict)
    return make, changed, change


def allowing(store: Store) -> Store:
    """The store of a program that trusts :class:`Point`."""
    store.allowed.names[Point.__module__, Point.__qualname__] = Point
    return store


def new_item(store: Store, **attributes: Any) -> Thing:
    """An item that was stored and then loaded anew, as if by another program."""
    allowing(store)

    def add() -> int:
        with store.transaction():
            return int(store.add(Thing(**attributes)).id)

    item: Thing = store.getItemByID(elsewhere(add))
    return item


def test_a_change_in_place_is_saved(memory: Store, case: Any) -> None:
    make, changed, change = case
    item = new_item(memory, value=make())
    with memory.transaction():
        change(item.value)
    assert stored(item)["value"] == changed
    assert item.value == changed


def test_a_change_in_place_is_saved_after_queries_and_savepoints(memory: Store, case: Any) -> None:
    make, changed, change = case
    item = new_item(memory, value=make(), other=0)
    with memory.transaction():
        alias = item.value
        item.other = 1
        list(memory.items())
        with pytest.raises(Stop), memory.transaction():
            item.other = 2
            raise Stop
        with memory.transaction():
            item.other = 3
        alias = item.value if alias is not item.value and alias != item.value else alias
        len(memory)
        item.other = 4
        change(item.value)
        list(memory.items())
    assert stored(item) == {"value": changed, "other": 4}


def test_a_change_by_an_alias_from_an_earlier_transaction_is_saved(
    memory: Store, case: Any
) -> None:
    make, changed, change = case
    item = new_item(memory, value=make(), other=0)
    with memory.transaction():
        alias = item.value
        item.other = 1
    with memory.transaction():
        pass
    with memory.transaction():
        change(alias)
    assert stored(item) == {"value": changed, "other": 1}


def test_a_change_to_a_value_that_the_caller_has_set_and_kept_is_saved(
    memory: Store, case: Any
) -> None:
    make, changed, change = case
    item = new_item(memory, value=None)
    mine = make()
    with memory.transaction():
        item.value = mine
        len(memory)
        list(memory.items())
    with memory.transaction():
        change(mine)
    assert stored(item)["value"] == changed, "a plain list that is set is the item's from then on"
    assert item.value == changed


def test_a_change_to_a_new_item_after_it_was_flushed_is_saved(memory: Store, case: Any) -> None:
    make, changed, change = case
    allowing(memory)
    with memory.transaction():
        item = memory.add(Thing(value=make()))
        len(memory)
        list(memory.items())
        change(item.value)
    assert stored(item)["value"] == changed


def test_a_roll_back_restores_a_value_changed_in_place(memory: Store, case: Any) -> None:
    make, _, change = case
    item = new_item(memory, value=make(), other=0)
    alias = item.value
    with pytest.raises(Stop), memory.transaction():
        change(item.value)
        item.other = 1
        raise Stop
    assert item.value == make()
    assert item.other == 0
    assert stored(item) == {"value": make(), "other": 0}
    del alias


def test_a_savepoint_rolled_back_restores_just_its_own_changes(memory: Store, case: Any) -> None:
    make, changed, change = case
    item = new_item(memory, value=make(), kept=[])
    with memory.transaction():
        item.kept.append("outer")
        with pytest.raises(Stop), memory.transaction():
            change(item.value)
            item.kept.append("inner")
            raise Stop
        assert item.value == make()
        assert item.kept == ["outer"]
        change(item.value)
        with pytest.raises(Stop), memory.transaction():
            item.value = None
            raise Stop
        assert item.value == changed, "what the outer transaction has changed is still there"
    assert stored(item) == {"value": changed, "kept": ["outer"]}


def test_a_new_item_rolled_back_is_as_it_was_and_in_no_store(memory: Store, case: Any) -> None:
    make, _, change = case
    allowing(memory)
    item = Thing(value=make(), flag=1)
    with pytest.raises(Stop), memory.transaction():
        memory.add(item)
        change(item.value)
        len(memory)
        item.flag = True
        item.more = "x"
        raise Stop
    assert (item.id, item.store) == (None, None)
    assert vars(item) == {"value": make(), "flag": 1}
    assert item.flag is not True
    assert len(memory) == 0


def test_a_new_item_rolled_back_in_a_savepoint_is_as_it_was(memory: Store, case: Any) -> None:
    make, _, change = case
    allowing(memory)
    outer, inner = Thing(value=make()), Thing(value=make())
    with pytest.raises(Stop), memory.transaction():
        memory.add(outer)
        with pytest.raises(Stop), memory.transaction():
            memory.add(inner)
            change(outer.value)
            change(inner.value)
            raise Stop
        assert inner.id is None
        assert vars(inner) == {"value": make()}
        assert outer.value == make()
        change(outer.value)
        raise Stop
    assert vars(outer) == {"value": make()}
    assert outer.id is None


def test_no_change_in_place_outside_a_transaction_survives(memory: Store, case: Any) -> None:
    """It is refused where it is made, or at the latest when the next transaction begins."""
    make, _, change = case
    item = new_item(memory, value=make())
    with pytest.raises(NoTransaction, match="Thing 1"):
        change(item.value)
        memory.begin()
    assert item.value == make()
    assert stored(item)["value"] == make()
    with memory.transaction():
        item.value = "usable again"
    assert stored(item)["value"] == "usable again"


def test_a_change_by_an_old_alias_outside_a_transaction_does_not_survive(
    memory: Store, case: Any
) -> None:
    make, _, change = case
    item = new_item(memory, value=make())
    alias = item.value
    with memory.transaction():
        pass
    with pytest.raises((NoTransaction, StaleValue)):
        change(alias)
        memory.begin()
    assert item.value == make()


@pytest.mark.parametrize("change", [
    lambda item: setattr(item, "name", "new"),
    lambda item: setattr(item, "another", 1),
    lambda item: delattr(item, "name"),
    lambda item: delattr(item, "tags"),
    lambda item: setattr(item, "tags", []),
    lambda item: item.tags.append("x"),
    lambda item: item.nested["a"]["b"].append("x"),
    lambda item: item.held[0].add("x"),
])  # fmt: skip
def test_a_change_outside_a_transaction_is_refused_at_once(
    store: Store, change: Callable[[Any], None]
) -> None:
    before = {"name": "old", "tags": ["a"], "nested": {"a": {"b": []}}, "held": ({"s"},)}
    item = new_item(store, **before)
    with pytest.raises(NoTransaction, match=r"(?s)Thing 1.*store\.transaction"):
        change(item)
    assert vars(item) == before
    with store.transaction():
        pass
    assert stored(item) == before


def test_setting_and_deleting_attributes_is_saved_and_rolled_back(store: Store) -> None:
    item = new_item(store, name="a", tags=[1])
    with pytest.raises(Stop), store.transaction():
        del item.name
        del item.tags
        item.more = {}
        assert vars(item) == {"more": {}}
        raise Stop
    assert vars(item) == {"name": "a", "tags": [1]}
    with store.transaction():
        del item.tags
        item.more = {}
    assert stored(item) == {"name": "a", "more": {}}
    with pytest.raises(AttributeError, match="tags"):
        item.tags


def test_a_value_moved_between_items_belongs_to_the_new_one(store: Store) -> None:
    one, two = new_item(store, tags=["a"]), new_item(store)
    with store.transaction():
        two.tags = one.tags
        del one.tags
    with pytest.raises(Stop), store.transaction():
        one.n = 1
        raise Stop
    with store.transaction():
        two.tags.append("b")
    assert stored(two)["tags"] == ["a", "b"]
    assert "tags" not in stored(one)


def test_a_value_that_two_items_hold_is_saved_with_both(store: Store) -> None:
    one, two = new_item(store), new_item(store)
    with store.transaction():
        one.tags = two.tags = ["a"]
        two.tags.append("b")
    assert stored(one)["tags"] == stored(two)["tags"] == ["a", "b"]


def test_the_same_list_twice_in_an_item_stays_one_list(store: Store) -> None:
    same = [1]
    item = new_item(store, one=same, both=[same])
    item2 = store.getItemByID(item.id)
    with store.transaction():
        item2.both[0].append(2)
    assert stored(item)["both"] == [[1, 2]]


def test_a_cyclic_value_can_be_stored_and_changed(store: Store) -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    item = new_item(store, loop=loop)
    assert item.loop[1] is item.loop or item.loop[1][1][0] == 1
    with store.transaction():
        item.loop.insert(0, 0)
    assert elsewhere(lambda: list(store.getItemByID(item.id).loop)[:2]) == [0, 1]


def test_a_query_sees_a_change_in_place_of_its_own_transaction(store: Store) -> None:
    with store.transaction():
        pool = store.pool("things", Index("tags", multiple=True), Index("city", "address.city"))
        new = Thing(tags=["b"], address={"city": "Rome"})
        pool.addItem(new)
        new.tags.append("c")
        list.append(new.tags, "d")
        new.address["city"] = "Oslo"
        assert list(pool.queryIndex("tags").keys()) == ["b", "c", "d"]
        heapq.heappush(new.tags, "a")
        assert list(pool.queryIndex("tags").keys()) == ["a", "b", "c", "d"]
        assert pool.getIndexItem("city", "Oslo") is new
    with store.transaction():
        heapq.heappush(new.tags, "A")
        assert list(pool.queryIndex("tags").keys()) == ["A", "a", "b", "c", "d"]
        dict.update(new.address, city="Bern")
        assert len(pool.queryIndex("city", key="Bern")) == 1


@pytest.mark.parametrize("hold", [
    lambda point: {point}, lambda point: frozenset({point}), lambda point: {point: 1},
    lambda point: (frozenset({(point,)}),), lambda point: [{point}], lambda point: deque([point]),
    lambda point: {"k": {(1, point): 2}},
])  # fmt: skip
def test_a_value_with_attributes_is_noticed_wherever_it_is_held(
    memory: Store, hold: Callable[[Point], Any]
) -> None:
    item = new_item(memory, value=hold(Point(1)))
    point = find(item.value)
    with memory.transaction():
        point.x = 2
    assert find(stored(item)["value"]).x == 2
    with memory.transaction():
        item.value = hold(Point(3))
        len(memory)
        point = find(item.value)
    with memory.transaction():
        point.x = 4
    assert find(stored(item)["value"]).x == 4
    with pytest.raises(Stop), memory.transaction():
        find(item.value).x = 5
        raise Stop
    assert find(item.value).x == 4
    with pytest.raises(NoTransaction):
        find(item.value).x = 6
        memory.begin()
    assert find(item.value).x == 4


def find(value: Any) -> Any:
    """The point in there."""
    while not isinstance(value, Point):
        *_, value = value.values() if isinstance(value, dict) and "k" in value else value
    return value


def test_a_value_that_cannot_be_stored_is_gone_after_the_roll_back(store: Store) -> None:
    item = new_item(store, meta={"a": 1}, tags=[1])
    with pytest.raises(NotStorable, match=r"meta.*Thing 1"), store.transaction():
        item.meta["f"] = lambda: None
        item.tags.append(2)
    assert vars(item) == {"meta": {"a": 1}, "tags": [1]}
    with store.transaction():
        item.tags.append(3)
    assert stored(item)["tags"] == [1, 3]


def test_a_list_from_before_a_roll_back_shows_nothing_that_did_not_happen(store: Store) -> None:
    item = new_item(store, tags=["a"], deep={"x": [1]})
    tags, deep = item.tags, item.deep["x"]
    with pytest.raises(Stop), store.transaction():
        tags.append("b")
        deep.append(2)
        raise Stop
    assert item.tags == ["a"]
    assert tags == ["a"]
    assert 2 not in deep
    with store.transaction():
        item.tags.append("c")
        with suppress(StaleValue):
            tags.append("d")
            assert "d" in item.tags, "a change by an old name is refused, or it is the item's"
        with suppress(StaleValue):
            deep.append(3)
            assert 3 in item.deep["x"], "a change by an old name is refused, or it is the item's"
        now = dict(vars(item))
    assert stored(item) == now


def test_a_list_of_an_item_that_was_deleted_and_is_back_is_its_list(store: Store) -> None:
    item = new_item(store, tags=["a"])
    tags = item.tags
    transaction = store.begin()
    list.append(tags, "b")
    store.delete(item)
    transaction.abort()
    assert tags == ["a"]
    with store.transaction():
        tags.append("c")
    assert stored(item)["tags"] == ["a", "c"]


def test_a_list_whose_item_another_thread_has_changed_is_refused_or_up_to_date(
    store: Store,
) -> None:
    item = new_item(store, tags=["a"], deep={"x": [1]})
    tags, deep = item.tags, item.deep["x"]

    def change() -> None:
        with store.transaction():
            store.getItemByID(item.id).tags.append("b")
            store.getItemByID(item.id).deep["x"].append(2)

    elsewhere(change)
    with store.transaction():
        with suppress(StaleValue):
            tags.append("c")
        with suppress(StaleValue):
            deep.append(3)
        assert item.tags in (["a", "b"], ["a", "b", "c"])
        assert item.tags == tags or "c" not in item.tags
        now = dict(vars(item))
    assert stored(item) == now


def test_results_of_set_and_list_operations_are_plain_values(store: Store) -> None:
    item = new_item(store, tags={1, 2}, names=["a"], meta={"k": 1})
    tags = item.tags
    for result in (tags | {3}, tags & {1}, tags - {1}, tags ^ {1}, tags.union({3}), tags.copy(),
                   tags.intersection({1}), tags.difference({1}), {1} | tags,
                   tags.symmetric_difference({1})):
        result.add(9)
    for listed in (item.names.__add__(["b"]), item.names[:], item.names.copy(), item.names * 2):
        listed.append("z")
    (item.meta | {"x": 1})["y"] = 2
    item.meta.copy()["y"] = 2
    assert vars(item) == {"tags": {1, 2}, "names": ["a"], "meta": {"k": 1}}


def test_reading_is_no_change(store: Store) -> None:
    item = new_item(store, tags=["b", "a"], meta={"k": [1]}, queue=deque([1]), point=Point(1))
    with store.transaction() as transaction:
        sorted(item.tags), item.meta["k"][0], list(item.queue), item.point.x, vars(item)
        transaction.flush()
        assert not transaction.overlay.changes(), "reading writes nothing"


def test_items_in_a_list_are_not_copied(store: Store) -> None:
    friend = Thing(n=1)
    item = new_item(store)
    with store.transaction():
        item.friends = [friend]
        len(store)
        friend.n = 2
        item.friends[0].m = 3
    assert item.friends[0] is friend
    assert stored(friend) == {"n": 2, "m": 3}
