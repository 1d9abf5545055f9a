"""Index: from an item to its keys, and what these look like in the table ``index``.

An entry is what a row of that table begins with: pool, index number and encoded key; the item's id
follows. Keys are found by name, so any program can find them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from types import MethodType
from typing import Any

from atop.errors import DuplicateKey, IndexKeyError
from atop.item import Item
from atop.keys import ENCODERS, Key, decode, encode
from atop.native import decode_keys, encode_entries
from atop.values import IMMUTABLE

Extract = Callable[[Item], Any]
_NONE = encode(None)
_UNLISTED = (str, bytes, bytearray, dict)


@dataclass(frozen=True)
class Index:
    """How a pool sorts its items: by ``key``, an attribute's name, unless told, ``name``.

    ``key`` may also be a dotted path, the name of a method without arguments, or a tuple of these.
    With ``unique``, no two items have the same key; ``None`` does not count. With ``multiple``,
    the value is a list, and the item stands in the index once for each of its elements.
    """

    name: str
    key: str | tuple[str, ...] | None = None
    unique: bool = False
    multiple: bool = False

    def __post_init__(self) -> None:
        if self.key is None:
            object.__setattr__(self, "key", self.name)
        paths = self.key if isinstance(self.key, tuple) else (self.key,)
        if not isinstance(self.name, str) or not paths or not all(
            isinstance(path, str) and all(path.split(".")) for path in paths
        ):
            raise IndexKeyError(
                f"an index has a name and finds its key by names, not by {self.key!r}", self.key
            )

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths to the parts of the key."""
        return self.key if isinstance(self.key, tuple) else (str(self.key),)


@dataclass(frozen=True)
class Plan:
    """One index of one pool, made ready to find entries."""

    index: Index
    number: int
    prefix: bytes
    extract: Extract

    def entries(self, item: Item) -> list[bytes]:
        """What `item` has in this index.

        :raises IndexKeyError: naming item, index and value.
        """
        value = self.extract(item)
        try:
            if self.index.multiple:
                return [self.prefix + encode(each) for each in _elements(value)]
            return [self.prefix + encode(value)]
        except IndexKeyError as error:
            raise IndexKeyError(
                f"{item!r} has no place in index {self.index.name!r}: {error}",
                error.value,
                item,
                self.index.name,
            ) from error


class PoolPlan:
    """All indexes of one pool, made ready."""

    def __init__(self, pool_key: bytes, indexes: Iterable[tuple[int, Index]]) -> None:
        self.plans = [
            Plan(index, number, entry_prefix(pool_key, number), _extractor(index))
            for number, index in indexes
        ]
        self.unique = any(plan.index.unique for plan in self.plans)
        self.multiple = any(plan.index.multiple for plan in self.plans)
        plain = all(
            isinstance(plan.index.key, str) and "." not in plan.index.key
            and not plan.index.multiple
            for plan in self.plans
        )
        self._prefixes = tuple(plan.prefix for plan in self.plans) if plain else ()
        names = [str(plan.index.key) for plan in self.plans]
        get: Any = attrgetter(*names)
        self._values = get if len(names) > 1 else lambda item: (get(item),)

    def entries(self, item: Item) -> list[bytes]:
        """What `item` has in the index for this pool.

        :raises IndexKeyError: naming item, index and value.
        """
        if self._prefixes:
            try:
                return encode_entries(self._prefixes, self._values(item), ENCODERS)
            except (AttributeError, KeyError, IndexKeyError):
                pass  # not all of them are attributes of plain types, so it takes longer
        return [entry for plan in self.plans for entry in plan.entries(item)]


def compact(number: int) -> bytes:
    """A number in as few bytes as it takes, in an order that is that of numbers."""
    length = (number.bit_length() + 7) // 8
    return bytes((length,)) + number.to_bytes(length, "big")


def entry_prefix(pool_key: bytes, number: int) -> bytes:
    """What all entries of an index begin with."""
    return compact(int.from_bytes(pool_key, "big")) + compact(number)


def pool_prefix(pool_key: bytes) -> bytes:
    """What all entries of a pool begin with."""
    return compact(int.from_bytes(pool_key, "big"))


def pool_keys(entries: Iterable[bytes]) -> set[bytes]:
    """The keys of the pools that entries are of."""
    return {prefix[1:].rjust(8, b"\0") for prefix in {entry[: 1 + entry[0]] for entry in entries}}


def key_of(entry: bytes, prefix: bytes) -> Key:
    """The key in an entry, or in a row of the table."""
    return decode(entry, len(prefix))[0]


def keys_of(rows: Iterable[bytes], prefix: bytes) -> list[Key]:
    """The keys in rows of the table that all begin with `prefix`."""
    return decode_keys(rows, len(prefix), decode)


def check_unique(
    plans: Iterable[Plan],
    inserted: dict[bytes, Item],
    removed: frozenset[bytes],
    rows_with: Callable[[bytes], list[bytes]],
) -> None:
    """Raise :class:`DuplicateKey` if rows to be `inserted` repeat a key of a unique index.

    `inserted` has the items of whole rows, `rows_with` finds the rows that have an entry now.
    """
    prefixes = {plan.prefix: plan.index for plan in plans if plan.index.unique}
    if not prefixes:
        return
    ordered = tuple(prefixes)
    owners: dict[bytes, bytes] = {}
    for row, item in inserted.items():
        if not row.startswith(ordered):
            continue
        entry = row[:-8]
        prefix = next(each for each in ordered if row.startswith(each))
        if entry[len(prefix) :] == _NONE:
            continue
        others = {other for other in rows_with(entry) if other not in removed} - {row}
        other = owners.setdefault(entry, row)
        if others or other != row:
            raise _duplicate(prefixes[prefix], entry, prefix, item, (others or {other}).pop())


def _duplicate(index: Index, entry: bytes, prefix: bytes, item: Item, row: bytes) -> DuplicateKey:
    value, other = key_of(entry, prefix), int.from_bytes(row[-8:], "big")
    return DuplicateKey(
        f"{item!r} cannot have the key {value!r} in the unique index {index.name!r}: item {other} "
        "has it",
        value,
        item,
        index.name,
        other,
    )


def _elements(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    if isinstance(value, _UNLISTED) or not isinstance(value, Iterable):
        raise IndexKeyError(f"{value!r} is no list, as an index with multiple=True needs", value)
    return value


def _extractor(index: Index) -> Extract:
    parts = [_path(index, path) for path in index.paths]
    if isinstance(index.key, tuple):
        return lambda item: tuple(part(item) for part in parts)
    return parts[0]


def _path(index: Index, path: str) -> Extract:
    first, *rest = path.split(".")

    def attribute(item: Item) -> Any:
        value = getattr(item, first, None)
        if type(value) in IMMUTABLE:
            return value
        return value() if type(value) is MethodType else value

    if not rest:
        return attribute

    def follow(item: Item) -> Any:
        value = attribute(item)
        for name in rest:
            value = _step(index, item, value, name)
        return value

    return follow


def _step(index: Index, item: Item, value: Any, name: str) -> Any:
    if isinstance(value, Item) and name != "id":
        raise IndexKeyError(
            f"index {index.name!r} of {item!r} goes through {value!r}, whose changes it would not "
            "notice; keep what is sorted by in the item itself",
            value,
            item,
            index.name,
        )
    found = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return found() if type(found) is MethodType else found
