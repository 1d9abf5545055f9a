"""Rules that add, change, refer to and delete items and files."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from atop.errors import BrokenItem, NoSuchItem, StaleValue
from tests.models.base import MANY, Base, has_items, in_transaction
from tests.models.world import Box, Entry, Passing, World, change

KEYS = st.one_of(st.none(), st.integers(0, 3), st.sampled_from(["a", "ab", "b"]))
VALUES = st.sampled_from([[], [1], {"k": [2]}, {3}, ([4],), "text", 5, Box([6]), [Box([])]])


class Changes(Base):
    """What a program does with items."""

    def __init__(self) -> None:
        super().__init__()
        self.removed: list[tuple[int, Any]] = []

    def set(self, number: int, name: str, value: Any) -> None:
        """The model's item has that attribute now."""

        def effect(world: World) -> None:
            world.items[number][name] = copy.deepcopy(value)

        self.worlds.do(effect)

    def change(self, number: int, how: Callable[[dict[str, Any]], object]) -> None:
        """The model's item has changed."""
        self.worlds.do(lambda world: how(world.items[number]))

    @rule(key=KEYS, value=VALUES, passing=st.integers(0, 3), size=st.integers(0, 2))
    @in_transaction
    def add(self, key: Any, value: Any, passing: int, size: int) -> None:
        number = self.number()
        cls = Passing if passing == 0 and not self.broken else Entry
        attributes = {"number": number, "key": key, "tags": ["t"], "value": value,
                      "meta": {"size": size}}
        item = cls(**copy.deepcopy(attributes))
        self.store.add(item)
        self.added(number, item, attributes)

    @has_items
    @rule(at=MANY, key=KEYS)
    @in_transaction
    def set_key(self, at: int, key: Any) -> None:
        if (number := self.pick_whole(at)) is not None:
            self.item(number).key = key
            self.set(number, "key", key)

    @has_items
    @rule(at=MANY, value=VALUES, name=st.sampled_from(["value", "more"]))
    @in_transaction
    def set_value(self, at: int, value: Any, name: str) -> None:
        if (number := self.pick_whole(at)) is not None:
            setattr(self.item(number), name, copy.deepcopy(value))
            self.set(number, name, value)

    @has_items
    @rule(at=MANY)
    @in_transaction
    def delete_value(self, at: int) -> None:
        number = self.pick_whole(at)
        if number is not None and "value" in self.worlds.now.items[number]:
            del self.item(number).value
            self.change(number, lambda item: item.pop("value"))

    @has_items
    @rule(at=MANY, tag=st.sampled_from("abc"), rude=st.booleans())
    @in_transaction
    def tag_in_place(self, at: int, tag: str, rude: bool) -> None:
        if (number := self.pick_whole(at)) is not None:
            tags = self.item(number).tags
            list.append(tags, tag) if rude else tags.append(tag)
            self.change(number, lambda item: item["tags"].append(tag))

    @has_items
    @rule(at=MANY, size=st.integers(0, 3))
    @in_transaction
    def change_a_dict_in_place(self, at: int, size: int) -> None:
        number = self.pick_whole(at)
        if number is not None and "meta" in self.worlds.now.items[number]:
            self.item(number).meta["size"] = size
            self.change(number, lambda item: item["meta"].update(size=size))

    @has_items
    @rule(at=MANY)
    @in_transaction
    def change_in_place(self, at: int) -> None:
        if (number := self.pick_whole(at)) is not None:
            change(getattr(self.item(number), "value", None))
            self.change(number, lambda item: change(item.get("value")))

    @has_items
    @rule(at=MANY)
    @in_transaction
    def keep_alias(self, at: int) -> None:
        if (number := self.pick_whole(at)) is not None:
            self.aliases.append((number, self.item(number).tags))

    @rule(rude=st.booleans())
    @in_transaction
    def change_by_alias(self, rude: bool) -> None:
        while self.aliases:
            number, value = self.aliases.pop()
            if number not in self.worlds.now.items:
                continue
            item = self.item(number)
            if value is not item.tags:
                try:
                    value.append("stale")
                except StaleValue:
                    continue
                assert "stale" not in item.tags
                continue
            list.append(value, "alias") if rude else value.append("alias")
            self.change(number, lambda item: item["tags"].append("alias"))

    @has_items
    @rule(one=MANY, two=MANY, name=st.sampled_from(["more", "friend"]))
    @in_transaction
    def refer(self, one: int, two: int, name: str) -> None:
        first, second = self.pick_whole(one), self.pick(two)
        if first is not None:
            target = self.item(second)
            setattr(self.item(first), name, [target] if name == "more" else target)
            self.set(first, name, [("item", second)] if name == "more" else ("item", second))

    @rule(key=KEYS)
    @in_transaction
    def add_a_ring(self, key: Any) -> None:
        """Items that are reached from an item are added with it, also in a circle."""
        one, two = self.number(), self.number()
        first = Entry(number=one, tags=[], key=key)
        second = Entry(number=two, tags=[], friend=first)
        first.friend = second
        self.store.add(first)
        next(self.store.items())
        ring = (one, first, two), (two, second, one)
        for number, item, other in ring:
            attributes = {"number": number, "tags": [], "friend": ("item", other)}
            self.added(number, item, {**attributes, "key": key} if item is first else attributes)

    @has_items
    @rule(at=MANY)
    @in_transaction
    def delete(self, at: int) -> None:
        number = self.pick(at)
        item = self.item(number)
        self.store.delete(item)
        self.worlds.do(lambda world: world.delete(number))
        assert self.store.getItemByID(item.id, None) is None
        with pytest.raises(NoSuchItem):
            self.store.delete(item)
        self.removed.append((number, item))

    @rule()
    @in_transaction
    def add_again(self) -> None:
        """What was deleted can be added once more, to which references to it do not lead."""
        while self.removed:
            number, item = self.removed.pop()
            if item.store is not None or number in self.worlds.now.items:
                continue
            if {"friend", "more"} & vars(item).keys():
                continue  # what it leads to would be added with it
            if not isinstance(item, Entry) or any(
                number in _targets(each) for each in self.worlds.now.items.values()
            ):
                continue
            again = self.number()
            attributes = {name: self.plain(value) for name, value in vars(item).items()}
            item.number = again
            self.store.add(item)
            self.added(again, item, {**attributes, "number": again})

    @has_items
    @precondition(lambda self: self.broken)
    @rule(at=MANY)
    @in_transaction
    def touch_what_is_broken(self, at: int) -> None:
        passing = sorted(self.worlds.now.passing)
        if not passing:
            return
        item = self.item(passing[at % len(passing)])
        with pytest.raises(BrokenItem):
            item.key = "other"
        with pytest.raises(BrokenItem):
            item.tags.append("other")

    @rule(data=st.binary(max_size=5), give_up=st.integers(0, 3))
    @in_transaction
    def add_file(self, data: bytes, give_up: int) -> None:
        if give_up == 0:
            with pytest.raises(ZeroDivisionError), self.store.newFile("never") as file:
                file.write(data)
                raise ZeroDivisionError
            return
        with self.store.newFile("f") as file:
            file.write(data)
        ident = file.id
        assert ident is not None
        assert ident not in self.known_ids, f"id {ident} was given again"
        self.worlds.do(lambda world: world.files.update({ident: data}))

    @precondition(lambda self: self.open and self.worlds.now.files)
    @rule(at=MANY)
    def delete_file(self, at: int) -> None:
        ident = sorted(self.worlds.now.files)[at % len(self.worlds.now.files)]
        self.store.delete(self.store.getItemByID(ident))
        self.worlds.do(lambda world: world.files.pop(ident))


def _targets(attributes: dict[str, Any]) -> set[int]:
    """The numbers of the items that an item refers to."""
    more = attributes.get("more")
    values = [attributes.get("friend"), *(more if isinstance(more, list) else ())]
    return {value[1] for value in values if isinstance(value, tuple) and value[0] == "item"}
