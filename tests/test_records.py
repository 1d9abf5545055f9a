"""What may be stored and loaded: plain values, items, and what the program allows."""

from __future__ import annotations

import builtins
import collections
import ctypes
import datetime
import decimal
import enum
import fractions
import io
import ipaddress
import os
import pathlib
import pickle
import threading
import types
import uuid
import zoneinfo
from array import array
from collections.abc import Callable
from typing import Any

import pytest

from atop import Item, Store
from atop.engine.base import Range
from atop.errors import DamagedStore, NotLoadable, NotStorable
from atop.records import Allowed, loader
from tests.conftest import elsewhere, stored


class Thing(Item):
    """Any attributes."""


class Color(enum.Enum):
    """For ``allow``."""

    RED = 1


class Money:
    """For ``allow``."""

    def __init__(self, amount: int) -> None:
        self.amount = amount

    class Nested:
        """Not allowed by allowing the class around it."""


def load(pickled: bytes, *allow: type) -> Any:
    return loader(Allowed(allow), lambda reference: Item())(pickled)


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("function", [
    os.system, builtins.eval, builtins.exec, builtins.getattr, builtins.__import__, builtins.open,
    builtins.compile, pickle.loads, io.FileIO, type,
    threading.Thread, Money, Color, Store, pathlib.Path,
], ids=repr)  # fmt: skip
def test_a_record_that_names_anything_else_is_not_loaded(function: Any) -> None:
    pickled = pickle.dumps({"x": Calls(function, "true")}, 4)
    with pytest.raises(NotLoadable, match=r"may not be loaded"):
        load(pickled)


@pytest.mark.parametrize("name", [
    "list.__class__", "dict.__subclasses__", "dict.fromkeys", "str.format", "object.__subclasses__",
    "OrderedDict.__init__.__globals__", "bytes.fromhex", "getattr", "list.append",
])  # fmt: skip
@pytest.mark.parametrize("module", ["builtins", "collections", "tests.test_records", "os", "atop"])
def test_a_dotted_name_leads_nowhere(module: str, name: str) -> None:
    names = b"".join(b"\x8c" + bytes([len(each)]) + each.encode() for each in (module, name))
    pickled = b"\x80\x04}\x8c\x01x" + names + b"\x93s."
    with pytest.raises(NotLoadable, match=r"may not be loaded"):
        load(pickled)


def framed(size: int, opcodes: bytes) -> bytes:
    return b"\x80\x05\x95" + size.to_bytes(8, "little") + opcodes


class Grown(Item):
    """An item that a record must not reach."""

    by: bytes | None = None

    def extend(self, values: Any) -> None:
        Grown.by = bytes(values)

    def append(self, value: Any) -> None:
        Grown.by = bytes([value])


@pytest.mark.parametrize("size", [*range(48), 2**32, 2**63])
def test_a_frame_hides_no_opcodes(size: int) -> None:
    """An unpickler drops the rest of a frame where an opcode crosses its end, and reads on."""
    hidden = b"}\x8c\x01aK\x01K\x01\x86QK\x07as."
    opcodes = b"}\x8c\x14" + b"A" * 20 + b"X" + len(hidden).to_bytes(4, "little") + hidden + b"s."
    try:
        state = loader(Allowed(), lambda _: Grown())(framed(size, opcodes))
    except DamagedStore:
        state = {}
    assert Grown.by is None
    assert "a" not in state


@pytest.mark.parametrize("size", [*range(60), 2**32, 2**63])
def test_plain_values_in_a_frame_of_any_size_are_loaded_or_refused(size: int) -> None:
    plain = {"name": "Bob", "n": 1000, "born": datetime.date(1970, 1, 2)}
    opcodes = pickle.dumps(plain, 5)[11:]
    if size == len(opcodes):
        assert load(framed(size, opcodes)) == plain
        return
    try:
        assert load(framed(size, opcodes)) == plain
    except DamagedStore:
        return


def test_a_record_of_many_frames_is_loaded() -> None:
    long = {str(number): number for number in range(50_000)} | {"body": "x" * 70_000, "z": [1, 1j]}
    pickled = pickle.dumps(long, 5)
    assert pickled.count(b"\x95") > 5
    assert load(pickled) == long


def test_allow_allows_exactly_what_it_names(open_store: Callable[..., Store]) -> None:
    store = open_store(allow=[Money, Color])
    with store.transaction():
        item = store.add(Thing(price=Money(5), color=Color.RED))
        number = item.id
    assert stored(item)["price"].amount == 5
    assert stored(item)["color"] is Color.RED
    with pytest.raises(NotStorable, match=r"Nested"), store.transaction():
        item.x = Money.Nested()
    store.close()
    strict = open_store()
    with pytest.raises(NotLoadable, match=r"Money.*allow"):
        strict.getItemByID(number)
    with pytest.raises(NotLoadable, match="allow"):
        load(pickle.dumps({"x": Money.Nested}, 4), Money)
    with pytest.raises(NotLoadable, match="classes"):
        Store(allow=[os.system])  # type: ignore[list-item]
    strict.close()
    again = open_store(allow=[Money, Color])
    assert again.getItemByID(number).price.amount == 5
    with again.transaction():
        again.delete(again.getItemByID(number))


def _generator() -> Any:
    yield 1


class Rude:
    """Cannot be pickled, and says so in its own way."""

    def __reduce__(self) -> Any:
        raise ZeroDivisionError


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


def _local() -> Any:
    class Local:
        """Nobody can import it."""

    return Local()


@pytest.mark.parametrize("make", [
    lambda: lambda: None, lambda: io.BytesIO(), lambda: _generator(), threading.Lock, _local,
    lambda: os.system, lambda: len, lambda: "".join, lambda: os, lambda: object(), lambda: Money,
    lambda: Money(1), lambda: Color.RED, lambda: ctypes.c_char_p(b"x"), Rude, _deep,
    lambda: memoryview(b"x"), lambda: iter([]), lambda: {1: [lambda: None]},
    lambda: collections.defaultdict(lambda: 1), lambda: {}.keys(), lambda: ValueError("x"),
    lambda: io.StringIO, lambda: Item, lambda: type,
])  # fmt: skip
@pytest.mark.parametrize("how", ["added", "set", "in place"])
def test_what_could_not_be_loaded_again_is_refused(
    memory: Store, make: Callable[[], Any], how: str
) -> None:
    with memory.transaction():
        item = memory.add(Thing(good=1, held=[]))
    record = memory.engine.scan("items", Range())[1]
    with pytest.raises(NotStorable, match=r"(bad|held).*Thing \d|Thing \d.*nested") as caught:
        with memory.transaction():
            if how == "added":
                memory.add(Thing(good=1, bad=make()))
            elif how == "set":
                item.bad = make()
            else:
                item.held.append(make())
    assert isinstance(caught.value.item, Thing)
    assert memory.engine.scan("items", Range())[1] == record
    assert vars(item) == {"good": 1, "held": []}
    with memory.transaction():
        item.good = 2
    assert stored(item) == {"good": 2, "held": []}


VALUES = [
    None, True, -(10**50), 1.5, float("inf"), 1 + 2j, "é\0", "\ud800\udfff", b"\0\xff", "x" * 10**6,
    bytearray(b"x"), (1, (2,)), [1, [2]], {1: {2: 3}}, {1, 2}, frozenset({1}), range(1, 9, 2),
    slice(1, 2), collections.OrderedDict(b=1, a=2), collections.deque([1, 2], maxlen=5),
    collections.defaultdict(list, a=[1]), collections.Counter("aab"), datetime.date(2020, 1, 2),
    datetime.datetime(2020, 1, 2, 3, 4, 5, 6), datetime.time(1, 2, fold=1),
    datetime.timedelta(1, 2),
    datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2), "X")),
    datetime.datetime(2020, 7, 1, tzinfo=zoneinfo.ZoneInfo("UTC")), datetime.UTC,
    zoneinfo.ZoneInfo("UTC"), decimal.Decimal("1.20"), fractions.Fraction(1, 3), uuid.uuid4(),
    ipaddress.ip_address("::1"), ipaddress.ip_address("127.0.0.1"),
    ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::/8"), pathlib.PurePosixPath("/a/b"),
    pathlib.PureWindowsPath("c:/x"), pathlib.Path("/x"), types.SimpleNamespace(x=[1]),
    array("d", [1.5]), {"\ud800": "\ud800"}, {None: 1, (1, 2): 2, b"x": 3},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=[str(at) for at in range(len(VALUES))])
def test_a_standard_value_comes_back_as_it_was(memory: Store, value: Any) -> None:
    with memory.transaction():
        item = memory.add(Thing(value=value, many=[value, {"k": (value,)}]))
    again = stored(item)
    assert again["value"] == value
    assert repr(again["value"]) == repr(value)
    assert again["many"] == [value, {"k": (value,)}]
    if not isinstance(value, (list, dict, set)):
        assert type(again["value"]) is type(value)
    elif again["value"]:
        assert isinstance(again["value"], type(value))


def test_ellipsis_is_stored_or_refused_but_never_lost(store: Store) -> None:
    try:
        with store.transaction():
            item = store.add(Thing(value=..., more=[NotImplemented]))
    except NotStorable:
        assert len(store) == 0
    else:
        assert stored(item) == {"value": ..., "more": [NotImplemented]}


def test_shared_and_cyclic_values_keep_their_shape(store: Store) -> None:
    shared: list[Any] = [1]
    loop: dict[str, Any] = {"shared": shared}
    loop["self"] = loop
    with store.transaction():
        item = store.add(Thing(one=shared, two={"x": shared}, loop=loop))

    def look() -> None:
        again = store.getItemByID(item.id)
        assert again.one is again.two["x"] is again.loop["shared"]
        assert again.loop["self"] is again.loop
        with store.transaction():
            again.two["x"].append(2)

    elsewhere(look)
    with store.snapshot():
        assert item.one == item.two["x"] == item.loop["shared"] == [1, 2]
    assert stored(item)["loop"]["shared"] == [1, 2]


def test_a_getstate_that_gives_no_dict_is_refused(store: Store) -> None:
    with pytest.raises(NotStorable, match="Odd"), store.transaction():
        store.add(Odd(x=1))
    assert len(store) == 0


class Odd(Item):
    """Its state is no dict."""

    def __getstate__(self) -> Any:
        return (1, 2)
