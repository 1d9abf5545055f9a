"""The values that items hold: which of them can change in place, and how that is noticed.

A list, dict or set that was loaded is a subclass that asks before it changes, so that a change
outside a transaction fails where it is made. It is a courtesy: that no change is lost is up to the
session, which compares what was lent with what it has become.
"""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import ipaddress
import operator
import pathlib
import uuid
import zoneinfo
from collections.abc import Callable
from sys import getrefcount
from typing import Any, Protocol

IMMUTABLE = frozenset({
    str, bytes, int, float, bool, complex, type(None), range, type(...),
    datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone,
    zoneinfo.ZoneInfo, decimal.Decimal, fractions.Fraction, uuid.UUID,
    ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network,
    pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath,
})  # fmt: skip


class Lender(Protocol):
    """Whom a guarded value asks before it changes."""

    def changing(self) -> None:
        """Raise, or note that the item is being changed."""


class _Guarded:
    __slots__ = ()
    _atop: Lender  # not set in what is made from one: nobody holds that

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain(self), (_plain(self)(self),)


class GuardedList(_Guarded, list[Any]):
    """A list that an item holds."""

    __slots__ = ("_atop",)


class GuardedDict(_Guarded, dict[Any, Any]):
    """A dict that an item holds."""

    __slots__ = ("_atop",)


class GuardedSet(_Guarded, set[Any]):
    """A set that an item holds."""

    __slots__ = ("_atop",)

    def __repr__(self) -> str:
        return repr(set(self))

    def copy(self) -> set[Any]:
        return set(self)


_GUARDS: dict[type, Any] = {list: GuardedList, dict: GuardedDict, set: GuardedSet}
_CHANGING: dict[type, tuple[str, ...]] = {
    list: (
        "append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse",
        "__setitem__", "__delitem__", "__iadd__", "__imul__",
    ),
    dict: (
        "clear", "pop", "popitem", "setdefault", "update",
        "__setitem__", "__delitem__", "__ior__",
    ),
    set: (
        "add", "remove", "discard", "pop", "clear", "update", "difference_update",
        "intersection_update", "symmetric_difference_update",
        "__ior__", "__iand__", "__isub__", "__ixor__",
    ),
}  # fmt: skip


def _asking(base: type, name: str) -> Callable[..., Any]:
    change = getattr(base, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        lender = getattr(self, "_atop", None)
        if lender is not None:
            lender.changing()
        return change(self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = change.__doc__
    return method


for _base, _names in _CHANGING.items():
    for _name in _names:
        setattr(_GUARDS[_base], _name, _asking(_base, _name))


def _plain(value: Any) -> Any:
    return next(base for base, guard in _GUARDS.items() if isinstance(value, guard))


def is_settled(value: Any, item_class: type) -> bool:
    """Whether nothing can change `value` in place; an item looks after itself."""
    kind = type(value)
    if kind in IMMUTABLE or isinstance(value, (item_class, type)):
        return True
    if kind is tuple or kind is frozenset:
        return all(is_settled(element, item_class) for element in value)
    return False


def refill(value: Any, content: Any) -> bool:
    """Give `value` the content of another of its type, in place; tells whether that could be done.

    So are the values within it, where they are in the same place.
    """
    return _refilled(value, content, {}) is value


def _refilled(value: Any, content: Any, done: dict[int, Any]) -> Any:
    """`value` with that content, or `content` itself where it cannot take it."""
    if id(content) in done:
        return done[id(content)]
    for base, fill in _REFILL.items():
        if isinstance(value, base) and isinstance(content, base):
            done[id(content)] = value
            fill(value, content, done)
            return value
    return content


def _refill_list(value: list[Any], content: list[Any], done: dict[int, Any]) -> None:
    kept = [
        _refilled(value[at] if at < len(value) else None, new, done)
        for at, new in enumerate(content)
    ]
    list.__setitem__(value, slice(None), kept)


def _refill_dict(value: dict[Any, Any], content: dict[Any, Any], done: dict[int, Any]) -> None:
    kept = {key: _refilled(value.get(key), new, done) for key, new in content.items()}
    base: Any = dict if isinstance(value, GuardedDict) else type(value)
    base.clear(value)
    base.update(value, kept)


def _refill_set(value: set[Any], content: set[Any], done: dict[int, Any]) -> None:
    set.clear(value)
    set.update(value, content)


def _refill_deque(value: Any, content: Any, done: dict[int, Any]) -> None:
    value.clear()
    value.extend(content)


def _refill_array(value: Any, content: Any, done: dict[int, Any]) -> None:
    value[:] = content


_REFILL: dict[type, Callable[[Any, Any, dict[int, Any]], None]] = {
    list: _refill_list,
    dict: _refill_dict,
    set: _refill_set,
    collections.deque: _refill_deque,
    bytearray: _refill_array,
    array.array: _refill_array,
}


def unguarded(value: Any, made: dict[int, Any] | None = None) -> Any:
    """`value` as it is stored: plain lists, dicts and sets, with what is shared still shared."""
    kind = type(value)
    if kind in IMMUTABLE or kind not in _CONTAINERS:
        return value
    made = {} if made is None else made
    if id(value) in made:
        return made[id(value)]
    if kind is tuple:
        plain = tuple(unguarded(element, made) for element in value)
        return value if all(map(operator.is_, plain, value)) else plain
    copy = made[id(value)] = _CONTAINERS[kind]()
    if isinstance(copy, list):
        copy.extend(unguarded(element, made) for element in value)
    elif isinstance(copy, dict):
        copy.update((key, unguarded(held, made)) for key, held in value.items())
    else:
        copy.update(value)
    return copy


_CONTAINERS: dict[type, Any] = {
    list: list, GuardedList: list, dict: dict, GuardedDict: dict, set: set, GuardedSet: set,
    tuple: tuple,
}  # fmt: skip


def guard_attributes(
    attributes: dict[str, Any],
    names: list[str],
    lender: Lender,
    item_class: type,
    *,
    owned: bool = False,
) -> bool:
    """Put guards in place of the lists, dicts and sets in the attributes of those names.

    Returns whether all that can change in place is guarded now. With `owned`, containers that
    anybody but the item refers to are left as they are, and it is not.
    """
    guarding = _Guarding(lender, item_class, owned=owned)
    for name in names:
        attributes[name] = guarding.guard(attributes[name], nested=False)
    return guarding.complete


class _Guarding:
    """One pass over values; what is shared among them stays shared."""

    def __init__(self, lender: Lender, item_class: type, *, owned: bool) -> None:
        self.complete = True
        self._lender = lender
        self._item_class = item_class
        self._owned = owned
        self._made: dict[int, Any] = {}
        self._sources: list[Any] = []

    def guard(self, value: Any, *, nested: bool = True) -> Any:
        kind = type(value)
        if kind not in _CONTAINERS:
            self.complete &= is_settled(value, self._item_class)
            return value
        if id(value) in self._made:
            return self._made[id(value)]
        shared = self._owned and getrefcount(value) > _own_references[nested]
        if kind is tuple:
            return self._guard_tuple(value, shared)
        self.complete &= not shared
        if isinstance(value, _Guarded):
            if getattr(value, "_atop", None) is self._lender:
                return self._look_inside(value)
            kind = _plain(value)
        return value if shared else self._copy(kind, value)

    def _copy(self, kind: type, value: Any) -> Any:
        guarded = _GUARDS[kind]()
        self._made[id(value)] = guarded
        self._sources.append(value)
        guarded._atop = self._lender
        self._check_hashed(value)
        if kind is list:
            list.extend(guarded, self._guard_all(list(value)))
        elif kind is dict:
            held = self._guard_all(list(value.values()))
            dict.update(guarded, zip(value, held, strict=True))
        else:
            set.update(guarded, value)
        return guarded

    def _check_hashed(self, value: Any) -> None:
        """Elements of a set and keys of a dict stay what they are, and may change in place."""
        if not isinstance(value, list) and not IMMUTABLE.issuperset(map(type, value)):
            self.complete &= all(is_settled(each, self._item_class) for each in value)

    def _guard_all(self, elements: list[Any]) -> list[Any]:
        """For all containers alike, so that as many references to an element are our own."""
        return [self.guard(element) for element in elements]

    def _guard_tuple(self, value: tuple[Any, ...], shared: bool) -> tuple[Any, ...]:
        if is_settled(value, self._item_class):
            return value
        self.complete &= not shared
        if shared:
            return value
        guarded = self._guard_all(list(value))
        same = all(new is old for new, old in zip(guarded, value, strict=True))
        return value if same else tuple(guarded)

    def _look_inside(self, value: Any) -> Any:
        """A guard may have been given something new to hold."""
        self._made[id(value)] = value
        self._check_hashed(value)
        if isinstance(value, dict):
            held = self._guard_all(list(value.values()))
            dict.update(value, zip(value, held, strict=True))
        elif isinstance(value, list):
            list.__setitem__(value, slice(None), self._guard_all(list(value)))
        return value


_own_references = {False: 1 << 30, True: 1 << 30}


def _calibrate() -> None:
    """How many references a container has that only its holder knows, on this interpreter."""

    class Probe(_Guarding):
        def guard(self, value: Any, *, nested: bool = True) -> Any:
            _own_references[nested] = getrefcount(value)
            return self._copy(type(value), value) if type(value) in _GUARDS else value

    probe = Probe(_Nobody(), object, owned=True)
    attributes: dict[str, Any] = {"list": [[]]}
    for name in ["list"]:
        attributes[name] = probe.guard(attributes[name], nested=False)


class _Nobody:
    def changing(self) -> None:
        raise AssertionError("nobody holds a probe")


_calibrate()
