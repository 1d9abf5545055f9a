"""What was acknowledged is there after a kill, and nothing is there by halves."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from atop.engine import log
from atop.engine.base import INDEX, ITEMS, Commit, Range, next_state
from atop.engine.folder import Folder
from atop.engine.overlay import Overlay
from atop.engine.present import Present, Snapshot
from atop.errors import SnapshotTooOld
from tests.engine.steps import (
    changed,
    child,
    commit_of,
    fill,
    ident,
    in_thread,
    index_key,
    opened,
    put,
    rows,
)

# Each commit n puts item n, an index row of it, and n as the value of item 0: all, or none.
COMMITTING = """
import os, random, sys, threading
from contextlib import suppress
from pathlib import Path
from atop.engine.folder import open_folder
from tests.engine.steps import apply, changed, ident, index_key
folder = open_folder(Path(sys.argv[1]), read_only=False, cache_bytes=1 << 20)
engine = folder.engine
random.seed(os.getpid())
def checkpoints():
    while True:
        engine.checkpoint()
threading.Thread(target=checkpoints, daemon=True).start()
print("open", flush=True)
while True:
    number = engine.state.serial + 1
    turn = engine.writer(5)
    overlay = changed(engine, {
        ("items", ident(0)): ident(number),
        ("items", ident(number)): os.urandom(random.choice([10, 1000, 30_000])),
        ("index", index_key(str(number % 7), number)): b"",
    })
    if random.random() < 0.2:
        turn.spill({"index": overlay.changes()["index"]})
        overlay.tables["index"].entries.clear()
    commit = apply(turn, overlay, durable=True)
    print(commit.state.serial, flush=True)
"""


def test_a_killed_writer_loses_nothing_acknowledged_and_leaves_nothing_by_halves(
    tmp_path: Path,
) -> None:
    chance = random.Random(7)
    for _ in range(2):
        path = tmp_path / f"{chance.random()}.atop"
        acknowledged = 0
        for _ in range(12):
            lines = _kill(path, chance.random() ** 3 * 0.3)
            acknowledged = max([acknowledged, *map(int, lines)])
            acknowledged = _assert_whole(path, acknowledged)
        assert acknowledged > 20, "the children hardly committed anything"


def _kill(path: Path, seconds: float) -> list[str]:
    """Start a child, kill it so long after it has opened the store; what it acknowledged."""
    with child(COMMITTING, path) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "open\n":
            raise AssertionError(f"the store did not open: {process.communicate()[1]}")
        time.sleep(seconds)
        process.kill()
        out = process.stdout.read()
        process.wait(60)
    assert process.returncode == -signal.SIGKILL
    return out[: out.rfind("\n") + 1].splitlines()


def _assert_whole(path: Path, acknowledged: int) -> int:
    """At most the commit that was being made is in without having been acknowledged."""
    folder = opened(path)
    engine = folder.engine
    last = engine.state.serial
    assert acknowledged <= last <= acknowledged + 1, "an acknowledged commit is lost"
    items = dict(rows(engine, ITEMS))
    if last:
        assert items.pop(ident(0)) == ident(last)
    assert sorted(items) == [ident(number) for number in range(1, last + 1)]
    wanted = sorted(index_key(str(number % 7), number) for number in range(1, last + 1))
    assert [key for key, _ in rows(engine)] == wanted
    assert engine.count(None, None)[1] == last
    assert [delta.serial for delta in engine.commits(0)] == list(range(1, last + 1))
    folder.close()
    return last


CREATING = """
import sys
from contextlib import suppress
from pathlib import Path
from atop.engine.folder import open_folder
print("go", flush=True)
open_folder(Path(sys.argv[1]), read_only=False, cache_bytes=1 << 20).close()
"""


def test_a_store_whose_making_was_killed_is_made_by_the_next_opening(tmp_path: Path) -> None:
    finished = 0
    for number in range(10):
        path = tmp_path / f"{number}.atop"
        with child(CREATING, path) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(number * 0.0006)
            process.kill()
        finished += (path / "FORMAT").exists()
        folder = opened(path)
        put(folder.engine, {(ITEMS, b"x"): b"1"}, durable=True)
        folder.close()
        folder = opened(path)
        assert folder.engine.state.serial == 1
        folder.close()
    assert finished < 10, "no child was killed while it made a store"


def test_threads_that_commit_share_syncs_and_each_waits_for_its_own(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = folder.engine
    reached: list[int] = []
    sync = log._sync

    def watched(descriptor: int) -> None:
        last = engine.last.serial
        sync(descriptor)
        reached.append(last)

    monkeypatch.setattr(log, "_sync", watched)
    early: list[int] = []

    def write(thread: int) -> None:
        for number in range(50):
            row = (ITEMS, ident(thread * 1000 + number))
            commit = put(engine, {row: b"x" * 100}, durable=True)
            if max(reached) < commit.state.serial:
                early.append(commit.state.serial)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert engine.state.serial == 400
    assert not early, f"acknowledged before the log was synced: {early}"
    assert 0 < engine.syncs <= 400


def test_a_commit_that_need_not_be_durable_is_not_synced(folder: Folder) -> None:
    for number in range(20):
        put(folder.engine, {(ITEMS, ident(number)): b"x"})
    assert folder.engine.syncs == 0
    put(folder.engine, {(ITEMS, ident(20)): b"x"}, durable=True)
    assert folder.engine.syncs == 1, "one sync makes all before it durable too"


def test_a_sync_goes_over_all_log_files_since_the_last_one(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = log._sync

    def watched(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("the names of open files are in /proc only")
    monkeypatch.setattr(log, "_sync", watched)
    with folder.engine.environment.paused():
        for number in range(5):
            put(folder.engine, {(ITEMS, ident(number)): os.urandom(3 << 20)})
        put(folder.engine, {(ITEMS, b"x"): b""}, durable=True)
    assert synced == ["log.0000000001", "log.0000000002"]


def test_a_sync_goes_on_when_a_checkpoint_has_removed_the_log_files_between(
    folder: Folder,
) -> None:
    for number in range(20):
        put(folder.engine, {(ITEMS, ident(number)): os.urandom(3 << 20)})
    folder.engine.checkpoint()
    assert not (folder.path / "environment" / "log.0000000002").exists()
    put(folder.engine, {(ITEMS, b"x"): b"1"}, durable=True)
    assert folder.engine.syncs == 1
    assert folder.engine.get(ITEMS, b"x")[1] == b"1"


def test_log_files_have_their_blocks_before_they_are_synced_but_for_the_first(
    tmp_path: Path,
) -> None:
    """A small store stays small; in a larger one syncs are cheap, and no log file is too long."""
    folder = opened(tmp_path / "store.atop", cache_bytes=8 << 20)
    first, second = (folder.path / "environment" / f"log.000000000{number}" for number in (1, 2))
    put(folder.engine, {(ITEMS, b"x"): b"1"}, durable=True)
    assert first.stat().st_blocks * 512 < 2 << 20
    while not second.exists():
        put(folder.engine, {(ITEMS, b"x"): os.urandom(1 << 20)}, durable=True)
    assert second.stat().st_blocks * 512 >= second.stat().st_size == 10 << 20
    folder.close()


def test_logs_stay_under_128_mb_however_much_is_written(folder: Folder) -> None:
    """While one thread writes 310 MB of log another reads; checkpoints happen beside them."""
    engine = folder.engine
    environment = folder.path / "environment"
    fill(engine, range(100))
    stop = threading.Event()
    wrong: list[int] = []

    def read() -> None:
        while not stop.is_set():
            found = len(engine.scan(INDEX, Range())[1])
            if found != 100:
                wrong.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    most = 0
    while folder.engine.environment.last_log_file < 32:
        put(engine, {(ITEMS, ident(1000 + number)): os.urandom(50_000) for number in range(20)})
        most = max(most, _log_bytes(environment))
    stop.set()
    reader.join(30)
    assert not wrong, "reading beside checkpoints went wrong"
    assert most < 128 << 20, f"the logs had {most >> 20} MB"
    assert min(file.name for file in _logs(environment)) > "log.0000000001"


def _log_bytes(environment: Path) -> int:
    total = 0
    for file in environment.glob("log.*"):
        with suppress(FileNotFoundError):  # a checkpoint has removed it meanwhile
            total += file.stat().st_size
    return total


def _logs(environment: Path) -> list[Path]:
    found = []
    for file in environment.glob("log.*"):
        if file.exists():
            found.append(file)
    return found


def test_a_commit_larger_than_the_cache_works(tmp_path: Path) -> None:
    """40 MB through a cache of 8 MB, in parts: committed once, undone once."""
    path = tmp_path / "store.atop"
    folder = opened(path, cache_bytes=8 << 20)
    engine = folder.engine
    fill(engine, range(100))
    for keep in (False, True):
        turn = engine.writer(1)
        state, overlay = turn.state, Overlay(Present(engine, engine.serial))
        added = 0
        for number in range(1000, 21_000):
            overlay.put(ITEMS, ident(number), ident(number) * 250, False)
            overlay.put(INDEX, index_key(f"k{number % 100:06}", number), b"", False)
            added += 1
            if overlay.size > 4 << 20:
                turn.spill(overlay.drain())
        assert overlay.count(None, None) == 100 + added, "the writer sees all it wrote"
        counts = {**state.counts, ITEMS: 100 + added, INDEX: 100 + added}
        if keep:
            turn.apply(Commit(next_state(state, 21_000, counts), overlay.changes()), True)
        else:
            turn.release()
            assert engine.count(None, None)[1] == 100, "what was spilled is undone"
    folder.close()
    folder = opened(path)
    assert folder.engine.count(None, None)[1] == folder.engine.state.counts[INDEX] == 20_100
    assert len(rows(folder.engine, ITEMS)) == 20_100
    folder.close()


def test_a_snapshot_from_before_a_spilled_commit_is_refused_not_wrong(folder: Folder) -> None:
    snapshot = Snapshot(folder.engine)
    turn = folder.engine.writer(1)
    overlay = changed(folder.engine, {(ITEMS, b"a"): b"1"})
    turn.spill(overlay.drain())
    turn.apply(commit_of(turn.state, overlay), False)
    with pytest.raises(SnapshotTooOld):
        snapshot.get(ITEMS, b"a")


def test_readers_wait_while_a_spilled_commit_is_written(folder: Folder) -> None:
    turn = folder.engine.writer(1)
    overlay = changed(folder.engine, {(ITEMS, b"a"): b"1"})
    turn.spill(overlay.drain())
    seen: list[object] = []
    reader = threading.Thread(target=lambda: seen.append(folder.engine.get(ITEMS, b"a")))
    reader.start()
    reader.join(0.05)
    assert not seen, "a reader saw what is not committed"
    turn.apply(commit_of(turn.state, overlay), False)
    reader.join(30)
    assert seen == [(1, b"1")]


INTERRUPTED = """
import _thread, random, sys, threading, time
from contextlib import suppress
from pathlib import Path
from atop.engine.folder import open_folder
from tests.engine.steps import apply, changed, ident, index_key, in_thread, rows
folder = open_folder(Path(sys.argv[1]), read_only=False, cache_bytes=8 << 20)
engine = folder.engine
armed = threading.Event()
def interrupt():
    while True:
        armed.wait()
        time.sleep(random.random() ** 2 * 0.0006)
        if armed.is_set():
            armed.clear()
            _thread.interrupt_main()
threading.Thread(target=interrupt, daemon=True).start()
def transaction(number):
    turn = None
    try:
        turn = engine.writer(1)
        overlay = changed(engine, {
            ("items", ident(number)): b"x", ("index", index_key("k", number)): b""})
        if number % 2:
            turn.spill({"index": overlay.changes()["index"]})
            overlay.tables["index"].entries.clear()
        turn.apply(commit(turn.state, overlay), number % 3 == 0)
    finally:
        if turn is not None:
            turns.append(turn.applied)
def commit(state, overlay):
    from atop.engine.base import Commit, next_state
    counts = {**state.counts, "items": state.counts["items"] + 1,
              "index": state.counts["index"] + 1}
    return Commit(next_state(state, 1, counts), overlay.changes())
interrupts = 0
for number in range(1, 601):
    turns = []
    try:
        armed.set()
        try:
            transaction(number)
        finally:
            armed.clear()
        time.sleep(0.001)
    except KeyboardInterrupt:
        interrupts += 1
    def look():
        turn = engine.writer(5)
        turn.release()
        found = engine.get("items", ident(number))[1], engine.count(None, None)[1]
        return found, len(rows(engine, "items")), engine.state.counts["items"]
    while True:
        try:
            (value, index), items, counted = in_thread(look)
            break
        except KeyboardInterrupt:
            pass
    assert index == items == counted, (number, index, items, counted)
    if turns:
        assert turns[-1] == (value is not None), (number, turns, value)
print(interrupts, items)
folder.close()
"""


def test_ctrl_c_at_any_moment_leaves_all_or_nothing_and_nobody_waiting(tmp_path: Path) -> None:
    with child(INTERRUPTED, tmp_path / "store.atop") as process:
        out, problems = process.communicate(timeout=120)
    assert process.returncode == 0, problems
    interrupts, items = map(int, out.split())
    assert interrupts > 50, "hardly any interrupt hit a transaction"
    folder = opened(tmp_path / "store.atop")
    assert len(rows(folder.engine, ITEMS)) == items
    assert in_thread(lambda: folder.engine.count(None, None)[1]) == items
    folder.close()
