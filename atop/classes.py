"""The class table: numbers for classes, so that a record names its class in four bytes.

It also finds the classes again, and gives :class:`Broken` for those that are gone.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, NoReturn

from atop.engine.base import CATALOG, Range, View
from atop.errors import BrokenItem, DamagedStore
from atop.item import Item, raw_dict, registry

PREFIX = b"class/"
_END = b"class0"


class Broken(Item):
    """An item whose class cannot be imported.

    What is known of it can be read; it cannot be changed, and keeps all its bytes.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse()

    def __delattr__(self, name: str) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise BrokenItem(
            f"{self!r} cannot be changed: {raw_dict(self).get('_problem')}; import its class, then "
            "load it again",
            self,
        )


def check_whole(item: Item) -> None:
    """Raise :class:`BrokenItem` for an item whose class cannot be imported."""
    if isinstance(item, Broken):
        item._refuse()


class Kind:
    """What a store knows of one class, or why there is :class:`Broken` in its place."""

    __slots__ = ("broken", "by_class", "cls", "name", "plain", "version")

    def __init__(self, name: str, cls: type[Item] | None, problem: str = "") -> None:
        self.name = name
        self.cls: type[Item] = cls or Broken
        self.broken = problem
        self.version = self.cls.classVersion
        self.by_class = hasattr(self.cls, "__setstate__")
        self.plain = cls is not None and not self.by_class


class ClassTable:
    """The classes of one store. Rows never change, so what is committed is remembered."""

    def __init__(self) -> None:
        self._kinds: dict[int, Kind] = {}
        self._numbers: dict[type[Item], int] = {}

    def kind(self, number: int, view: View) -> Kind:
        """The class of that number.

        :raises DamagedStore: when the table has none.
        """
        known = self._kinds.get(number)
        if known is None or (known.broken and _name_parts(known.name) in registry):
            row = view.get(CATALOG, _key(number))
            if row is None:
                raise DamagedStore(f"no class has the number {number}: run `atopdb verify`")
            known = self._kinds[number] = _find(row.decode())
        return known

    def number(self, cls: type[Item]) -> int | None:
        """The number of `cls`, if it has one that is known to be committed."""
        return self._numbers.get(cls)

    def find_number(self, cls: type[Item], view: View) -> tuple[int, bool]:
        """The number that `cls` has in `view`, or the next free one; and whether it has it."""
        wanted = class_name(cls)
        last = 0
        for key, row in view.scan(CATALOG, Range(PREFIX, _END)):
            last = int.from_bytes(key[len(PREFIX) :], "big")
            if row.decode() == wanted:
                return last, True
        return last + 1, False

    def committed(self, numbers: dict[type[Item], int]) -> None:
        """Remember numbers that are now on disk."""
        self._numbers.update(numbers)

    def forget(self, number: int) -> None:
        """That number was given out in a transaction that was rolled back."""
        self._kinds.pop(number, None)


def class_name(cls: type[Item]) -> str:
    """What the class table calls `cls`."""
    return f"{cls.__module__}:{cls.__qualname__}"


def class_row(number: int, cls: type[Item]) -> tuple[bytes, bytes]:
    """The row of the table ``catalog`` for a class."""
    return _key(number), class_name(cls).encode()


def _key(number: int) -> bytes:
    return PREFIX + number.to_bytes(4, "big")


def _name_parts(name: str) -> tuple[str, str]:
    module, _, qualname = name.partition(":")
    return module, qualname


def _find(name: str) -> Kind:
    module, qualname = _name_parts(name)
    problem = ""
    if (module, qualname) not in registry:
        try:
            if module.partition(".")[0] in sys.stdlib_module_names:
                raise ImportError(f"{module} is no module that defines items")
            importlib.import_module(module)
        except Exception as error:
            problem = f"{module} cannot be imported ({error})"
    cls = registry.get((module, qualname))
    if cls is None and not problem:
        problem = f"{module} has no item class {qualname}"
    return Kind(name, cls, problem)
