"""Somebody closes, dies or forks in the moment in which others do something: what torture found."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from atop import Store
from atop.engine.base import INDEX, ITEMS, Commit, NewFile, Range, Row, next_state
from atop.engine.channel import Channel
from atop.engine.folder import open_folder
from atop.engine.overlay import Nothing, Overlay
from atop.errors import StoreClosed, TransactionLost
from tests.checking import check_store
from tests.conftest import elsewhere, run_child
from tests.engine.steps import ident, opened, put
from tests.sharing.processes import Other, Thing

Start = Callable[..., Other]
SOON = 3.0


def test_care_goes_on_with_the_next_owner(path: Path, other: Start) -> None:
    owner = other()
    owner.do("with store.transaction(): store.add(Thing(n=0))")
    with Store(path, timeout=5) as store:
        assert len(store) == 1
        owner.kill()
        store.checkpoint()
        assert store.stats().items == 1
    with Store(path) as store:
        check_store(store)


def test_care_of_a_store_whose_owner_has_just_died_is_asked_of_the_next_one(
    path: Path, other: Start
) -> None:
    owner, heir = other(), other(opened=True)
    owner.do("with store.transaction(): store.add(Thing(n=0))")
    with Store(path, timeout=5) as store:
        assert len(store) == 1
        owner.kill()
        heir.do("with store.transaction(): store.add(Thing(n=1))")
        assert heir.owns
        assert store.verify().ok
        assert store.stats().items == 2


def test_a_thread_that_is_about_to_wait_sees_that_its_connection_is_closed() -> None:
    """Also when a new connection has got the number of the old one."""
    near, far = socket.socketpair()
    number = near.fileno()
    channel = Channel(near)
    wait = channel._wait
    again: list[socket.socket] = []

    def close_first(poll: object, deadline: float) -> None:
        if not again:
            channel.close()
            again.extend(socket.socketpair())
            assert number in [each.fileno() for each in again]
        wait(poll, deadline)  # type: ignore[arg-type]

    channel._wait = close_first  # type: ignore[method-assign]
    began = time.monotonic()
    with pytest.raises(OSError, match="closed"):
        channel.receive(began + 30)
    assert time.monotonic() - began < SOON
    for each in (far, *again):
        each.close()


class _Growing(Nothing):
    """Tables that have more rows each time that they are counted, as others commit meanwhile."""

    def __init__(self) -> None:
        self.rows = 0
        self.asked: list[Range] = []

    def count(self, low: bytes | None, high: bytes | None) -> int:
        self.rows += 3
        return self.rows - 3

    def scan(self, table: str, within: Range) -> list[Row]:
        self.asked.append(within)
        return []


def test_rows_that_come_meanwhile_lead_to_no_row_before_the_first() -> None:
    below = _Growing()
    overlay = Overlay(below)
    overlay.put(INDEX, b"m", b"", existed=False)
    overlay.scan(INDEX, Range(limit=2, skip=1))
    assert below.asked
    assert all(asked.skip >= 0 for asked in below.asked), "a server hangs up on such a client"


@pytest.mark.parametrize("place", ["in memory", "over the network"])
def test_a_forked_child_that_ends_leaves_our_new_files_alone(tmp_path: Path, place: str) -> None:
    told = run_child(_FORKING, str(tmp_path / "s.atop") if place != "in memory" else "")
    assert told == "12 bytes\n"


_FORKING = """
import os, sys
from contextlib import nullcontext, suppress
from pathlib import Path
from atop import Store
from tests.sharing.serving import Here
path = sys.argv[1]
server = Here(Path(path)) if path else None
store = server.open() if server else Store()
with store.transaction():
    with store.newFile("first") as file:
        file.write(b"first")
pid = os.fork()
if not pid:
    sys.exit()
os.waitpid(pid, 0)
with store.transaction():
    with store.newFile("a") as file:
        file.write(b"hello, world")
print(len(file.open().read()), "bytes")
store.close()
if server:
    server.close()
"""


def test_a_store_closed_while_a_commit_moves_its_files_in_place_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.atop"
    folder = open_folder(path, read_only=False, cache_bytes=1 << 20)
    engine, adopt = folder.engine, folder.files.adopt
    turn = engine.writer(1)
    descriptor, new = folder.files.create()
    os.close(descriptor)

    def adopt_and_close(files: Sequence[NewFile]) -> None:
        adopt(files)
        folder.close()

    monkeypatch.setattr(folder.files, "adopt", adopt_and_close)
    state = next_state(turn.state, turn.ids[0] + 1, turn.state.counts)
    with pytest.raises((StoreClosed, TransactionLost)):
        turn.apply(Commit(state, {}, files=((turn.ids[0], new.name),)), True)
    with Store(path) as store:
        check_store(store)
        assert list(Path(store.files.folder).iterdir()) == []


def test_an_id_that_is_given_again_takes_no_file_over(tmp_path: Path) -> None:
    """A transaction was cut off with its file in place, and a snapshot keeps all files."""
    folder = opened(tmp_path / "s.atop")
    put(folder.engine, {(ITEMS, ident(1)): b"an item"})
    left = folder.files.path(2)
    left.write_bytes(b"of a transaction that was cut off")
    with folder.files.held():
        folder.files.remove([2], 1)
        assert left.exists(), "a snapshot may read it"
        put(folder.engine, {(ITEMS, ident(1)): b"it was there before"})
        assert left.exists()
        put(folder.engine, {(ITEMS, ident(2)): b"another item"})
        assert not left.exists(), "nobody would ever remove it"
    folder.close()


@pytest.mark.parametrize("step", ["atop.watch.Watch.renew", "atop.session.Session._changed_since",
                                  "atop.transaction.Transaction._roll_back"])
def test_an_interrupt_in_the_middle_of_catching_up_leaves_nothing_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with Store(tmp_path / "s.atop", timeout=5) as store:
        with store.transaction():
            things = [store.add(Thing(n=0)) for _ in range(10)]
        elsewhere(_set_all, store, 1)

        def interrupted(*args: object) -> None:
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr(step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            with store.transaction():
                for thing in things:
                    thing.n = 7
                raise RuntimeError
        assert [thing.n for thing in things] == [1] * 10
        with store.transaction():
            for thing in things:
                thing.n += 1
        assert [thing.n for thing in elsewhere(lambda: list(store.items()))] == [2] * 10


def _set_all(store: Store, n: int) -> None:
    with store.transaction():
        for thing in store.items():
            thing.n = n


@pytest.mark.parametrize("caught", [False, True])
def test_an_interrupt_while_an_item_is_added_leaves_it_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caught: bool
) -> None:
    thing = Thing(n=1)

    def interrupted(*args: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with Store(tmp_path / "s.atop") as store:
        with suppress(KeyboardInterrupt), store.transaction():
            store.add(Thing(n=0))
            monkeypatch.setattr("atop.objects.set_bond", interrupted)
            with suppress(KeyboardInterrupt) if caught else nullcontext():
                store.add(thing)
        assert thing.store is None
        assert len(store) == caught
        with store.transaction():
            store.add(thing)
        assert store.getItemByID(thing.id) is thing
        assert len(store) == caught + 1
        check_store(store)
