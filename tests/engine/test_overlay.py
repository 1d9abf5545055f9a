"""Overlays, savepoints and snapshots beside a plain dict that is sorted when it is asked."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atop.engine.base import INDEX, ITEMS, Engine, Range, Row, Turn, View
from atop.engine.differences import Differences
from atop.engine.filefolder import FileFolder
from atop.engine.folder import open_folder
from atop.engine.memory import MemoryEngine
from atop.engine.overlay import Nothing, Overlay
from atop.engine.present import Present, Snapshot
from tests.engine.steps import commit_of, ident

Content = dict[str, dict[bytes, bytes]]

PREFIXES = st.sampled_from([b"", b"a", b"ab", b"b", b"c", b"\xff"])
NUMBERS = st.integers(0, 5)
KEYS = st.builds(lambda prefix, number: prefix + ident(number), PREFIXES, NUMBERS)
BOUNDS = st.none() | KEYS | PREFIXES
VALUES = st.binary(max_size=3)


class Overlays(RuleBasedStateMachine):
    """A writer with savepoints, snapshots kept over commits; all read at random after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.engine: Engine = self.make()
        self.committed: Content = {INDEX: {}, ITEMS: {}}
        self.turn: Turn | None = None
        self.levels: list[tuple[Overlay, Content]] = []
        self.snapshots: list[tuple[Snapshot, Content]] = []

    def make(self) -> Engine:
        return MemoryEngine(FileFolder(None))

    @initialize(keys=st.sets(KEYS, max_size=30), items=st.sets(NUMBERS))
    def begin_with(self, keys: set[bytes], items: set[int]) -> None:
        self.begin()
        for key in keys:
            self.put_row(INDEX, key, b"")
        for number in items:
            self.put_row(ITEMS, ident(number), b"first")
        self.commit()

    @precondition(lambda self: self.turn is None)
    @rule()
    def begin(self) -> None:
        self.turn = self.engine.writer(1)
        self.levels = [(Overlay(Present(self.engine, self.engine.serial)), _copy(self.committed))]

    @precondition(lambda self: 0 < len(self.levels) < 4)
    @rule()
    def savepoint(self) -> None:
        overlay, content = self.levels[-1]
        self.levels.append((Overlay(overlay), _copy(content)))

    @precondition(lambda self: self.levels)
    @rule(key=KEYS, value=VALUES)
    def put_index(self, key: bytes, value: bytes) -> None:
        self.put_row(INDEX, key, value)

    @precondition(lambda self: self.levels)
    @rule(number=NUMBERS, value=VALUES)
    def put_item(self, number: int, value: bytes) -> None:
        self.put_row(ITEMS, ident(number), value)

    def put_row(self, table: str, key: bytes, value: bytes) -> None:
        overlay, content = self.levels[-1]
        overlay.put(table, key, value, key in content[table])
        content[table][key] = value

    @precondition(lambda self: self.levels and any(self.levels[-1][1].values()))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        overlay, content = self.levels[-1]
        table = data.draw(st.sampled_from([name for name in (INDEX, ITEMS) if content[name]]))
        key = data.draw(st.sampled_from(sorted(content[table])))
        overlay.delete(table, key)
        del content[table][key]

    @precondition(lambda self: len(self.levels) > 1)
    @rule(keep=st.booleans())
    def end_savepoint(self, keep: bool) -> None:
        above, content = self.levels.pop()
        if keep:
            self.levels[-1][0].merge(above)
            self.levels[-1] = (self.levels[-1][0], content)

    @precondition(lambda self: len(self.levels) == 1)
    @rule()
    def commit(self) -> None:
        assert self.turn is not None
        overlay, self.committed = self.levels.pop()
        commit = commit_of(self.turn.state, overlay)
        self.turn.apply(commit, False)
        self.turn = None
        for table in (INDEX, ITEMS):
            assert commit.state.counts[table] == len(self.committed[table])

    @precondition(lambda self: self.turn is not None)
    @rule()
    def abort(self) -> None:
        assert self.turn is not None
        self.turn.release()
        self.turn, self.levels = None, []

    @precondition(lambda self: len(self.snapshots) < 3)
    @rule()
    def snapshot(self) -> None:
        self.snapshots.append((Snapshot(self.engine), _copy(self.committed)))

    @precondition(lambda self: self.snapshots)
    @rule()
    def end_oldest_snapshot(self) -> None:
        self.snapshots.pop(0)

    @rule(
        low=BOUNDS,
        high=BOUNDS,
        limit=st.integers(0, 12),
        skip=st.integers(0, 12),
        reverse=st.booleans(),
        known=st.sets(NUMBERS),
        keys=st.lists(NUMBERS),
    )
    def read(
        self,
        low: bytes | None,
        high: bytes | None,
        limit: int,
        skip: int,
        reverse: bool,
        known: set[int],
        keys: list[int],
    ) -> None:
        within = Range(low, high, limit, skip, reverse)
        for view, content in self.views():
            found = view.scan(INDEX, within)
            expected = _range(content[INDEX], low, high)
            page = (expected[::-1] if reverse else expected)[skip : skip + limit]
            assert found == page
            assert view.keys(within) == [key for key, _ in page]
            assert view.count(low, high) == len(expected)
            items = _range(content[ITEMS], low, high)[:limit]
            assert view.scan(ITEMS, Range(low, high, limit)) == items
            ids = {ident(number) for number in known}
            assert view.join(within, ids) == [
                (key, None if key[-8:] in ids else content[ITEMS].get(key[-8:])) for key, _ in page
            ]
            wanted = [ident(number) for number in keys]
            assert view.getmany(ITEMS, wanted) == [content[ITEMS].get(key) for key in wanted]

    @invariant()
    def all_is_there(self) -> None:
        for view, content in self.views():
            assert view.scan(INDEX, Range()) == sorted(content[INDEX].items())
            assert view.scan(ITEMS, Range()) == sorted(content[ITEMS].items())
            for key in (*content[INDEX], b"none"):
                assert view.get(INDEX, key) == content[INDEX].get(key)

    def views(self) -> list[tuple[View, Content]]:
        present: tuple[View, Content] = (Present(self.engine, self.engine.serial), self.committed)
        return [present, *self.levels, *self.snapshots]

    def teardown(self) -> None:
        self.engine.close()


class OverlaysOnBerkeleyDB(Overlays):
    def make(self) -> Engine:
        self.temporary = tempfile.TemporaryDirectory()
        path = Path(self.temporary.name) / "model.atop"
        self.folder = open_folder(path, read_only=False, cache_bytes=1 << 20)
        return self.folder.engine

    def teardown(self) -> None:
        if self.turn is not None:
            self.turn.release()
        self.folder.close()
        self.temporary.cleanup()


def _copy(content: Content) -> Content:
    return {table: dict(rows) for table, rows in content.items()}


def _range(rows: dict[bytes, bytes], low: bytes | None, high: bytes | None) -> list[Row]:
    return [
        (key, rows[key])
        for key in sorted(rows)
        if (low is None or key >= low) and (high is None or key < high)
    ]


_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

TestOverlaysInMemory = Overlays.TestCase
TestOverlaysInMemory.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=_SLOW
)
TestOverlaysOnBerkeleyDB = OverlaysOnBerkeleyDB.TestCase
TestOverlaysOnBerkeleyDB.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=_SLOW
)


class Plain:
    """The same as Differences, without any cleverness."""

    def __init__(self) -> None:
        self.entries: dict[bytes, tuple[bytes | None, bool]] = {}

    def change(self, key: bytes, value: bytes | None, existed: bool) -> None:
        below = self.entries[key][1] if key in self.entries else existed
        self.entries[key] = (value, below)
        if self.entries[key] == (None, False):
            del self.entries[key]

    def effect(self, low: bytes | None, high: bytes | None) -> int:
        return sum(
            (value is not None) - existed
            for key, (value, existed) in self.entries.items()
            if (low is None or key >= low) and (high is None or key < high)
        )


def _check(found: Differences, plain: Plain, chance: random.Random) -> None:
    for _ in range(20):
        low, high = (chance.choice([None, _key(chance)]) for _ in "lh")
        assert found.effect(low, high) == plain.effect(low, high), f"{low!r} to {high!r}"
        inside = [
            (key, plain.entries[key][0])
            for key in sorted(plain.entries)
            if (low is None or key >= low) and (high is None or key < high)
        ]
        assert list(found.walk(low, high)) == inside
        if low is None or high is None or low < high:
            assert list(found.keys(low, high)) == [key for key, _ in inside]
    assert found.total() == plain.effect(None, None)


def _key(chance: random.Random) -> bytes:
    return b"%06d" % chance.randrange(20_000)


@pytest.mark.parametrize("step", [1, 40, 3000])
def test_differences_keep_their_order_and_sums_as_they_grow_and_shrink(step: int) -> None:
    """Changed one at a time chunks split and empty; many at a time they are built anew."""
    chance = random.Random(step)
    found, plain = Differences(), Plain()
    for _ in range(6000):
        key, existed = _key(chance), chance.random() < 0.3
        found.change(key, b"1", existed)
        plain.change(key, b"1", existed)
    _check(found, plain, chance)
    for growing in (True, False):
        for number in range(3000):
            key = _key(chance) if growing else chance.choice(list(plain.entries))
            value = b"%d" % number if growing else None
            existed = plain.entries[key][0] is not None if key in plain.entries else not growing
            found.change(key, value, existed)
            plain.change(key, value, existed)
            if number % step == 0:
                found.effect(None, None)
            if number % 1000 == 0:
                _check(found, plain, chance)
        _check(found, plain, chance)


def test_differences_that_all_go_leave_nothing() -> None:
    found = Differences()
    keys = [b"%06d" % number for number in range(2500)]
    for key in keys:
        found.change(key, b"1", False)
    assert found.effect(None, None) == 2500
    for key in keys:
        found.change(key, None, True)
        assert found.effect(key, None) == found.effect(None, None)
    assert list(found.walk(None, None)) == []
    assert (found.entries, found.total(), list(found.sorted())) == ({}, 0, [])


def test_a_changed_value_does_not_change_a_count() -> None:
    overlay = Overlay(Nothing())
    overlay.put(INDEX, b"a", b"1", False)
    overlay.put(INDEX, b"a", b"2", True)
    assert overlay.count(None, None) == 1
    assert list(overlay.changes()[INDEX]) == [(b"a", b"2", False)]


def test_an_order_that_an_interrupt_left_half_made_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Differences()
    for number in range(1000):
        found.change(b"%06d" % number, b"1", False)
    assert found.effect(None, None) == 1000
    found.change(b"0000005", b"1", False)
    with monkeypatch.context() as patched:
        patched.setattr(Differences, "_refresh", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            found.effect(None, None)
    assert found.effect(None, None) == 1001
    assert [key for key, _ in found.walk(b"000000", b"000002")] == [
        b"000000", b"0000005", b"000001"
    ]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_draining_hands_over_what_was_changed_and_leaves_nothing() -> None:
    overlay = Overlay(Nothing())
    overlay.put(ITEMS, b"b", b"2", False)
    overlay.put(ITEMS, b"a", b"1", False)
    assert overlay.size > 0
    assert list(overlay.drain()[ITEMS]) == [(b"a", b"1", False), (b"b", b"2", False)]
    assert overlay.size == 0
    assert overlay.changes() == {}
