"""What a record may do with the standard classes of values: how it calls them, and what it adds.

Standard classes are called as their own pickles call them and in no other way:
``bytearray(10**10)`` or ``Fraction("1e999999999")`` would fill the memory. Classes that the program
has allowed may do anything.
"""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import ipaddress
import pathlib
import re
import types
import uuid
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Any

_IPS = (ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network)
_PATHS = (pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath)

_CALLS: dict[Any, str] = {
    list: "[ltefd]?", tuple: "[ltefd]?", set: "[ltefd]?", frozenset: "[ltefd]?", dict: "d?",
    str: "s?", bytes: "b?", bytearray: "[ba]?", int: "i?", float: "[iv]?", bool: "[iv]?",
    complex: "[iv]{0,2}", range: "i{1,3}", slice: "[^cp]{1,3}",
    collections.OrderedDict: "d?", collections.deque: "[tl]?[iv]?",
    collections.defaultdict: "[cv]?", collections.Counter: "d?",
    datetime.date: "b|iii", datetime.datetime: "b[ov]?|i{3,7}", datetime.time: "b[ov]?|i{0,4}",
    datetime.timedelta: "i{0,3}", datetime.timezone: "os?", zoneinfo.ZoneInfo: "s",
    decimal.Decimal: "s", fractions.Fraction: "s|ii", uuid.SafeUUID: "[iv]",
    **dict.fromkeys(_IPS, "[si]"), **dict.fromkeys(_PATHS, "s*"), types.SimpleNamespace: "",
    array.array: "_", array.array("b").__reduce_ex__(5)[0]: "csib", uuid.UUID: "",
}  # fmt: skip
"""For each class the kinds of arguments, as in :class:`atop.walk.Value`; ``_`` is never."""
_PATTERNS = {called: re.compile(kinds).fullmatch for called, kinds in _CALLS.items()}
_FRACTION = re.compile(r"[+-]?\d+(/\d+)?")

GROWING: dict[str, frozenset[Any]] = {
    "l": frozenset({list, collections.deque}),
    "d": frozenset({dict, collections.OrderedDict, collections.defaultdict, collections.Counter}),
    "e": frozenset({set}),
}
"""Classes whose objects get elements after they are made, as a list, dict or set does."""
STATEFUL: frozenset[Any] = frozenset({
    uuid.UUID, types.SimpleNamespace, collections.OrderedDict, collections.deque,
})  # fmt: skip
"""Classes whose objects get attributes after they are made."""


def is_standard(called: Any) -> bool:
    """Whether it is none of the classes that the program has allowed."""
    return called in _PATTERNS


def may_be_called(called: Any, args: Sequence[Any], text: Callable[[Any], str]) -> bool:
    """Whether a record may call it with these; `text` gives what a string says."""
    if called not in _PATTERNS:
        return True
    kinds = "".join([each.kind for each in args])
    if called is fractions.Fraction and kinds == "s":
        return _FRACTION.fullmatch(text(args[0])) is not None
    return _PATTERNS[called](kinds) is not None
