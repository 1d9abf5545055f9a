"""Item: identity, change tracking, references.

An item's attributes are those of an ordinary object. What Atop knows of it is in one slot, its
:class:`Bond`: which item of which session this is. An item that is not loaded is a ghost: its class
is a subclass that loads it as soon as anybody looks, and then steps aside.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from atop.errors import NotStorable, ValueRefused
from atop.values import unguarded

if TYPE_CHECKING:
    from atop.session import Session
    from atop.store import Store
    from atop.transaction import Transaction
    from atop.watch import Before

RESERVED = frozenset({"id", "store", "_atop"})


class Bond(weakref.ref["Item"]):
    """What ties an object to the store; a weak reference to the object itself.

    ``key`` is the item's id as the tables have it, ``mark`` the number of the transaction that
    last changed it. ``hidden`` holds values that can change in place and that nobody has touched;
    ``baseline`` is the pickled state as it was when one was touched. An item is ``fresh`` in the
    transaction that adds it, whose ``before`` are the attributes it had then, where they may have
    changed since; it is ``stored`` once it was flushed, and ``gone`` once it was deleted. One that
    is ``resting`` has all its attributes, and looks like a ghost until it is touched.

    What every bond has is in slots, which takes a third of the time of a dict.
    """

    __slots__ = ("__dict__", "fresh", "key", "mark", "session", "stored")
    key: bytes
    session: Session
    mark: int
    stored: bool
    fresh: bool
    gone = False
    resting = False
    hidden: dict[str, Any] | None = None
    baseline: bytes | None = None
    before: Before | None = None
    lease: Any = None


class _Attributes:
    """Has the real dict of attributes, which :class:`Item` shows only to those who ask."""


DICT_SLOT = vars(_Attributes)["__dict__"]
raw_dict: Callable[[Any], dict[str, Any]] = DICT_SLOT.__get__
set_dict: Callable[[Any, dict[str, Any]], None] = DICT_SLOT.__set__


class Item(_Attributes):
    """An object in a store; subclass it, or use it as it is.

    ``Person(name="Bob")`` sets attributes. Any attributes will do; they are pickled together. A
    class whose attributes change their meaning says so with a higher ``classVersion`` and
    defines ``upgrade(self, version)``, which gets items of older versions as they are loaded.
    """

    __slots__ = ("_atop",)
    _atop: Bond | None

    classVersion: ClassVar[int] = 1

    def __new__(cls, /, *args: Any, **kwargs: Any) -> Any:
        self = object.__new__(cls)
        set_bond(self, None)
        return self

    def __init__(self, /, **attributes: Any) -> None:
        if not RESERVED.isdisjoint(attributes):
            name = min(RESERVED.intersection(attributes))
            raise ValueRefused(f"{name!r} is Atop's own: give the attribute another name", name)
        set_dict(self, attributes)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        slots = vars(cls).get("__slots__", ())
        if slots:
            raise ValueRefused(
                f"{cls.__qualname__} has __slots__, whose values would not be stored: remove them",
                slots,
            )
        taken = RESERVED & (vars(cls).keys() | inspect.get_annotations(cls).keys())
        if taken:
            raise ValueRefused(
                f"{min(taken)!r} of {cls.__qualname__} is Atop's own: give it another name", taken
            )
        registry[cls.__module__, cls.__qualname__] = cls

    @property
    def id(self) -> int | None:
        """The number of this item in its store; ``None`` while it is in none. Never used again."""
        bond = self._atop
        return None if bond is None or bond.gone else int.from_bytes(bond.key, "big")

    @property
    def store(self) -> Store | None:
        """The store that this item is in, or ``None``."""
        bond = self._atop
        return None if bond is None or bond.gone else bond.session.store

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The attributes. Whoever has them may change them, so that the item is watched."""
        bond = self._atop
        if bond is not None and not bond.gone:
            bond.session.watch.lend(self, bond)
        return raw_dict(self)

    def attributes(self) -> dict[str, Any]:
        """All attributes of this item, by name; changing the dict changes nothing."""
        return dict(self.__dict__)

    def upgrade(self, version: int) -> None:
        """Bring attributes that class version `version` has written up to date.

        Called when a record of an older version is loaded. What it sets is seen at once, and
        stored when the item is next changed.
        """

    def _atop_added(self, transaction: Transaction, bond: Bond) -> None:
        """This item was put into the store; a subclass of Atop's has more to do then."""

    def _atop_forgotten(self, transaction: Transaction, bond: Bond) -> None:
        """It is not to be in the store after all."""

    def _atop_removing(self, transaction: Transaction, bond: Bond) -> None:
        """This item is about to be deleted."""

    def __getattr__(self, name: str) -> Any:
        bond = self._atop if name != "_atop" else None
        if bond is not None and bond.hidden and name in bond.hidden:
            bond.session.watch.lend(self, bond)
            return raw_dict(self)[name]
        raise AttributeError(
            f"{class_of(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
        )

    def __setattr__(self, name: str, value: Any) -> None:
        bond = self._atop
        if bond is None or bond.gone:
            object.__setattr__(self, name, value)
            return
        bond.session.changing(self, bond)
        if bond.hidden and name in bond.hidden:
            bond.session.watch.lend(self, bond)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        bond = self._atop
        if bond is not None and not bond.gone:
            bond.session.changing(self, bond)
            if bond.hidden and name in bond.hidden:
                bond.session.watch.lend(self, bond)
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        bond = self._atop
        return sorted({*object.__dir__(self), *((bond and bond.hidden) or ())})

    def __getstate__(self) -> dict[str, Any]:
        """What a copy of this item, which is in no store, gets: its attributes, and its own lists.

        A class may define its own, with ``__setstate__``, to choose what is stored.
        """
        state: dict[str, Any] = unguarded(dict(_all_attributes(self)))
        return state

    def __repr__(self) -> str:
        return f"<{class_of(self).__qualname__} {self.id if self._atop else 'in no store'}>"


def state_of(item: Item) -> dict[str, Any]:
    """The attributes of `item` that are stored.

    :raises NotStorable: when the class's own ``__getstate__`` gives something else than a dict.
    """
    cls = class_of(item)
    if cls.__getstate__ is not Item.__getstate__:
        state = item.__getstate__()
        if type(state) is not dict:
            raise NotStorable(f"__getstate__ of {item!r} returned {state!r}, not a dict", state)
        return state
    attributes = _all_attributes(item)
    computed = _computed.get(cls)
    if computed is None:
        found = {
            name for base in cls.__mro__ for name, value in vars(base).items()
            if isinstance(value, functools.cached_property)
        }
        computed = _computed[cls] = frozenset(found | _of_generics(cls))
    if computed:
        return {name: value for name, value in attributes.items() if name not in computed}
    return attributes


def _of_generics(cls: type[Item]) -> set[str]:
    """What ``typing`` puts into the instances of a generic class."""
    return {"__orig_class__"} if hasattr(cls, "__orig_bases__") else set()


def _all_attributes(item: Item) -> dict[str, Any]:
    bond = item._atop
    if bond is not None and bond.hidden:
        return {**raw_dict(item), **bond.hidden}
    return raw_dict(item)


_computed: dict[Any, frozenset[str]] = {}


class _Ghost:
    """Goes before an item's own class while the item is not loaded."""

    __slots__ = ()
    _atop: Bond

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass

    def __getattribute__(self, name: str) -> Any:
        if name in _QUIET:
            return object.__getattribute__(self, name)
        if name == "__class__":
            return type(self).__mro__[2]
        wake(self)
        return getattr(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        wake(self)
        setattr(self, name, value)

    def __delattr__(self, name: str) -> None:
        wake(self)
        delattr(self, name)

    def __dir__(self) -> list[str]:
        wake(self)
        return dir(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        wake(self)
        return self.__reduce_ex__(protocol)


registry: dict[tuple[str, str], type[Item]] = {(Item.__module__, Item.__qualname__): Item}
_QUIET = frozenset({"id", "store", "_atop", "__repr__"})

BOND_SLOT = vars(Item)["_atop"]
set_bond = BOND_SLOT.__set__


def ghost_class(cls: type[Item]) -> type[Item]:
    """The class that an item of class `cls` has while it is not loaded."""
    ghost = _ghosts.get(cls)
    if ghost is None:
        like = ("__module__", "__qualname__", "__doc__")
        names = {"__slots__": (), **{name: getattr(cls, name) for name in like}}
        metaclass: Any = type(cls)
        ghost = _ghosts[cls] = metaclass(cls.__name__, (_Ghost, cls), names)
    return ghost


_ghosts: dict[Any, type[Item]] = {}


def is_ghost(item: Item) -> bool:
    """Whether `item` is not loaded, or resting: it has to be woken first."""
    return issubclass(type(item), _Ghost)


def class_of(item: Item) -> type[Item]:
    """The class of `item`, loaded or not."""
    kind = type(item)
    return kind.__mro__[2] if issubclass(kind, _Ghost) else kind


def wake(item: Any) -> None:
    """Load a ghost."""
    bond = item._atop
    bond.session.load(item, bond)


def make_ghost(item: Item, bond: Bond) -> None:
    """Forget all attributes of `item`, until somebody looks at it."""
    bond.resting = False
    bond.hidden = bond.baseline = None
    set_dict(item, {})
    if not is_ghost(item):
        object.__setattr__(item, "__class__", ghost_class(type(item)))


def rest(item: Item, bond: Bond) -> None:
    """Be told when `item` is touched; it keeps its attributes."""
    bond.resting = True
    object.__setattr__(item, "__class__", ghost_class(type(item)))


def make_present(item: Item) -> None:
    """The opposite: what `item` has from now on is its state."""
    if issubclass(type(item), _Ghost):
        object.__setattr__(item, "__class__", class_of(item))
