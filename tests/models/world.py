"""What should be in a store, in plain dicts; and how that changes with transactions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from atop import Index, Item
from atop.item import registry

POOLS = ("first", "second")
INDEXES = {
    "number": Index("number"),
    "key": Index("key"),
    "pair": Index("pair", key=("key", "number")),
    "third": Index("third"),
    "size": Index("size", key="meta.size"),
    "friend": Index("friend", key="friend.id"),
    "tags": Index("tags", multiple=True),
    "unique": Index("unique", unique=True),
}
"""All that a pool may have; a pool is made with some of them."""
FIRST_INDEXES = ("number", "key", "tags", "unique")


class Entry(Item):
    """What the model works on."""

    number: int
    tags: list[Any]

    def third(self) -> int:
        return self.number % 3


class Passing(Item):
    """Of the same kind, but its class is missing for a while."""


class Box:
    """A value of a type that Atop knows nothing of."""

    def __init__(self, content: list[Any]) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and self.content == other.content

    def __hash__(self) -> int:
        return len(self.content)

    def __repr__(self) -> str:
        return f"Box({self.content})"


class World:
    """Items by number: their attributes, classes, ids; pools and files."""

    def __init__(self) -> None:
        self.items: dict[int, dict[str, Any]] = {}
        self.ids: dict[int, int] = {}
        self.passing: set[int] = set()
        self.members: dict[str, set[int]] = {name: set() for name in POOLS}
        self.indexes: dict[str, list[str]] = {name: list(FIRST_INDEXES) for name in POOLS}
        self.files: dict[int, bytes] = {}

    def add(self, number: int, ident: int | None, attributes: dict[str, Any]) -> None:
        assert ident is not None
        self.items[number], self.ids[number] = copy.deepcopy(attributes), ident

    def delete(self, number: int) -> None:
        del self.items[number], self.ids[number]
        self.passing.discard(number)
        for members in self.members.values():
            members.discard(number)

    def key(self, number: int, index: str) -> Any:
        """The key of an item in an index, which is not a multiple one."""
        item = self.items[number]
        if index == "pair":
            return (item.get("key"), number)
        if index == "third":
            return None if number in self.passing else number % 3
        if index == "size":
            return item.get("meta", {}).get("size")
        if index == "friend":
            friend = item.get("friend")
            return self.ids.get(friend[1]) if friend else None
        return item.get(index)

    def rows(self, pool: str, index: str) -> list[tuple[Any, int]]:
        """The keys of an index and the ids that they have, as they stand in it."""
        if INDEXES[index].multiple:
            found = [(tag, self.ids[number]) for number in self.members[pool]
                     for tag in set(self.items[number]["tags"])]
        else:
            found = [(self.key(each, index), self.ids[each]) for each in self.members[pool]]
        return sorted(found, key=lambda row: (rank(row[0]), row[1]))

    def taken(self, pool: str, but: int) -> set[Any]:
        """The keys of others in the pool's unique index, if it has that."""
        if "unique" not in self.indexes[pool]:
            return set()
        others = self.members[pool] - {but}
        return {self.items[each].get("unique") for each in others} - {None}


Effect = Callable[[World], object]


class Worlds:
    """The committed world, and what the open transactions have made of it.

    What a transaction does is kept, and done once more to what is committed when it ends: if that
    is another world by then, the transaction must have been one that may come after all others.
    """

    def __init__(self) -> None:
        self.committed = self.now = World()
        self._levels: list[tuple[World, list[Effect]]] = []

    def begin(self) -> None:
        self._levels.append((self.now, []))
        self.now = copy.deepcopy(self.now)

    def do(self, effect: Effect) -> None:
        """Something that the open transaction does."""
        effect(self.now)
        self._levels[-1][1].append(effect)

    def do_beside(self, effect: Effect) -> None:
        """Something that others have committed."""
        effect(self.committed)

    def commit(self) -> None:
        _, effects = self._levels.pop()
        if self._levels:
            self._levels[-1][1].extend(effects)
            return
        for effect in effects:
            effect(self.committed)
        self.now = self.committed

    def abort(self) -> None:
        self.now, _ = self._levels.pop()

    def lose(self) -> None:
        """All open transactions have never been."""
        self._levels.clear()
        self.now = self.committed


def rank(key: Any) -> tuple[int, Any]:
    """The order of the keys that are tried here."""
    if isinstance(key, tuple):
        return (3, tuple(map(rank, key)))
    return (0, 0) if key is None else (1, key) if isinstance(key, int) else (2, key)


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
    elif isinstance(value, Box):
        value.content.append(len(value.content))


def hide_class(cls: type[Item], hidden: bool) -> None:
    """Let no program find `cls`, or let it be found again."""
    name = (cls.__module__, cls.__qualname__)
    if hidden:
        registry.pop(name, None)
    else:
        registry[name] = cls
