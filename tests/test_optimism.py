"""Optimistic transactions: nobody waits, and what others have changed is told at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from atop import Item, Store
from atop.engine import bdb, history
from atop.errors import ReadConflict, StoreBusy, WriteConflict
from tests.accounts import Account, Pair, account, fill, numbers
from tests.checking import check_store
from tests.conftest import elsewhere, start_child, stored
from tests.sharing.serving import until

# Nobody waits


def test_transactions_run_side_by_side(pair: Pair) -> None:
    one, two = pair
    with one.transaction():
        account(one, 0).n = 10
        with two.transaction():
            account(two, 3).n = 13
        assert elsewhere(numbers, one) == [0, 1, 2, 13]
    assert numbers(two) == [1, 2, 10, 13]


def test_inserts_into_one_pool_do_not_conflict(pair: Pair) -> None:
    one, two = pair
    with one.transaction():
        one.pool("accounts").addItem(Account(n=10, email="ten"))
        with two.transaction():
            two.pool("accounts").addItem(Account(n=11, email="eleven"))
    assert numbers(one) == [0, 1, 2, 3, 10, 11]
    assert len({item.id for item in one.pool("accounts")}) == 6


def test_items_that_were_loaded_before_and_are_not_touched_do_not_conflict(pair: Pair) -> None:
    one, two = pair
    loaded = list(one.pool("accounts"))
    assert [item.tags[0] for item in loaded] == [0, 1, 2, 3]
    with one.transaction():
        loaded[0].n = 10
        with two.transaction():
            account(two, 3).tags.append("theirs")
    assert loaded[3].tags == [3, "theirs"]
    assert loaded[0].n == 10


def test_a_reference_that_is_not_followed_does_not_conflict(pair: Pair) -> None:
    one, two = pair
    with one.transaction():
        account(one, 0).friend = account(one, 1)
    mine = account(one, 0)
    with one.transaction():
        assert mine.friend.id
        mine.n = 10
        with two.transaction():
            account(two, 1).tags.append("theirs")
    assert mine.friend.tags == [1, "theirs"]


def test_a_transaction_that_only_reads_sees_one_moment_and_never_conflicts(pair: Pair) -> None:
    one, two = pair
    with one.transaction():
        assert numbers(one) == [0, 1, 2, 3]
        with two.transaction():
            account(two, 1).n = 11
            two.delete(account(two, 2))
        assert numbers(one) == [0, 1, 2, 3]
        assert account(one, 1).n == 1
        assert len(one) == 6
    assert numbers(one) == [0, 3, 11]


def test_a_change_beyond_the_rows_that_were_read_does_not_conflict(pair: Pair) -> None:
    one, two = pair
    with one.transaction():
        first = one.pool("accounts").queryIndex("n").first()
        last = one.pool("accounts").queryIndex("n", backwards=True).first()
        first.tags.append(last.n)
        with two.transaction():
            account(two, 2).n = 1.5
    assert first.tags == [0, 3]


def test_a_pessimistic_transaction_holds_up_the_commit_alone(
    open_store: Callable[..., Store]
) -> None:
    waiting, other = open_store(optimistic=True, timeout=0.1), open_store()
    with other.transaction():
        item = other.add(Account(n=1))
    with other.transaction():
        transaction = waiting.begin()
        mine = waiting.getItemByID(item.id)
        mine.n = 2
        with pytest.raises(StoreBusy):
            transaction.commit()
        assert mine.n == 1
        item.m = 3
    with waiting.transaction():
        mine.n = 4
    assert stored(mine) == {"n": 4, "m": 3}


# Reading what is no longer kept


def test_a_transaction_that_has_fallen_behind_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(history, "KEPT_BYTES", 2000)
    with Store(tmp_path / "store.atop", optimistic=True, durable=False) as store:
        def make() -> list[int]:
            with store.transaction():
                return [store.add(Account(n=n)).id for n in range(3)]

        def change() -> None:
            for n in range(30):
                with store.transaction():
                    store.getItemByID(ids[2]).text = f"{n % 10}" * 200

        ids = elsewhere(make)
        reading = store.begin()
        first = store.getItemByID(ids[0])
        first.n = 10
        elsewhere(change)
        with pytest.raises(ReadConflict) as caught:
            store.getItemByID(ids[1])
        assert caught.value.ids == (ids[1],)
        with pytest.raises(ReadConflict):
            len(list(store.items()))
        reading.abort()
        for flushed, error in ((True, WriteConflict), (False, ReadConflict)):
            writing = store.begin()
            first.n = 10
            if flushed:
                assert writing.pending
            elsewhere(change)
            with pytest.raises(error):
                writing.commit()
        assert first.n == 0


def test_a_commit_lands_on_the_large_one_that_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bdb, "_MANY_KEYS", 10)
    path = tmp_path / "s.atop"
    with Store(path, optimistic=True, timeout=30) as waiting, Store(path) as other:
        fill(other)
        held = threading.Event()

        def add_many() -> None:
            with other.transaction():
                held.set()
                for n in range(100, 150):
                    other.pool("accounts").addItem(Account(n=n, email=str(n)))
                assert other.folder is not None
                turn = other.folder.engine.turn
                until(lambda: turn.wanted)

        with ThreadPoolExecutor(1) as pool:
            with waiting.transaction():
                account(waiting, 0).n = 10
                done = pool.submit(add_many)
                held.wait()
            done.result()
        assert numbers(other) == [1, 2, 3, 10, *range(100, 150)]
        check_store(other)


# Doing it again


def test_transact_does_it_again(pair: Pair) -> None:
    one, two = pair
    tries = []

    def add_ten(item: Any) -> int:
        tries.append(item.n)
        if len(tries) < 3:
            with two.transaction():
                two.getItemByID(item.id).n += 1
        item.n += 10
        return int(item.n)

    assert one.transact(add_ten, account(one, 1)) == 13
    assert tries == [1, 2, 3]
    assert numbers(two) == [0, 2, 3, 13]


def test_after_some_conflicts_transact_takes_the_turn(pair: Pair) -> None:
    one, two = pair
    tries = []

    def add_ten(item: Any) -> None:
        tries.append(item.n)
        change = two.begin()
        two.getItemByID(item.id).n += 1
        two.timeout = 0.01
        if len(tries) < 4:
            change.commit()
        else:
            with pytest.raises(StoreBusy):
                change.commit()
        item.n += 10

    one.transact(add_ten, account(one, 1))
    assert tries == [1, 2, 3, 4]
    assert numbers(two) == [0, 2, 3, 14]


def test_an_inner_transact_leaves_it_to_the_outer_one(pair: Pair) -> None:
    one, two = pair
    inner, outer = [], []

    def work() -> None:
        outer.append(1)
        one.transact(lambda: inner.append(account(one, 1).n))
        if len(outer) == 1:
            with two.transaction():
                account(two, 1).tags.append("theirs")
        account(one, 0).tags.append("mine")

    one.transact(work)
    assert (len(inner), len(outer)) == (2, 2)
    assert account(two, 0).tags == [0, "mine"]


def test_four_threads_count_together(open_store: Callable[..., Store]) -> None:
    store = open_store(optimistic=True, timeout=30)
    with store.transaction():
        ident = store.add(Account(n=0, tags=[])).id

    def add_one() -> None:
        counter = store.getItemByID(ident)
        counter.n += 1
        counter.tags.append(counter.n)

    def count() -> None:
        for _ in range(50):
            store.transact(add_one)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(count) for _ in range(4)]:
            done.result()
    counter = store.getItemByID(ident)
    assert counter.n == 200
    assert counter.tags == list(range(1, 201))


COUNTING = """
import sys
from atop import Store
path, ident, times, optimistic = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with Store(path, optimistic=optimistic == "yes", timeout=30, durable=False) as store:
    def add_one():
        store.getItemByID(ident).n += 1
        return store.add(type(store.getItemByID(ident))(n=0)).id
    print(sorted(store.transact(add_one) for _ in range(times)))
"""


def test_processes_count_together_and_share_no_ids(tmp_path: Path) -> None:
    path = tmp_path / "store.atop"
    with Store(path) as store, store.transaction():
        ident = store.add(Item(n=0)).id
    children = [
        start_child(COUNTING, str(path), str(ident), "60", optimistic)
        for optimistic in ("yes", "yes", "no")
    ]
    ids = []
    for child in children:
        output, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
        ids += eval(output)
    assert len(set(ids)) == 180, "an id was given to two items"
    with Store(path) as store:
        assert store.getItemByID(ident).n == 180
        assert len(store) == 181
        check_store(store)


def test_ids_are_new_in_both_kinds_of_transaction(open_store: Callable[..., Store]) -> None:
    stores = [open_store(optimistic=number % 2 == 0, timeout=5) for number in range(4)]
    ids = [stores[0].transact(stores[0].add, Item()).id]
    for _ in range(5):
        begun = [store.begin() for store in stores if store.optimistic]
        for store in stores:
            if store.optimistic:
                ids += [store.add(Item()).id for _ in range(70)]
            else:
                with store.transaction():
                    ids += [store.add(Item()).id for _ in range(70)]
        for transaction in begun:
            transaction.commit()
    assert len(set(ids)) == len(ids) == len(stores[0]) == 1401


OWNING = """
import sys
from atop import Store
store = Store(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
store.close()
"""


def test_ids_of_an_owner_that_has_gone_are_not_given_again(tmp_path: Path) -> None:
    """Who owns the store next does not know what the one before had reserved."""
    path = tmp_path / "store.atop"
    with start_child(OWNING, str(path)) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        with Store(path, optimistic=True, timeout=10) as store:
            with store.transaction():
                store.add(Account(n=0))
            before = store.begin()
            mine = store.add(Account(n=1))
            owner.communicate("", timeout=30)
            with Store(path, timeout=10) as other, other.transaction():
                theirs = [other.add(Account(n=2)).id for _ in range(5)]
            assert mine.id in theirs
            with pytest.raises(WriteConflict):
                before.commit()
            with store.transaction():
                ids = [store.add(Account(n=3)).id for _ in range(80)]
            assert not set(ids) & set(theirs)
            assert sorted(item.n for item in store.items()) == [0, *[2] * 5, *[3] * 80]


def test_a_transaction_outlasts_the_owner_of_its_store(tmp_path: Path) -> None:
    path = tmp_path / "store.atop"
    with start_child(OWNING, str(path)) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        with Store(path, optimistic=True, timeout=10) as store:
            with store.transaction():
                item = store.add(Account(n=0, tags=[]))
            with store.transaction():
                item.n += 1
                owner.kill()
                owner.wait()
                item.tags.append("after")
            assert stored(item) == {"n": 1, "tags": ["after"]}


def test_in_memory_threads_conflict_too() -> None:
    with Store(optimistic=True) as store:
        with store.transaction():
            item = store.add(Account(n=0))
        transaction = store.begin()
        item.n += 1

        def change() -> None:
            with store.transaction():
                store.getItemByID(item.id).n += 10

        elsewhere(change)
        with pytest.raises(WriteConflict) as caught:
            transaction.commit()
        assert caught.value.ids == (item.id,)
        assert item.n == 10
        elsewhere(check_store, store)


# What it costs


def test_a_begin_costs_nothing_for_what_is_only_cached(open_store: Callable[..., Store]) -> None:
    store = open_store(optimistic=True)
    with store.transaction():
        items = [store.add(Account(n=n)) for n in range(500)]
    session = store.session()
    with store.transaction():
        assert not session._awake
        items[3].n += 1
        assert {bond.key for bond in session._awake} == {items[3].id.to_bytes(8, "big")}
    with store.transaction():
        assert items[4].n == 4
        assert {bond.key for bond in session._awake} == {items[4].id.to_bytes(8, "big")}


def test_an_item_whose_list_is_held_is_kept_in_mind_once(pair: Pair) -> None:
    one, two = pair
    item = account(one, 1)
    tags = item.tags
    for n in range(20):
        with two.transaction():
            account(two, 1).tags.append(n)
        with one.transaction():
            assert len(tags) == n + 2
    keys = [bond.key for bond in one.session()._awake]
    assert keys.count(item._atop.key) < 4


def test_items_that_are_gone_are_not_kept_in_mind(open_store: Callable[..., Store]) -> None:
    store = open_store(optimistic=True)
    with store.transaction():
        pool = store.pool("all", "n")
        for n in range(5000):
            pool.addItem(Account(n=n))
    store.session()._tail.clear()
    for _ in range(5):
        assert sum(item.n for item in pool) == 12497500
        store.session()._tail.clear()
    assert len(store.session()._awake) < 12000


def test_an_unchanged_transaction_commits_nothing(pair: Pair) -> None:
    one, two = pair
    with one.transaction():
        item = one.add(Account(n=1))
    serial = two.engine.state.serial
    with one.transaction():
        item.n = 5
        item.n = 1
    assert two.engine.state.serial == serial


def test_a_thread_may_look_at_the_items_of_another(pair: Pair) -> None:
    one, two = pair
    item, friend = account(one, 1), account(one, 2)
    with one.transaction():
        assert elsewhere(lambda: (item.n, item.tags)) == (1, [1])
        friend.n = 12
    assert (item.n, item.tags) == (1, [1])
    assert numbers(two) == [0, 1, 3, 12]
