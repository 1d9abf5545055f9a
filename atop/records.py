"""An item's bytes: class number, class version, index entries, and the pickle of its state.

The layout is specified in doc/format.rst. A pickle is checked opcode by opcode, then loaded by an
unpickler that finds only plain values and what the program allows; and it is written by a pickler
that refuses what would not be loaded.
"""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import io
import ipaddress
import pathlib
import pickle
import struct
import types
import uuid
import zoneinfo
from collections.abc import Callable, Collection, Iterable
from typing import Any

from atop.errors import AtopError, DamagedStore, NotLoadable, NotStorable
from atop.item import Item
from atop.native import encode_plain, join_entries, split_entries
from atop.opcodes import checker

PROTOCOL = 5
HEADER = struct.Struct(">IHI")
_CLASS_BYTES = 6

Entries = frozenset[bytes]

PLAIN = frozenset({
    str, bytes, int, float, bool, type(None), datetime.date, datetime.timedelta,
    decimal.Decimal, uuid.UUID,
})  # fmt: skip
"""Types whose values any pickler writes so that they can be loaded again."""
_VALUE_CLASSES: frozenset[Any] = frozenset({
    list, dict, tuple, set, frozenset, str, bytes, bytearray, int, float, bool, complex, range,
    slice, collections.OrderedDict, collections.deque, collections.defaultdict,
    collections.Counter, datetime.date, datetime.datetime, datetime.time, datetime.timedelta,
    datetime.timezone, zoneinfo.ZoneInfo, decimal.Decimal, fractions.Fraction, uuid.UUID,
    uuid.SafeUUID, ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network,
    ipaddress.IPv6Network, pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath,
    types.SimpleNamespace, array.array,
})  # fmt: skip


def _name(thing: Any) -> tuple[str, str]:
    return thing.__module__, thing.__qualname__


class Allowed:
    """What may be loaded: exact pairs of module and name, and nothing that is reached from them."""

    def __init__(self, classes: Iterable[type] = ()) -> None:
        self.names: dict[tuple[str, str], Any] = {_name(each): each for each in _VALUE_CLASSES}
        for each in classes:
            if not isinstance(each, type):
                raise NotLoadable(f"allow= takes classes, not {each!r}", repr(each))
            self.names[_name(each)] = each
        self.names["builtins", "Ellipsis"] = ...
        rebuild = array.array("b").__reduce_ex__(PROTOCOL)[0]
        assert callable(rebuild)
        self.names[_name(rebuild)] = rebuild
        self.check_pickle = checker(self.find)

    def find(self, module: str, name: str) -> Any:
        """The class of that name.

        :raises NotLoadable: when it is not allowed.
        """
        try:
            return self.names[module, name]
        except KeyError:
            raise self.refused(module, name) from None

    def check(self, thing: Any) -> None:
        """Raise :class:`NotLoadable` if a pickle that names `thing` could not be loaded again."""
        module, name = getattr(thing, "__module__", None) or "builtins", thing.__qualname__
        if not isinstance(thing, type) and (module, name) not in self.names:
            raise NotLoadable(f"{module}.{name} is a function, and only values are stored", name)
        if self.names.get((module, name)) is not thing:
            raise self.refused(module, name)

    @staticmethod
    def refused(module: str, name: str) -> NotLoadable:
        return NotLoadable(
            f"{module}.{name} may not be loaded from a store; if it is a class of values that you "
            f"trust, open the store with allow=[{name}]",
            f"{module}.{name}",
        )


_REDUCERS: dict[type, Any] = {
    zoneinfo.ZoneInfo: lambda zone: (zoneinfo.ZoneInfo, (str(zone.key),)),
}


class StatePickler(pickle.Pickler):
    """Writes items as references, and refuses what could not be loaded again."""

    def __init__(
        self, file: io.BytesIO, allowed: Allowed, refer: Callable[[Item], tuple[int, int]]
    ) -> None:
        super().__init__(file, PROTOCOL)
        self.dispatch_table = _REDUCERS
        self._allowed = allowed
        self._refer = refer

    def persistent_id(self, value: Any) -> tuple[int, int] | None:
        return self._refer(value) if isinstance(value, Item) else None

    def reducer_override(self, value: Any) -> Any:
        if type(value) in _VALUE_CLASSES:
            return NotImplemented
        if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
            self._allowed.check(value)
            return NotImplemented
        reduced = NotImplemented if value is ... else value.__reduce_ex__(PROTOCOL)
        if isinstance(reduced, str) or isinstance(value, types.MethodType):
            raise NotLoadable(f"{value!r} is known by its name only, so it is not stored", value)
        return reduced


def dump_state(
    state: dict[str, Any], allowed: Allowed, refer: Callable[[Item], tuple[int, int]]
) -> bytes:
    """The pickle of `state`; `refer` gives the id and class number of an item that it refers to.

    :raises NotStorable: for a value that could not be loaded again; the caller adds whose it is.
    """
    file = io.BytesIO()
    try:
        StatePickler(file, allowed, refer).dump(state)
    except NotLoadable as error:
        raise NotStorable(str(error), error.value) from error
    except AtopError:
        raise
    except Exception as error:
        raise NotStorable(f"it cannot be pickled: {error}") from error
    return file.getvalue()


def loader(
    allowed: Allowed, dereference: Callable[[tuple[int, int]], Item]
) -> Callable[[bytes], dict[str, Any]]:
    """A function from a pickle to the state; `dereference` gives the item for a reference."""

    class StateUnpickler(pickle.Unpickler):
        find_class = staticmethod(allowed.find)
        persistent_load = staticmethod(dereference)

    buffer = io.BytesIO
    check = allowed.check_pickle
    loads = pickle.loads

    def load(data: bytes) -> dict[str, Any]:
        any_will_do = check(data)
        try:
            state = loads(data) if any_will_do else StateUnpickler(buffer(data)).load()
        except NotLoadable:
            raise
        except Exception as error:
            raise DamagedStore(f"a record cannot be unpickled ({error}): run `atopdb verify`"
                               ) from error
        if type(state) is not dict:
            raise DamagedStore("a record's state is no dict: run `atopdb verify`")
        return state

    return load


def encode_record(number: int, version: int, pickled: bytes, entries: Iterable[bytes]) -> bytes:
    """The record of an item; `entries` are the keys it has in the index, without its id."""
    listed = join_entries(entries)
    return HEADER.pack(number, version, len(listed)) + listed + pickled


def plain_record(
    number: int, version: int, state: dict[str, Any], entries: Collection[bytes]
) -> bytes | None:
    """The record of an item that has values of plain types only; ``None`` for any other."""
    record = encode_plain(number, version, state, entries)
    if record is None and PLAIN.issuperset(map(type, state.values())):
        return encode_record(number, version, pickle.dumps(state, PROTOCOL), entries)
    return record


def class_head(number: int, version: int) -> bytes:
    """What the records of a class begin with."""
    return HEADER.pack(number, version, 0)[:_CLASS_BYTES]


def decode_header(record: bytes) -> tuple[int, int, int]:
    """Class number, class version, and where the pickle begins.

    :raises DamagedStore: when there is no such thing.
    """
    try:
        number, version, length = HEADER.unpack_from(record)
    except struct.error as error:
        raise DamagedStore("a record is cut short: run `atopdb verify`") from error
    return number, version, HEADER.size + length


def decode_entries(record: bytes) -> Entries:
    """The keys that an item has in the index, without its id."""
    entries = split_entries(record, HEADER.size, decode_header(record)[2])
    if entries is None:
        raise DamagedStore("a record's index entries are damaged: run `atopdb verify`")
    return frozenset(entries)
