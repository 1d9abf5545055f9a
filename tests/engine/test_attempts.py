"""Optimistic commits, on every engine: on what is there by now, if what was read is still so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atop.engine import history
from atop.engine.base import (
    CATALOG,
    INDEX,
    ITEMS,
    TABLES,
    Changes,
    Commit,
    Engine,
    Landed,
    Range,
    State,
    next_state,
)
from atop.engine.lasting import Lasting
from atop.engine.optimism import Optimist, Recorder
from atop.engine.overlay import Nothing, Overlay
from atop.engine.reads import Reads
from atop.errors import (
    CommitInDoubt,
    StoreBusy,
    StoreUnreachable,
    TransactionLost,
    WriteConflict,
)
from tests.engine.steps import Keys, Puts, fill, ident, in_thread, index_key, put, rows


class Work:
    """An optimistic transaction of bytes."""

    def __init__(self, engine: Engine, timeout: float = 5) -> None:
        self.optimist = Optimist(engine, timeout)
        self.view = Overlay(self.optimist.view)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self.view.put(table, key, value, self.view.get(table, key) is not None)

    def commit_of(self, next_id: int = 0) -> Commit:
        state = next_state(self.optimist.state, next_id, self.view.totals())
        return Commit(state, self.view.changes())

    def commit(self, next_id: int = 0) -> Landed:
        self.optimist.apply(self.commit_of(next_id), durable=False)
        assert self.optimist.landed is not None
        return self.optimist.landed


def test_it_lands_on_what_others_have_committed(engine: Engine) -> None:
    fill(engine, range(3))
    work = Work(engine)
    work.put(ITEMS, ident(1), b"mine")
    work.put(CATALOG, b"new", b"")
    put(engine, {(ITEMS, ident(0)): b"theirs", (ITEMS, ident(7)): b"new"})
    put(engine, {(INDEX, index_key("z", 7)): b""})
    state, changed = work.commit()
    assert sorted(changed) == [ident(0), ident(7)]
    assert state == engine.state
    assert (state.serial, state.counts) == (4, {CATALOG: 1, INDEX: 4, ITEMS: 4})
    assert dict(rows(engine, ITEMS)) == {
        ident(0): b"theirs", ident(1): b"mine", ident(2): b"item 2", ident(7): b"new"
    }


def test_nothing_is_held_before_the_commit(engine: Engine) -> None:
    work = Work(engine)
    engine.writer(0).release()
    turn = engine.writer(0)
    waiting = Work(engine, timeout=0.05)
    for each in (work, waiting):
        each.put(ITEMS, b"a", b"1")
    with pytest.raises(StoreBusy):
        waiting.commit()
    turn.release()
    assert engine.state.serial == 0, "nothing of it is kept"
    assert work.commit().state.serial == 1


def test_it_waits_for_its_turn(engine: Engine) -> None:
    turn = engine.writer(0)
    work = Work(engine)
    work.put(ITEMS, b"a", b"1")
    timer = threading.Timer(0.1, turn.release)
    timer.start()
    assert work.commit().state.serial == 1
    timer.join()


READS: list[tuple[str, Callable[[Any], Any], Puts, Keys]] = [
    ("a row", lambda view: view.get(ITEMS, ident(1)), {(ITEMS, ident(1)): b"x"}, ()),
    ("no row", lambda view: view.get(ITEMS, ident(9)), {(ITEMS, ident(9)): b"x"}, ()),
    ("a row that goes", lambda view: view.get(ITEMS, ident(1)), {}, [(ITEMS, ident(1))]),
    ("rows", lambda view: view.getmany(ITEMS, [ident(1), ident(2)]), {(ITEMS, ident(2)): b""}, ()),
    ("a count", lambda view: view.count(b"k", b"k000001"), {(INDEX, index_key("k0", 5)): b""}, ()),
    ("all", lambda view: view.scan(ITEMS, Range()), {(ITEMS, ident(5)): b"x"}, ()),
    ("a page", lambda view: view.scan(INDEX, Range(b"k", None, 2)), {},
     [(INDEX, index_key("k000001", 1))]),
    ("keys", lambda view: view.keys(Range(b"k", None, 2)), {}, [(INDEX, index_key("k000001", 1))]),
    ("backwards", lambda view: view.scan(INDEX, Range(None, None, 1, 0, True)),
     {(INDEX, index_key("z", 1)): b""}, ()),
    ("skipped", lambda view: view.scan(INDEX, Range(None, None, 1, 1)), {},
     [(INDEX, index_key("k000000", 0))]),
    ("joined rows", lambda view: view.join(Range(b"k"), ()), {(ITEMS, ident(2)): b"x"}, ()),
    ("a join", lambda view: view.join(Range(b"k"), [ident(2)]),
     {(INDEX, index_key("k1", 5)): b""}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("read", "puts", "deletes"), [each[1:] for each in READS],
                         ids=[each[0] for each in READS])
def test_what_was_read_and_changed_since_conflicts(
    engine: Engine, read: Callable[[Any], Any], puts: Puts, deletes: Keys
) -> None:
    fill(engine, range(3))
    work = Work(engine)
    seen = read(work.view)
    work.put(CATALOG, b"mine", b"")
    put(engine, puts, deletes)
    assert read(work.view) == seen, "until then it sees what it saw"
    with pytest.raises(WriteConflict) as caught:
        work.commit()
    (changed,) = {(table, key) for table, key in [*puts, *deletes]}
    assert caught.value.ids == (int.from_bytes(changed[1][-8:], "big"),)
    assert rows(engine, CATALOG) == []


@pytest.mark.parametrize(("read", "puts", "deletes"), [
    (lambda view: view.scan(INDEX, Range(b"k", None, 2)), {}, [(INDEX, index_key("k000002", 2))]),
    (lambda view: view.keys(Range(b"k", None, 2)), {}, [(INDEX, index_key("k000002", 2))]),
    (lambda view: view.scan(INDEX, Range(None, None, 1, 0, True)), {},
     [(INDEX, index_key("k000001", 1))]),
    (lambda view: view.join(Range(b"k"), [ident(2)]), {(ITEMS, ident(2)): b"x"}, ()),
    (lambda view: view.count(b"a", b"k"), {(INDEX, index_key("k", 9)): b""}, ()),
    (lambda view: view.scan(ITEMS, Range(limit=0)), {(ITEMS, ident(1)): b"x"}, ()),
], ids=["behind the limit", "keys behind it", "before it", "known", "behind the range",
        "nothing"])  # fmt: skip
def test_what_was_not_read_does_not_conflict(
    engine: Engine, read: Callable[[Any], Any], puts: Puts, deletes: Keys
) -> None:
    fill(engine, range(3))
    work = Work(engine)
    read(work.view)
    work.put(CATALOG, b"mine", b"")
    put(engine, puts, deletes)
    work.commit()
    assert rows(engine, CATALOG) == [(b"mine", b"")]


def test_what_is_written_conflicts_though_it_was_not_read(engine: Engine) -> None:
    fill(engine, range(3))
    work = Work(engine)
    work.view.delete(ITEMS, ident(1))
    put(engine, {}, [(ITEMS, ident(1))])
    with pytest.raises(WriteConflict):
        work.commit()
    assert engine.state.counts[ITEMS] == 2


def test_an_id_that_is_taken_conflicts(engine: Engine) -> None:
    """One that was reserved with an owner that has gone, for one."""
    turn = engine.writer(1)
    state = next_state(turn.state, 8, {CATALOG: 0, INDEX: 0, ITEMS: 1})
    turn.apply(Commit(state, {ITEMS: [(ident(7), b"", False)]}), durable=False)
    work = Work(engine)
    for number in (5, 6, 7, 9):
        work.view.put(ITEMS, ident(number), b"new", False)
    with pytest.raises(WriteConflict) as caught:
        work.commit(10)
    assert caught.value.ids == (7,)
    assert engine.reserve(1) >= 8


def test_ids_that_are_committed_are_not_given_out(engine: Engine) -> None:
    work = Work(engine)
    work.view.put(ITEMS, ident(500), b"new", False)
    work.commit(501)
    assert engine.state.next_id == 501
    assert engine.reserve(1) >= 501
    again = Work(engine)
    again.put(CATALOG, b"k", b"")
    assert again.commit().state.next_id == 501


def test_reserved_ids_are_given_back(engine: Engine) -> None:
    first = engine.reserve(10)
    engine.give_back(first + 3, first + 10)
    assert engine.serial == 0
    assert engine.reserve(5) == first + 3
    engine.give_back(first, first + 3)
    assert engine.reserve(1) == first + 8, "others have been reserved since"


def test_it_is_not_known_what_very_old_work_has_read(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "KEPT_BYTES", 1000)
    fill(engine, range(3))
    work = Work(engine)
    work.put(CATALOG, b"mine", b"")
    if isinstance(engine, Lasting):
        pytest.skip("the owner in another process keeps more")
    for number in range(40):
        put(engine, {(ITEMS, b"a"): b"%d" % number * 100})
    with pytest.raises(WriteConflict, match="not known") as caught:
        work.commit()
    assert caught.value.ids == ()


def test_large_commits_land_too(engine: Engine) -> None:
    work = Work(engine)
    for number in range(45_000):
        work.view.put(ITEMS, ident(number), b"x" * 10, False)
    put(engine, {(CATALOG, b"theirs"): b""})
    assert work.commit(45_000).state.counts == {CATALOG: 1, INDEX: 0, ITEMS: 45_000}
    assert engine.get(ITEMS, ident(44_999))[1] == b"x" * 10


def test_attempts_of_many_threads_land_one_after_the_other(engine: Engine) -> None:
    def write(thread: int) -> None:
        for number in range(20):
            work = Work(engine)
            work.put(ITEMS, ident(thread * 100 + number), b"x")
            work.commit()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert engine.state.serial == engine.state.counts[ITEMS] == len(rows(engine, ITEMS)) == 80


# In doubt


def test_any_later_commit_is_found_by_its_token(engine: Engine) -> None:
    work = Work(engine)
    work.put(ITEMS, b"a", b"")
    commit = work.commit_of()
    put(engine, {(ITEMS, b"b"): b""})
    assert engine.outcome(commit.state.serial, commit.state.token) is False
    engine.attempt(commit, work.optimist.reads, durable=True, timeout=5)
    put(engine, {(ITEMS, b"c"): b""})
    assert engine.outcome(commit.state.serial, commit.state.token) is True
    assert engine.outcome(4, commit.state.token) is False
    assert engine.outcome(0, b"x" * 16) is None, "no row was ever kept of that"


class Faulty:
    """In place of an engine: each attempt does what was said."""

    def __init__(self, engine: Engine, *does: str) -> None:
        self._engine = engine
        self._does = list(does)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def attempt(self, *args: Any) -> Landed:
        what = self._does.pop(0)
        landed = self._engine.attempt(*args) if "apply" in what else None
        if "lose" in what:
            raise StoreUnreachable("the connection is lost")
        if "interrupt" in what:
            raise KeyboardInterrupt
        if "stay silent" in what:
            raise StoreBusy("no answer")
        assert landed is not None
        return landed

    def outcome(self, *args: Any) -> bool | None:
        if self._does and self._does[0] == "never come back":
            raise StoreUnreachable("nobody is there")
        return self._engine.outcome(*args)


@pytest.mark.parametrize(("does", "applied", "raised"), [
    (["apply"], True, None),
    (["apply and lose the answer"], True, None),
    (["apply and stay silent"], True, None),
    (["lose", "apply"], True, None),
    (["lose", "lose", "lose"], False, TransactionLost),
    (["stay silent"], False, StoreBusy),
    (["apply and interrupt"], True, KeyboardInterrupt),
    (["interrupt"], False, KeyboardInterrupt),
    (["lose", "never come back"], False, CommitInDoubt),
])  # fmt: skip
def test_whether_it_is_in_is_found_out(
    engine: Engine, does: list[str], applied: bool, raised: type[BaseException] | None
) -> None:
    faulty: Any = Faulty(engine, *does)
    work = Work(faulty)
    work.put(ITEMS, b"a", b"")
    if raised is None:
        work.optimist.apply(work.commit_of(), durable=False)
    else:
        with pytest.raises(raised):
            work.optimist.apply(work.commit_of(), durable=False)
    assert work.optimist.applied == applied
    assert engine.state.serial == applied


def test_a_conflict_after_a_lost_answer_is_none(engine: Engine) -> None:
    """It would be one with itself."""
    faulty: Any = Faulty(engine, "apply and lose the answer", "apply")
    work = Work(faulty)
    work.put(ITEMS, b"a", b"")
    work.optimist.apply(work.commit_of(), durable=False)
    assert engine.state.serial == 1


def test_a_child_that_was_forked_lets_all_be(engine: Engine) -> None:
    work = Work(engine)
    work.optimist.more_ids()
    work.optimist._process += 1
    with pytest.raises(TransactionLost, match="forked"):
        work.optimist.working()
    work.optimist.release()
    assert work.optimist._blocks
    work.optimist._process -= 1


def test_an_attempt_of_a_client_that_has_gone_leaves_the_line(engine: Engine) -> None:
    if not isinstance(engine, Lasting):
        pytest.skip("there is no client")
    turn = engine.writer(1)
    work = Work(engine, timeout=30)
    work.put(ITEMS, b"a", b"")
    commit = work.commit_of()
    waiting = threading.Thread(
        target=in_thread, args=(lambda: engine.attempt(commit, work.optimist.reads, False, 30),)
    )
    waiting.start()
    time.sleep(0.3)
    assert engine.outcome(1, commit.state.token) is False, "it waited, and does no longer"
    turn.release()
    put(engine, {(ITEMS, b"b"): b""})
    assert engine.get(ITEMS, b"a")[1] is None
    engine.close()
    waiting.join(30)


# What was read

keys = st.binary(max_size=2)
steps = st.lists(st.one_of(
    st.tuples(st.just("key"), keys),
    st.tuples(st.just("span"), st.none() | keys, st.none() | keys),
), max_size=12)  # fmt: skip


def reads_of(done: list[tuple[Any, ...]]) -> Reads:
    reads = Reads()
    for what, *where in done:
        if what == "key":
            reads.keys[INDEX].add(where[0])
        else:
            reads.span(INDEX, *where)
    return reads


def depends(reads: Reads, key: bytes) -> bool:
    commit = Commit(State(1), {})
    return list(reads._conflicts({INDEX: [key]}, commit)) != []


@given(steps, keys)
def test_reads_are_what_was_noted_and_nothing_else(done: list[tuple[Any, ...]], key: bytes) -> None:
    wanted = any(
        where[0] == key if what == "key"
        else (where[0] or b"") <= key and (where[1] is None or key < where[1])
        for what, *where in done
    )
    assert depends(reads_of(done), key) == wanted


@given(steps, keys, st.integers(8, 40))
def test_condensed_reads_are_at_least_these(
    done: list[tuple[Any, ...]], key: bytes, limit: int
) -> None:
    reads = reads_of(done)
    condensed = reads.condensed(limit)
    assert condensed._size <= max(limit, 6)
    assert depends(condensed, key) or not depends(reads, key)
    sent = Reads.of({table: list(condensed.keys[table]) for table in TABLES}, condensed.spans)
    assert depends(sent, key) == depends(condensed, key)


def test_a_walk_over_many_pages_is_one_span() -> None:
    reads = Reads()
    view = Recorder(Overlay(Nothing()), reads)
    below = Overlay(Nothing())
    for number in range(100):
        below.put(INDEX, index_key(f"k{number:06}", number), b"", False)
    view = Recorder(below, reads)
    rest = Range(b"k", b"l", 10)
    while page := view.scan(INDEX, rest):
        rest = rest.after(page[-1][0])
    assert reads.spans[INDEX] == [(b"k", b"l")]


def test_a_commit_keeps_its_note_and_files(engine: Engine) -> None:
    work = Work(engine)
    work.put(ITEMS, b"a", b"")
    commit = replace(work.commit_of(), note="moved", removed=[99])
    engine.attempt(commit, work.optimist.reads, durable=True, timeout=5)
    assert Changes.of(commit.changes[ITEMS]).keys == [b"a"]
