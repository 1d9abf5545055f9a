"""What is written in C finds and writes the same rows as Python does."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from berkeleydb import db
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import atop.engine.rows
from tests.nativeless import python_only

in_c = pytest.importorskip("atop.engine._native", reason="the C module is not built")

Row = tuple[bytes, bytes]
ID = 8
MOST = 1 << 20


in_python = python_only(atop.engine.rows)
assert in_python.scan is not in_c.scan


class Tables:
    """An environment with an index, which has record numbers, and items."""

    def __init__(self, folder: Path) -> None:
        self.environment = db.DBEnv()
        self.environment.set_cachesize(0, 8 << 20, 1)
        self.environment.open(
            str(folder), db.DB_CREATE | db.DB_PRIVATE | db.DB_THREAD | db.DB_INIT_MPOOL
            | db.DB_INIT_TXN | db.DB_INIT_LOG
        )
        self.index = self._table("index", db.DB_CHKSUM | db.DB_RECNUM)
        self.items = self._table("items", db.DB_CHKSUM)

    def _table(self, name: str, flags: int) -> Any:
        table = db.DB(self.environment)
        table.set_flags(flags)
        table.set_pagesize(4096)
        table.set_get_returns_none(2)
        table.open(name, dbtype=db.DB_BTREE,
                   flags=db.DB_CREATE | db.DB_AUTO_COMMIT | db.DB_THREAD)
        return table

    def fill(self, rows: ModuleType, index: dict[bytes, bytes], items: dict[bytes, bytes]) -> None:
        """Have these rows, put by the functions of that module, and no others."""
        self.index.truncate()
        self.items.truncate()
        txn = self.environment.txn_begin()
        for table, content in ((self.index, index), (self.items, items)):
            keys = sorted(content)
            rows.write_all(table, txn, keys, [(content[key], False) for key in keys], MOST)
        txn.commit()

    def close(self) -> None:
        self.index.close()
        self.items.close()
        self.environment.close()


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    made = Tables(tmp_path_factory.mktemp("tables"))
    yield made
    made.close()


keys = (
    st.binary(max_size=4)
    | st.binary(min_size=300, max_size=900)
    | st.integers(900, 9000).map(lambda size: b"%d" % size * (size // 4))
)
values = st.binary(max_size=20) | st.integers(0, 40_000).map(bytes)
bounds = st.none() | keys


@st.composite
def contents(draw: st.DrawFn) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Rows of an index, of which most end in the id of an item there is, and the items."""
    count = draw(st.integers(0, 5) | st.integers(20, 400))
    ids = [number.to_bytes(ID, "big") for number in range(1, count + 1)]
    heads = draw(st.lists(keys, min_size=count, max_size=count))
    index = dict.fromkeys(map(bytes.__add__, heads, ids), b"")
    records = draw(st.lists(values, min_size=1, max_size=5))
    items = {each: records[at % len(records)] for at, each in enumerate(ids) if at % 7 != 3}
    return index, items


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(content=contents(), data=st.data())
def test_any_range_has_the_same_rows(
    tables: Tables, content: tuple[dict[bytes, bytes], dict[bytes, bytes]], data: st.DataObject
) -> None:
    index, items = content
    tables.fill(in_c, index, items)
    assert in_c.scan(tables.items, None, None, 1 << 30, 0, False) == sorted(items.items())
    for _ in range(8):
        low, high = data.draw(bounds), data.draw(bounds)
        if low is not None and high is not None and low >= high:
            low, high = high, low + b"\0"
        limit = data.draw(st.integers(1, 5) | st.integers(6, 600) | st.just(1 << 30))
        skip = data.draw(st.integers(0, 5) | st.integers(6, 500) | st.just(1 << 30))
        for reverse in (False, True):
            within = low, high, limit, skip, reverse
            expected = in_python.scan(tables.index, *within)
            assert in_c.scan(tables.index, *within) == expected
            assert in_c.keys(tables.index, *within) == in_python.keys(tables.index, *within)
            assert in_c.keys(tables.index, *within) == [key for key, _ in expected]
            for known in ({}, {key[-ID:]: 1 for key, _ in expected[::2]}, frozenset(items)):
                assert in_c.join(tables.index, tables.items, *within, known) == in_python.join(
                    tables.index, tables.items, *within, known
                )
        counted = in_python.count(tables.index, low, high)
        assert in_c.count(tables.index, low, high) == counted
    asked = [*items, b"", b"not there", *index][:300]
    assert in_c.getmany(tables.items, asked) == in_python.getmany(tables.items, asked)
    assert [in_c.get(tables.items, each) for each in asked] == [
        in_python.get(tables.items, each) for each in asked
    ]


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(content=contents(), deleted=st.sets(st.integers(0, 400)))
def test_both_write_the_same(
    tables: Tables, content: tuple[dict[bytes, bytes], dict[bytes, bytes]], deleted: set[int]
) -> None:
    found: list[list[Row]] = []
    for rows in (in_python, in_c):
        tables.fill(rows, *content)
        txn = tables.environment.txn_begin()
        ordered = sorted(content[1])
        pairs = [(None if at in deleted else b"changed", True) for at in range(len(ordered))]
        rows.write_all(tables.items, txn, ordered, pairs, MOST)
        txn.commit()
        for table in (tables.index, tables.items):
            found.append(in_python.scan(table, None, None, 1 << 30, 0, False))
    assert found[:2] == found[2:]


def test_what_is_not_committed_is_not_there(tables: Tables) -> None:
    tables.fill(in_c, {}, {b"kept": b"1"})
    txn = tables.environment.txn_begin()
    in_c.write_all(tables.items, txn, [b"dropped", b"kept"], [(b"2", False), (b"2", True)], MOST)
    txn.abort()
    assert in_c.scan(tables.items, None, None, 9, 0, False) == [(b"kept", b"1")]


@pytest.mark.parametrize("step", [61, 509, 4099])
def test_keys_of_any_length_come_back(tables: Tables, step: int) -> None:
    """Berkeley DB has those of over a quarter of a page elsewhere, and reads them otherwise."""
    index = {b"%05d" % size * (size // 5) + bytes(ID): b"" for size in range(5, 20_000, step)}
    tables.fill(in_c, index, {})
    for limit in (1, 2, 7, 1 << 30):
        for low in (None, *sorted(index)[::20]):
            within = low, None, limit, 0
            for reverse in (False, True):
                assert in_c.scan(tables.index, *within, reverse) == in_python.scan(
                    tables.index, *within, reverse
                )
    assert in_c.count(tables.index, None, None) == len(index)


def large(size: int) -> bytes:
    return bytes(range(256)) * (size // 256)


def test_a_value_that_is_too_large_is_named(tables: Tables) -> None:
    tables.fill(in_c, {}, {})
    for rows in (in_python, in_c):
        with pytest.raises(OverflowError, match="11"):
            rows.write_all(tables.items, None, [b"a"], [(bytes(11), False)], 10)


@pytest.mark.parametrize("rows", [in_python, in_c])
def test_a_key_to_be_deleted_that_is_not_there_is_an_error(
    tables: Tables, rows: ModuleType
) -> None:
    tables.fill(in_c, {}, {b"a": b"1", b"c": b"3"})
    txn = tables.environment.txn_begin()
    with pytest.raises(db.DBNotFoundError):
        rows.write_all(tables.items, txn, [b"a", b"b"], [(None, True), (None, True)], MOST)
    txn.abort()
    assert in_c.scan(tables.items, None, None, 9, 0, False) == [(b"a", b"1"), (b"c", b"3")]


def test_large_records_come_back(tables: Tables) -> None:
    items = {number.to_bytes(ID, "big"): large(number << 18) for number in (1, 4)}
    index = {b"x" + key: large(1 << 18) for key in items}
    tables.fill(in_c, index, items)
    assert in_c.getmany(tables.items, list(items)) == list(items.values())
    assert [in_c.get(tables.items, key) for key in items] == list(items.values())
    assert in_c.scan(tables.index, None, None, 1, 0, False) == list(index.items())[:1]
    assert in_c.scan(tables.index, None, None, 9, 0, True) == list(index.items())[::-1]
    joined = in_c.join(tables.index, tables.items, None, None, 9, 0, False, {})
    assert joined == list(zip(index, items.values(), strict=True))


WRONG: dict[str, Callable[[Tables], object]] = {
    "no table": lambda tables: in_c.scan(1, None, None, 1, 0, False),
    "no index": lambda tables: in_c.keys(1, None, None, 1, 0, False),
    "no key": lambda tables: in_c.get(tables.items, "x"),
    "no keys": lambda tables: in_c.getmany(tables.items, [b"x", 1]),
    "no bound": lambda tables: in_c.count(tables.index, "a", None),
    "no transaction": lambda tables: in_c.write_all(tables.items, 1, [b"a"], [(b"b", False)], MOST),
    "no pairs": lambda tables: in_c.write_all(tables.items, None, [b"a"], [b"b"], MOST),
    "no value": lambda tables: in_c.write_all(tables.items, None, [b"a"], [("b", False)], MOST),
    "no container": lambda tables: in_c.join(
        tables.index, tables.items, None, None, 9, 0, False, 5
    ),
    "a key too few": lambda tables: in_c.write_all(tables.items, None, [], [(b"b", False)], MOST),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments_are_refused(tables: Tables, what: str) -> None:
    tables.fill(in_c, {b"x" + bytes(ID): b""}, {bytes(ID): b"1"})
    with pytest.raises((TypeError, ValueError)):
        WRONG[what](tables)


def test_errors_are_those_of_the_package(tables: Tables, tmp_path: Path) -> None:
    tables.fill(in_c, {}, {b"a": b"b"})
    with pytest.raises(db.DBInvalidArgError):  # there are no record numbers in it
        in_c.scan(tables.items, None, None, 5, 5, False)
    closed: Any = db.DB()
    closed.open(str(tmp_path / "closed"), dbtype=db.DB_BTREE, flags=db.DB_CREATE)
    closed.close()
    calls: list[Callable[[], object]] = [
        lambda: in_c.get(closed, b"a"),
        lambda: in_c.getmany(closed, [b"a"]),
        lambda: in_c.scan(closed, None, None, 1, 0, False),
        lambda: in_c.keys(closed, None, None, 1, 0, False),
        lambda: in_c.count(closed, None, None),
        lambda: in_c.write_all(closed, None, [b"a"], [(b"b", False)], MOST),
    ]
    for call in calls:
        with pytest.raises(db.DBError):
            call()


def test_the_end_of_the_log_is_where_the_next_record_comes(tables: Tables, tmp_path: Path) -> None:
    before = in_c.log_end(tables.environment)
    assert before == in_python.log_end(tables.environment)
    tables.fill(in_c, {}, {b"a": b"b"})
    assert before < in_c.log_end(tables.environment) == in_python.log_end(tables.environment)
    closed = db.DBEnv()
    closed.close()
    for wrong in (closed, 1):
        with pytest.raises((db.DBError, TypeError)):
            in_c.log_end(wrong)


def test_no_call_leaves_objects_behind(tables: Tables) -> None:
    ids = [number.to_bytes(ID, "big") for number in range(100)]
    tables.fill(in_c, dict.fromkeys([b"x" + each for each in ids], b""),
                dict.fromkeys(ids, large(5000)))

    def work() -> None:
        for reverse in (False, True):
            in_c.join(tables.index, tables.items, b"x", b"y", 50, 3, reverse, {ids[7]: 1})
            in_c.scan(tables.index, None, b"y", 50, 3, reverse)
            in_c.keys(tables.index, None, b"y", 50, 3, reverse)
        in_c.getmany(tables.items, [*ids, b"none"])
        in_c.get(tables.items, ids[0])
        for wrong in ("no keys", "no index", "no bound", "no pairs", "no container", "no table"):
            with pytest.raises((TypeError, ValueError)):
                WRONG[wrong](tables)

    work()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(100):
        work()
    gc.collect()
    assert sys.getallocatedblocks() - before < 100
