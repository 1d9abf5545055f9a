"""The states of items read without their classes: what is of an unknown class is a stand-in."""

from __future__ import annotations

from typing import Any, NamedTuple

from atop.errors import AtopError, DamagedStore
from atop.index import Index
from atop.item import Item
from atop.records import Allowed, dump_state, loader

_UNLISTED = object()


class StandIn:
    """An object of a class that is not imported. It takes whatever a pickle gives to it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> StandIn:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """What it is made of is not kept."""

    def __setstate__(self, state: Any) -> None:
        """Nor is its state."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Nor what it maps."""

    def append(self, value: Any) -> None:
        """Nor what it lists."""

    def extend(self, values: Any) -> None:
        """Nor what it lists."""

    def add(self, value: Any) -> None:
        """Nor what it gathers."""


class Peeked(NamedTuple):
    """An item's state, the ids and class numbers that it refers to, and if it is all there."""

    state: dict[str, Any]
    references: tuple[tuple[int, int], ...]
    whole: bool


class States:
    """Reads states, and writes those that it could read wholly."""

    def __init__(self) -> None:
        self._allowed = _Anything((Index,))
        self._referred: dict[int, tuple[int, int]] = {}
        self._items: list[Item] = []
        self._load = loader(self._allowed, self._dereference)

    def peek(self, pickled: bytes) -> Peeked:
        """The state in a record.

        :raises DamagedStore: when it cannot be read.
        """
        self._referred, self._items = {}, []
        self._allowed.unknown = 0
        try:
            state = self._load(pickled)
        except DamagedStore:
            raise
        except (AtopError, RecursionError, MemoryError) as error:
            raise DamagedStore(f"its state cannot be read: {error}") from error
        return Peeked(state, tuple(self._referred.values()), not self._allowed.unknown)

    def dump(self, state: dict[str, Any]) -> bytes:
        """The pickle of a state; of the last one that was read, if it refers to items."""
        return dump_state(state, self._allowed, lambda item: self._referred[id(item)])

    def _dereference(self, reference: tuple[int, int]) -> Item:
        ident, number = reference
        if not (isinstance(ident, int) and isinstance(number, int)):
            raise DamagedStore("a reference leads nowhere")
        item = Item()
        self._items.append(item)
        self._referred[id(item)] = (ident, number)
        return item


class _Anything(Allowed):
    """Finds every class: a stand-in where it is not one of plain values."""

    unknown = 0

    def find(self, module: str, name: str) -> Any:
        found = self.names.get((module, name), _UNLISTED)
        if found is _UNLISTED:
            self.unknown += 1
            return StandIn
        return found
