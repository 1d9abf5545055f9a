"""The owner of a store closes it or dies: the others go on, and what was committed is there."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atop import Store
from atop.errors import TransactionLost
from tests.conftest import elsewhere
from tests.sharing.processes import Failed, Other, Thing

Start = Callable[..., Other]

MAKE = """
with store.transaction():
    things = store.pool("things", "n")
    for n in range(20):
        things.addItem(Thing(n=n, text=str(n)))
"""
DIE = "os.kill(os.getpid(), 9)"


@pytest.fixture
def owner(other: Start) -> Other:
    """Another process that owns a store of 20 things."""
    made = other()
    made.do(MAKE)
    assert made.owns
    return made


@pytest.fixture
def store(path: Path, owner: Other) -> Iterator[Store]:
    """The store as we have it, clients of that process."""
    with Store(path, timeout=5, durable=False) as opened:
        assert opened.folder is None
        yield opened


ENDS = [Other.end, Other.kill]


@pytest.mark.parametrize("end", ENDS)
def test_a_client_goes_on_and_becomes_the_owner(
    store: Store, owner: Other, other: Start, end: Callable[[Other], None]
) -> None:
    things = store.pool("things")
    first = things.getIndexItem("n", 0)
    assert len(things) == 20
    end(owner)
    assert len(things) == 20
    assert first.text == "0"
    with store.transaction():
        first.text = "changed"
        things.addItem(Thing(n=20))
    assert store.folder is not None
    assert store.folder.recovered == (end is Other.kill)
    third = other()
    assert not third.owns
    assert third.do("answer = [len(store), store.pool('things').queryIndex('n')[0].text]") == [
        22, "changed"
    ]


@pytest.mark.parametrize("end", ENDS)
def test_of_many_clients_one_becomes_the_owner(
    owner: Other, other: Start, end: Callable[[Other], None]
) -> None:
    clients = [other() for _ in range(5)]
    end(owner)
    for client in clients:
        client.start(
            "for n in range(20):\n"
            "    with store.transaction():\n"
            "        store.pool('things').addItem(Thing(n=n))\n"
        )
    for client in clients:
        client.answer()
    assert [client.do("answer = len(store.pool('things'))") for client in clients] == [120] * 5
    assert sum(client.owns for client in clients) == 1


def test_what_the_owner_had_not_committed_goes_with_it(
    store: Store, owner: Other, other: Start
) -> None:
    owner.do("store.begin(); store.pool('things').addItem(Thing(n=50))")
    waiting = other()
    waiting.start("with store.transaction(): store.pool('things').addItem(Thing(n=60))")
    time.sleep(0.2)
    owner.kill()
    began = time.monotonic()
    waiting.answer()
    assert time.monotonic() - began < 3, "who waits for the turn of a dead process waits no longer"
    with store.transaction():
        store.pool("things").addItem(Thing(n=70))
    assert list(store.pool("things").queryIndex("n", startKey=20).keys()) == [60, 70]


@pytest.mark.parametrize("end", ENDS)
def test_a_transaction_that_is_cut_off_is_lost_and_its_items_are_as_they_were(
    store: Store, owner: Other, end: Callable[[Other], None]
) -> None:
    things = store.pool("things")
    thing, new = things.getIndexItem("n", 3), Thing(n=99)
    tags = thing.text
    with pytest.raises(TransactionLost, match=r"begin it again.*transact"):
        with store.transaction():
            thing.text = "lost"
            things.addItem(new)
            end(owner)
    assert thing.text == tags == "3"
    assert new.store is None
    assert new.n == 99
    with store.transaction():
        thing.text = "kept"
        things.addItem(new)
    assert elsewhere(lambda: store.getItemByID(thing.id).text) == "kept"
    assert len(things) == 21


def test_reading_in_a_transaction_that_was_cut_off_tells_so(store: Store, owner: Other) -> None:
    with pytest.raises(TransactionLost):
        with store.transaction():
            owner.kill()
            for thing in store.pool("things"):
                assert thing.n is not None
    assert store.pool("things").getIndexItem("n", 3).text == "3"


def test_transact_does_it_again_by_itself(store: Store, owner: Other) -> None:
    seen = []

    def change() -> int:
        thing = store.pool("things").getIndexItem("n", 3)
        seen.append(thing.text)
        thing.text += "!"
        if len(seen) == 1:
            owner.kill()
        return len(seen)

    assert store.transact(change) == 2
    assert seen == ["3", "3"], "the second time it sees what is committed"
    assert store.pool("things").getIndexItem("n", 3).text == "3!"


def test_transact_inside_a_transaction_leaves_it_to_the_outer_one(
    store: Store, owner: Other
) -> None:
    calls = []

    def add() -> None:
        calls.append(1)
        store.add(Thing())

    with pytest.raises(TransactionLost):
        with store.transaction():
            owner.kill()
            store.transact(add)
    assert len(calls) <= 1
    assert len(store) == 21


def test_transact_gives_up_when_it_is_lost_each_time(store: Store) -> None:
    calls = []

    def lose() -> None:
        calls.append(1)
        raise TransactionLost("again")

    with pytest.raises(TransactionLost, match="again"):
        store.transact(lose)
    assert 1 < len(calls) < 20


def test_a_commit_that_was_not_answered_but_made_is_told_as_made(
    store: Store, owner: Other
) -> None:
    owner.do(f"store.folder.engine.sync = lambda serial: {DIE}")
    store.durable = True
    calls = []

    def change() -> Thing:
        calls.append(1)
        thing = store.add(Thing(n=100))
        assert isinstance(thing, Thing)
        return thing

    thing = store.transact(change)
    assert calls == [1], "it is in, so it must not be made twice"
    assert store.getItemByID(thing.id) is thing
    assert len(store) == 22
    assert elsewhere(lambda: store.getItemByID(thing.id).n) == 100


def test_a_commit_that_was_sent_but_not_made_is_told_as_lost(store: Store, owner: Other) -> None:
    owner.do(f"store.folder.engine.commit = lambda commit: {DIE}")
    thing = store.pool("things").getIndexItem("n", 3)
    with pytest.raises(TransactionLost):
        with store.transaction():
            thing.text = "lost"
    assert thing.text == "3"
    with store.transaction():
        thing.text = "kept"
    assert elsewhere(lambda: store.getItemByID(thing.id).text) == "kept"


def test_a_snapshot_and_a_walk_go_on_when_the_owner_dies(store: Store, owner: Other) -> None:
    things = store.pool("things")
    walk = iter(things.queryIndex("n"))
    seen = [next(walk).n]
    with store.snapshot():
        owner.do("with store.transaction(): store.pool('things').getIndexItem('n', 5).n = 500")
        assert things.getIndexItem("n", 5).text == "5"
        owner.kill()
        assert things.getIndexItem("n", 5).text == "5"
        assert len(things.queryIndex("n", startKey=100)) == 0
        assert [thing.n for thing in things.queryIndex("n")] == list(range(20))
    seen += [thing.n for thing in walk]
    assert set(seen) >= set(range(20)) - {5}
    assert len(things.queryIndex("n", startKey=100)) == 1


WRITE = """
log = store.pool("log")
mine = "{name}"
def once():
    n = len(log.queryIndex("who", key=mine))
    log.addItem(Thing(who=mine, n=n))
    total = store.pool("totals").getIndexItem("who", mine)
    total.n = n
    return n
while True:
    done = store.transact(once)
    os.write({report}, b"%d\\n" % done)
"""


@pytest.mark.parametrize("seed", range(3))
def test_owners_that_are_killed_while_all_commit_lose_nothing(
    path: Path, other: Start, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    names = ["a", "b", "c", "d"]
    with Store(path) as store, store.transaction():
        store.pool("log", "who", "n")
        for name in names:
            store.pool("totals", "who").addItem(Thing(who=name, n=-1))
    reports = {name: tmp_path / f"report-{name}" for name in names}

    def begin(name: str) -> Other:
        process = other(durable=True)
        process.do(f"report = os.open({str(reports[name])!r}, os.O_WRONLY | os.O_CREAT | "
                   "os.O_APPEND)")
        process.start(WRITE.format(name=name, report="report"))
        return process

    running = {name: begin(name) for name in names}
    for _ in range(6):
        time.sleep(dice.random() * 0.3)
        owners = [name for name, process in running.items() if _has_lock(path, process)]
        name = dice.choice(owners or names)
        running[name].kill()
        running[name] = begin(name)
    for process in running.values():
        process.kill()
    with Store(path) as store:
        for name in names:
            lines = reports[name].read_text().splitlines()
            numbers = list(store.pool("log").queryIndex("who", key=name))
            assert [each.n for each in numbers] == list(range(len(numbers)))
            assert len(numbers) > int(lines[-1]), "a commit that was reported is lost"
            total = store.pool("totals").getIndexItem("who", name).n
            assert total == len(numbers) - 1, "half of a transaction is seen"
            assert len(lines) == len(set(lines)), "a commit was told twice"


def _has_lock(path: Path, process: Other) -> bool:
    note = (path / "owner").read_text()
    return f'"pid": {process.pid},' in note


def test_an_error_of_another_kind_comes_out_as_it_is(store: Store, owner: Other) -> None:
    with pytest.raises(Failed, match="ZeroDivisionError"):
        owner.do("1 / 0")
    assert len(store) == 21
