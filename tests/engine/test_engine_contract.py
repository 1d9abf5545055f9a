"""What every engine does. A new engine is one more line in conftest.py's KINDS."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product

import pytest

from atop.engine import history
from atop.engine.base import (
    CATALOG,
    INDEX,
    ITEMS,
    Commit,
    Delta,
    Difference,
    Engine,
    Range,
    next_state,
)
from atop.engine.link import Link
from atop.engine.present import Snapshot
from atop.errors import (
    DamagedStore,
    SnapshotTooOld,
    StoreBusy,
    StoreClosed,
    TransactionLost,
    ValueRefused,
)
from tests.engine.steps import (
    apply,
    changed,
    commit_of,
    fill,
    ident,
    in_thread,
    index_key,
    put,
    rows,
)

KEYS = [index_key(f"k{number:06}", number) for number in range(10)]


def test_a_new_store_is_empty(engine: Engine) -> None:
    assert engine.get(ITEMS, ident(1)) == (0, None)
    assert engine.scan(INDEX, Range()) == (0, [])
    assert engine.scan(INDEX, Range(limit=10, skip=3, reverse=True)) == (0, [])
    assert engine.count(None, None) == (0, 0)
    assert engine.join(Range(), ()) == (0, [])
    assert engine.commits(0) == []
    assert (engine.state.serial, engine.state.next_id) == (0, 1)
    assert engine.state.counts == {CATALOG: 0, INDEX: 0, ITEMS: 0}


def test_every_read_tells_the_serial_at_which_it_holds(engine: Engine) -> None:
    fill(engine, range(3))
    put(engine, {(CATALOG, b"x"): b"1"})
    assert engine.get(CATALOG, b"x") == (2, b"1")
    assert engine.getmany(ITEMS, [ident(0)])[0] == 2
    assert engine.scan(INDEX, Range(limit=1))[0] == 2
    assert engine.count(None, None)[0] == 2
    assert engine.join(Range(limit=1), ())[0] == 2


def test_getmany_keeps_the_order_and_tells_what_is_missing(engine: Engine) -> None:
    fill(engine, range(3))
    wanted = [ident(2), ident(7), ident(0), ident(2)]
    assert engine.getmany(ITEMS, wanted)[1] == [b"item 2", None, b"item 0", b"item 2"]
    assert engine.getmany(ITEMS, [])[1] == []


def test_an_empty_value_is_a_value(engine: Engine) -> None:
    put(engine, {(CATALOG, b"empty"): b"", (CATALOG, b""): b"empty key"})
    assert engine.get(CATALOG, b"empty")[1] == b"", "an empty value was read as none"
    assert engine.get(CATALOG, b"")[1] == b"empty key"


def test_ranges_are_half_open_and_pages_cut_at_every_edge(engine: Engine) -> None:
    fill(engine, range(10))
    bounds = [None, KEYS[0], KEYS[3], KEYS[3] + b"\0", KEYS[9], KEYS[9] + b"\0", b"", b"z"]
    for low, high in product(bounds, bounds):
        expected = [
            (key, b"")
            for key in KEYS
            if (low is None or key >= low) and (high is None or key < high)
        ]
        assert engine.count(low, high)[1] == len(expected), f"count of {low!r} to {high!r}"
        for limit, skip, reverse in product((0, 1, 3, 100), (0, 1, 9, 10, 11), (False, True)):
            page = (expected[::-1] if reverse else expected)[skip : skip + limit]
            within = Range(low, high, limit, skip, reverse)
            assert engine.scan(INDEX, within)[1] == page, within
            assert engine.keys(within)[1] == [key for key, _ in page], within


def test_a_join_brings_the_items_that_are_not_known(engine: Engine) -> None:
    fill(engine, range(5))
    put(engine, {}, [(ITEMS, ident(3))])
    joined = engine.join(Range(low=KEYS[1], limit=3), {ident(2)})[1]
    assert joined == [(KEYS[1], b"item 1"), (KEYS[2], None), (KEYS[3], None)]
    backwards = engine.join(Range(limit=2, skip=1, reverse=True), ())[1]
    assert backwards == [(KEYS[3], None), (KEYS[2], b"item 2")]


def test_a_join_asks_once_for_each_item_whether_it_is_known(engine: Engine) -> None:
    class Forgetful:
        """As a cache of weak references is: what it knew it may not know any more."""

        def __init__(self) -> None:
            self.asked: set[object] = set()

        def __contains__(self, key: object) -> bool:
            new = key not in self.asked
            self.asked.add(key)
            return new and key == ident(1)

    fill(engine, range(3))
    joined = engine.join(Range(), Forgetful())[1]
    assert joined == [(KEYS[0], b"item 0"), (KEYS[1], None), (KEYS[2], b"item 2")]


def test_commits_tell_what_was_before(engine: Engine) -> None:
    put(engine, {(ITEMS, b"a"): b"1", (ITEMS, b"b"): b"1"})
    put(engine, {(ITEMS, b"a"): b"2", (ITEMS, b"c"): b"2"}, [(ITEMS, b"b")])
    deltas = engine.commits(0)
    assert [delta.serial for delta in deltas] == [1, 2]
    assert _images(deltas[1]) == [(b"a", b"1", True), (b"b", b"1", False), (b"c", None, True)]
    assert engine.commits(1) == deltas[1:]
    assert engine.commits(2) == []


def _images(delta: Delta) -> list[tuple[bytes, bytes | None, bool]]:
    assert delta.before is not None
    return delta.before[ITEMS]


def test_the_state_is_what_the_last_commit_left(engine: Engine) -> None:
    fill(engine, range(5))
    turn = engine.writer(1)
    commit = commit_of(turn.state, changed(engine, {}, [(ITEMS, ident(4))]), next_id=77)
    turn.apply(commit, durable=True)
    assert engine.state == replace(commit.state, time=engine.state.time)
    assert engine.state.next_id == 77
    assert engine.state.counts == {CATALOG: 0, INDEX: 5, ITEMS: 4}


def test_a_commit_of_nothing_is_a_commit(engine: Engine) -> None:
    put(engine, {}, durable=True)
    assert engine.state.serial == 1
    assert [delta.serial for delta in engine.commits(0)] == [1]


def test_whether_a_commit_is_in_is_told_by_its_token(engine: Engine) -> None:
    fill(engine, range(3))
    mine = engine.state
    assert engine.outcome(mine.serial, mine.token) is True
    assert engine.outcome(mine.serial, bytes(16)) is False, "that serial is another's commit"
    put(engine, {(CATALOG, b"x"): b"1"})
    assert engine.outcome(mine.serial, mine.token) is True
    assert engine.outcome(mine.serial + 1, mine.token) is False, "it was before"


def test_applied_tells_that_the_commit_is_in(engine: Engine) -> None:
    turn = engine.writer(1)
    assert not turn.applied
    apply(turn, changed(engine, {(ITEMS, b"a"): b"1"}))
    assert turn.applied
    turn.release()
    assert turn.applied, "a release after the commit changes nothing"


def test_a_write_that_fails_in_the_middle_leaves_all_as_it_was(engine: Engine) -> None:
    fill(engine, range(5))
    before = rows(engine), rows(engine, ITEMS), engine.state
    turn = engine.writer(1)
    commit = Commit(
        next_state(turn.state, 9, dict(turn.state.counts)),
        {INDEX: [(b"a", b"", False)], ITEMS: [(b"a", b"1", False), (b"lost", b"2", True)]},
    )
    with pytest.raises((DamagedStore, ValueRefused), match=r"lost|not there"):
        turn.apply(commit, durable=True)
    assert not turn.applied
    assert (rows(engine), rows(engine, ITEMS), engine.state) == before
    fill(engine, range(5, 6))
    assert engine.count(None, None)[1] == 6, "the next transaction works"


def test_an_interrupt_in_the_middle_of_a_write_leaves_all_as_it_was(engine: Engine) -> None:
    class Interrupting(list[Difference]):
        """A list that Ctrl-C meets when it is walked through for the `nth` time."""

        def __init__(self, nth: int) -> None:
            self.left = nth

        def __iter__(self) -> Iterator[Difference]:
            self.left -= 1
            yield (b"new", b"1", False)
            if not self.left:
                raise KeyboardInterrupt

    for nth in (1, 2):
        turn = engine.writer(1)
        changes: dict[str, list[Difference]] = {ITEMS: Interrupting(nth)}
        with suppress(KeyboardInterrupt):
            turn.apply(Commit(next_state(turn.state, 9, dict(turn.state.counts)), changes), False)
        seen = engine.get(ITEMS, b"new")[1]
        assert turn.applied == (seen is not None), "half of a transaction is seen"
        assert in_thread(lambda: engine.writer(1).release()) is None, "the turn is still held"


def test_what_was_spilled_is_committed_with_the_rest(engine: Engine) -> None:
    fill(engine, range(3))
    turn = engine.writer(1)
    if not turn.can_spill:
        turn.release()
        pytest.skip("this engine has nothing to spill to")
    state = turn.state
    overlay = changed(engine, {(ITEMS, b"early"): b"1"}, [(INDEX, KEYS[0])])
    counts = overlay.totals()
    turn.spill(overlay.drain())
    assert overlay.get(ITEMS, b"early") == b"1", "the writer sees what it spilled"
    assert overlay.count(None, None) == 2
    overlay.put(ITEMS, b"late", b"2", False)
    totals = {name: state.counts[name] + counts[name] + more
              for name, more in overlay.totals().items()}
    turn.apply(Commit(next_state(state, 9, totals), overlay.changes()), durable=True)
    assert engine.getmany(ITEMS, [b"early", b"late"])[1] == [b"1", b"2"]
    assert engine.state.counts == {CATALOG: 0, INDEX: 2, ITEMS: 5}
    assert engine.count(None, None)[1] == 2


def test_what_was_spilled_is_undone_by_a_release(engine: Engine) -> None:
    fill(engine, range(3))
    before = rows(engine), rows(engine, ITEMS), engine.state
    turn = engine.writer(1)
    if not turn.can_spill:
        turn.release()
        pytest.skip("this engine has nothing to spill to")
    turn.spill(changed(engine, {(ITEMS, b"early"): b"1"}, [(INDEX, KEYS[0])]).changes())
    turn.release()
    assert (rows(engine), rows(engine, ITEMS), engine.state) == before
    assert in_thread(lambda: rows(engine)) == before[0], "readers go on after the release"


def test_what_was_spilled_is_undone_when_the_rest_fails(engine: Engine) -> None:
    fill(engine, range(3))
    before = rows(engine), rows(engine, ITEMS), engine.state
    turn = engine.writer(1)
    if not turn.can_spill:
        turn.release()
        pytest.skip("this engine has nothing to spill to")
    turn.spill({ITEMS: [(b"early", b"1", False)]})
    lost = Commit(next_state(turn.state, 9, before[2].counts), {ITEMS: [(b"lost", None, True)]})
    with pytest.raises(DamagedStore, match="lost"):
        turn.apply(lost, durable=False)
    assert not turn.applied
    assert (rows(engine), rows(engine, ITEMS), engine.state) == before
    assert in_thread(lambda: engine.writer(1).release()) is None, "the turn is still held"


def test_a_spill_that_fails_ends_the_transaction(engine: Engine) -> None:
    turn = engine.writer(1)
    if not turn.can_spill:
        turn.release()
        pytest.skip("this engine has nothing to spill to")
    turn.spill({ITEMS: [(b"early", b"1", False)]})
    with pytest.raises(DamagedStore):
        turn.spill({ITEMS: [(b"more", b"1", False), (b"lost", None, True)]})
    assert engine.getmany(ITEMS, [b"early", b"more"])[1] == [None, None]
    assert in_thread(lambda: engine.writer(1).release()) is None, "the turn is still held"


def test_a_writer_waits_for_its_turn_and_is_told_who_has_it(engine: Engine) -> None:
    turn = engine.writer(1)
    with pytest.raises(StoreBusy, match=f"process {os.getpid()}") as caught:
        engine.writer(0.05)
    assert caught.value.pid == os.getpid()
    waiting = threading.Thread(target=lambda: engine.writer(30).release())
    waiting.start()
    turn.release()
    waiting.join(10)
    assert not waiting.is_alive(), "the turn was given up, and nobody got it"


def test_the_turn_is_over_after_a_commit_and_releasing_twice_is_harmless(engine: Engine) -> None:
    turn = engine.writer(1)
    apply(turn, changed(engine, {}))
    other = engine.writer(0)
    turn.release()
    with pytest.raises(StoreBusy):
        engine.writer(0)
    other.release()
    engine.writer(0).release()


def test_a_turn_that_is_forgotten_is_over(engine: Engine) -> None:
    def begin() -> None:
        turn = engine.writer(1)
        if turn.can_spill:
            turn.spill({ITEMS: [(b"early", b"1", False)]})

    begin()
    gc.collect()
    assert engine.get(ITEMS, b"early")[1] is None
    assert in_thread(lambda: engine.writer(0).release()) is None


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, -1.0])
def test_any_timeout_will_do(engine: Engine, timeout: float) -> None:
    engine.writer(timeout).release()
    assert engine.state.serial == 0


def test_a_snapshot_sees_its_moment_whatever_is_committed(engine: Engine) -> None:
    fill(engine, range(10))
    snapshot = Snapshot(engine)
    put(engine, {(ITEMS, ident(1)): b"new"}, [(INDEX, KEYS[0])])
    put(engine, {(INDEX, index_key("k000004x", 4)): b""}, [(INDEX, KEYS[9]), (ITEMS, ident(9))])
    assert snapshot.scan(INDEX, Range()) == [(key, b"") for key in KEYS]
    assert snapshot.count(KEYS[2], None) == 8
    assert snapshot.getmany(ITEMS, [ident(1), ident(9)]) == [b"item 1", b"item 9"]
    backwards = Range(limit=2, skip=1, reverse=True)
    assert snapshot.scan(INDEX, backwards) == [(KEYS[8], b""), (KEYS[7], b"")]
    assert snapshot.keys(backwards) == [KEYS[8], KEYS[7]]


def test_a_snapshot_that_fell_behind_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _keep_little(engine, monkeypatch)
    put(engine, {(ITEMS, b"a"): b"1"})
    snapshot = Snapshot(engine)
    for number in range(40):
        put(engine, {(ITEMS, b"a"): b"%d" % number * 100})
    with pytest.raises(SnapshotTooOld):
        snapshot.get(ITEMS, b"a")
    with pytest.raises(SnapshotTooOld):
        engine.commits(0)
    assert engine.commits(39)[-1].serial == 41, "the latest commits are kept"
    assert Snapshot(engine).get(ITEMS, b"a") == b"39" * 100


def test_a_commit_too_large_to_keep_ends_older_snapshots(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _keep_little(engine, monkeypatch)
    put(engine, {(ITEMS, b"a"): b"1" * 2000})
    snapshot = Snapshot(engine)
    put(engine, {(ITEMS, b"a"): b"2"})
    with pytest.raises(SnapshotTooOld):
        snapshot.get(ITEMS, b"a")
    assert Snapshot(engine).get(ITEMS, b"a") == b"2"


def _keep_little(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(engine, Link):
        pytest.skip("the owner keeps what was before, in its process")
    monkeypatch.setattr(history, "KEPT_BYTES", 1000)


def test_after_close_every_call_says_so(engine: Engine) -> None:
    turn = engine.writer(1)
    commit = commit_of(turn.state, changed(engine, {(ITEMS, b"a"): b"1"}))
    engine.close()
    engine.close()
    with pytest.raises((StoreClosed, TransactionLost)):
        turn.apply(commit, durable=True)
    assert not turn.applied
    for call in (
        lambda: engine.state,
        lambda: engine.get(ITEMS, b"a"),
        lambda: engine.getmany(ITEMS, [b"a"]),
        lambda: engine.scan(INDEX, Range(limit=1)),
        lambda: engine.count(None, None),
        lambda: engine.join(Range(limit=1), ()),
        lambda: engine.commits(0),
        lambda: engine.writer(0),
    ):
        with pytest.raises(StoreClosed):
            call()


def test_who_waits_for_the_turn_of_a_store_that_closes_is_told(engine: Engine) -> None:
    turn = engine.writer(1)
    answers: list[object] = []

    def wait() -> None:
        try:
            engine.writer(30)
        except StoreClosed as error:
            answers.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    engine.close()
    turn.release()
    waiting.join(10)
    assert len(answers) == 1, "a writer that waits must learn that the store was closed"


def test_threads_read_whole_commits_while_one_writes(engine: Engine) -> None:
    """Each commit moves one index row: a reader must never see none of it, or two."""
    fill(engine, range(50))
    wrong: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            serial, found = engine.scan(INDEX, Range())
            snapshot = Snapshot(engine)
            counts = {snapshot.count(None, None), len(snapshot.scan(INDEX, Range(skip=1))) + 1}
            if len(found) != 50 or counts != {50} or snapshot.state.serial < serial:
                wrong.append((serial, len(found), counts))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    key = KEYS[0]
    for number in range(100):
        moved = index_key(f"m{number:06}", 0)
        put(engine, {(INDEX, moved): b""}, [(INDEX, key)])
        key = moved
    stop.set()
    for reader in readers:
        reader.join(30)
    assert not wrong, f"a reader saw half a commit: {wrong[:3]}"
    assert engine.state.serial == 101


def test_several_threads_write_in_turn(engine: Engine) -> None:
    def write(thread: int) -> None:
        for number in range(25):
            put(engine, {(ITEMS, ident(thread * 100 + number)): b"x"})

    writers = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert engine.state.serial == 100
    assert engine.state.counts[ITEMS] == len(rows(engine, ITEMS)) == 100
