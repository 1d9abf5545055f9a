"""The writer's turn, over processes: who dies or sleeps in it holds nobody up for long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atop import Store
from atop.errors import StoreBusy, TransactionLost
from tests.conftest import elsewhere
from tests.sharing.processes import Failed, Other, Thing

Start = Callable[..., Other]

COUNT = """
def more():
    counter = store.getItemByID(1)
    counter.n += 1
for _ in range(50):
    store.transact(more)
"""


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """A store that this process owns, with a counter, whose patience is long."""
    with Store(path, timeout=30, durable=False) as opened:
        with opened.transaction():
            opened.add(Thing(n=0))
        yield opened


def test_a_client_that_is_killed_in_its_turn_loses_it_at_once(store: Store, other: Start) -> None:
    client = other()
    client.do("store.begin(); store.getItemByID(1).n = 7")
    waiting = other()
    waiting.start("with store.transaction(): store.getItemByID(1).n += 1")
    time.sleep(0.1)
    began = time.monotonic()
    client.kill()
    waiting.answer()
    with store.transaction():
        store.getItemByID(1).n += 1
    assert time.monotonic() - began < 2, "others waited for a process that was dead"
    assert store.getItemByID(1).n == 2


def test_a_client_that_is_killed_in_the_line_holds_nobody_up(store: Store, other: Start) -> None:
    clients = [other(timeout=30) for _ in range(3)]
    with store.transaction():
        for client in clients:
            client.start("with store.transaction(): store.getItemByID(1).n += 1")
            time.sleep(0.1)
        clients[0].kill()
        clients[1].kill()
    clients[2].answer()
    assert store.getItemByID(1).n == 1


def test_a_client_that_sleeps_in_its_turn_loses_it_to_who_waits(
    path: Path, other: Start
) -> None:
    owner = other(timeout=0.3)
    owner.do("with store.transaction(): store.add(Thing(n=0, tags=[]))\nstore.timeout = 5")
    with Store(path, timeout=5) as store:
        thing, new = store.getItemByID(1), Thing(n=9)
        tags = thing.tags
        with pytest.raises(TransactionLost, match=r"begin it again"):
            with store.transaction():
                thing.n = 5
                tags.append("x")
                store.add(new)
                owner.do("with store.transaction(): store.getItemByID(1).n = 1")
        assert (thing.n, thing.tags, tags, new.store) == (1, [], [], None)
        assert elsewhere(lambda: store.getItemByID(1).n) == 1
        with store.transaction():
            thing.n = 2
        assert owner.do("answer = store.getItemByID(1).n") == 2


def test_a_read_in_a_turn_that_was_lost_says_so(path: Path, other: Start) -> None:
    owner = other(timeout=0.2)
    owner.do("with store.transaction(): [store.add(Thing(n=n)) for n in range(5)]\n"
             "store.timeout = 5")
    with Store(path, timeout=5) as store:
        with store.transaction():
            store.getItemByID(1).n = 7
            owner.do("with store.transaction(): store.getItemByID(2).n = 9")
            with pytest.raises(TransactionLost):
                store.getItemByID(2)
            with pytest.raises(TransactionLost):
                len(store.pool("any", "n"))
            store.session().transaction.abort()  # type: ignore[union-attr]
        assert [store.getItemByID(n).n for n in (1, 2)] == [0, 9]


def test_a_stopped_client_loses_its_turn(path: Path, other: Start) -> None:
    client = other(opened=False)
    with Store(path, timeout=0.5, durable=False) as store:
        with store.transaction():
            store.add(Thing(n=0))
        client.do("store = Store(path); store.begin(); store.getItemByID(1).n = 7")
        client.stop()
        began = time.monotonic()
        while True:
            try:
                with store.transaction():
                    store.getItemByID(1).n = 1
                break
            except StoreBusy:
                assert time.monotonic() - began < 3
        client.go_on()
        with pytest.raises(Failed, match="TransactionLost"):
            client.do("store.session().transaction.commit()")
        assert client.do("answer = store.getItemByID(1).n") == 1


def test_a_client_keeps_its_turn_as_long_as_nobody_waits(path: Path, other: Start) -> None:
    owner = other(timeout=0.1)
    owner.do("with store.transaction(): store.add(Thing(n=0))")
    with Store(path) as store:
        with store.transaction():
            store.getItemByID(1).n = 5
            time.sleep(0.7)
        assert owner.do("answer = store.getItemByID(1).n") == 5


def test_a_client_that_works_keeps_its_turn_though_others_wait(path: Path, other: Start) -> None:
    owner = other(timeout=1.0)
    owner.do("with store.transaction(): store.add(Thing(n=0))")
    with Store(path) as store, store.transaction():
        owner.start("with store.transaction(): store.getItemByID(1).n += 1")
        for n in range(15):
            time.sleep(0.1)
            store.add(Thing(n=n))
            store.pool("things", "n").addItem(Thing(n=n))
            len(store.pool("things").queryIndex("n"))
        with pytest.raises(Failed, match="StoreBusy"):
            owner.answer()


def test_who_waits_in_vain_is_told_which_process_has_the_turn(store: Store, other: Start) -> None:
    client = other(timeout=0.2)
    with store.transaction():
        with pytest.raises(Failed, match=f"StoreBusy.*process {os.getpid()}"):
            client.do("store.begin()")
    holder = other()
    holder.do("store.begin()")
    with pytest.raises(Failed, match=f"StoreBusy.*process {holder.pid}"):
        client.do("store.begin()")
    store.timeout = 0.2
    with pytest.raises(StoreBusy, match=f"process {holder.pid}") as caught:
        store.begin()
    assert caught.value.pid == holder.pid


def test_processes_and_threads_that_count_together_count_right(store: Store, other: Start) -> None:
    clients = [other(timeout=30) for _ in range(4)]
    for client in clients:
        client.start(COUNT)
    for _ in range(50):
        with store.transaction():
            store.getItemByID(1).n += 1
    for client in clients:
        client.answer()
    assert store.getItemByID(1).n == 250
    assert [client.do("answer = store.getItemByID(1).n") for client in clients] == [250] * 4
