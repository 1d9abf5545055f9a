"""A folder as a process has it: as its owner or as a client, for all its stores and forks."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from atop.engine.base import ITEMS, Range
from atop.engine.folder import Folder
from atop.engine.link import Link, open_link
from atop.errors import StoreBusy, StoreClosed
from tests.engine.steps import CACHE, child, fill, opened, rows, told

OPEN = """
import os, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from atop.engine.link import open_link
from tests.engine.steps import CACHE, changed, commit_of, put, rows
link = open_link(Path(sys.argv[1]), read_only=False, cache_bytes=8 << 20, timeout=5)
"""


def linked(path: Path, *, read_only: bool = False) -> Link:
    return open_link(path, read_only=read_only, cache_bytes=CACHE, timeout=5)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of 500 items that was closed in order."""
    path = tmp_path / "store.atop"
    link = linked(path)
    fill(link, range(500))
    link.close()
    return path


def assert_closed_in_order(path: Path, count: int) -> None:
    folder = opened(path)
    try:
        assert not folder.recovered
        assert len(rows(folder.engine, ITEMS)) == count
    finally:
        folder.close()


def test_threads_that_open_one_folder_share_it(tmp_path: Path) -> None:
    path = tmp_path / "store.atop"
    links: list[Link] = []
    threads = [threading.Thread(target=lambda: links.append(linked(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({id(link) for link in links}) == 1
    assert len(links) == 8
    for link in links[1:]:
        link.close()
    fill(links[0], range(500))
    links[0].close()
    with pytest.raises(StoreClosed):
        links[0].get(ITEMS, b"")
    assert_closed_in_order(path, 500)


def test_one_folder_by_two_names_is_one(store: Path, tmp_path: Path) -> None:
    (tmp_path / "link.atop").symlink_to(store)
    one, other = linked(store), linked(tmp_path / "link.atop")
    assert one is other
    one.close()
    assert len(rows(other)) == 500
    other.close()
    assert_closed_in_order(store, 500)


def test_who_reads_can_be_joined_by_who_writes_in_the_same_process(store: Path) -> None:
    reader = linked(store, read_only=True)
    assert not (store / "socket").exists()
    serial = reader.begin_snapshot()
    writer = linked(store)
    fill(writer, range(500, 600))
    assert len(rows(reader)) == 600
    assert [delta.serial for delta in reader.commits(serial)] == [serial + 1]
    reader.end_snapshot(serial)
    reader.close()
    writer.close()
    assert_closed_in_order(store, 600)


FORK = OPEN + """
from atop.errors import TransactionLost
turn = link.writer(1)
overlay = changed(link, {("items", b"parent"): b"1"})
if SPILL:
    turn.spill(overlay.drain())
child = os.fork()
if child == 0:
    for call in (turn.working, lambda: turn.engine.get("items", b"parent")):
        try:
            call()
        except TransactionLost as error:
            assert str(os.getppid()) in str(error), error
        else:
            os._exit(1)
    turn.release()
    del turn, overlay
    if not SPILL:
        assert len(rows(link, "items")) == 500
        assert link.owned is None
    link.close()
    sys.exit(0)
if SPILL:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child failed"
turn.apply(commit_of(turn.state, overlay), True)
put(link, {("items", b"after"): b"1"}, durable=True)
if not SPILL:
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 0, "the child failed"
print(len(rows(link, "items")))
if CLOSE:
    link.close()
else:
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("spill", [False, True])
@pytest.mark.parametrize("close", [False, True])
def test_a_forked_child_becomes_a_client_and_loses_what_its_parent_had_begun(
    store: Path, spill: bool, close: bool
) -> None:
    script = FORK.replace("SPILL", str(spill)).replace("CLOSE", str(close))
    with child(script.replace("== 500", "in (500, 501, 502)"), store) as process:
        out, problems = process.communicate(timeout=60)
    assert out.split() == ["502"], problems
    assert problems == ""
    folder = opened(store)
    assert folder.recovered != close
    assert folder.engine.getmany(ITEMS, [b"parent", b"after"])[1] == [b"1", b"1"]
    folder.close()


def _opened_soon(store: Path) -> Folder:
    """The folder, as soon as a child that was just forked has let go of the lock."""
    end = time.monotonic() + 10
    while True:
        try:
            return opened(store)
        except StoreBusy:
            assert time.monotonic() < end, "the child keeps the lock"
            time.sleep(0.01)


def test_the_lock_does_not_outlive_the_parent_of_a_fork(store: Path) -> None:
    script = OPEN + (
        "if os.fork() == 0: sys.stdin.readline(); os._exit(0)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    with child(script, store) as process:
        process.wait(60)
        folder = _opened_soon(store)
        assert folder.recovered
        folder.close()
        assert process.stdin is not None
        process.stdin.write("\n")


def test_a_forked_child_opens_other_stores(store: Path, tmp_path: Path) -> None:
    script = OPEN + (
        "child = os.fork()\n"
        "if child == 0:\n"
        "    other = open_link(Path(sys.argv[2]), read_only=False, cache_bytes=CACHE, timeout=5)\n"
        "    assert other.owned is not None\n"
        "    other.close()\n"
        "    sys.exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert told(script, store, tmp_path / "other.atop") == "7"


def test_a_child_of_a_fork_that_outlives_its_parent_becomes_the_owner(store: Path) -> None:
    script = OPEN + (
        "parent = os.getpid()\n"
        "if os.fork():\n"
        "    os.kill(parent, 9)\n"
        "while os.getppid() == parent:\n"
        "    pass\n"
        "put(link, {('items', b'child'): b'1'})\n"
        "print(len(rows(link, 'items')), link.owned is not None, flush=True)\n"
        "link.close()\n"
    )
    with child(script, store) as process:
        assert process.communicate(timeout=60)[0].split() == ["501", "True"]
    assert_closed_in_order(store, 501)


def test_a_client_that_is_forked_leaves_the_connection_to_its_parent(store: Path) -> None:
    owner = linked(store)
    script = OPEN + (
        "assert link.owned is None\n"
        "turn = link.writer(1)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    assert len(rows(link, 'items')) == 500\n"
        "    link.close()\n"
        "    sys.exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "turn.apply(commit_of(turn.state, changed(turn.engine, {('items', b'1'): b'1'})), True)\n"
        "print(len(rows(link, 'items')))\n"
    )
    assert told(script, store) == "501"
    assert len(owner.scan(ITEMS, Range())[1]) == 501
    owner.close()
