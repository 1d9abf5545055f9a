"""Any number of threads, each with its own objects."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from atop import Item, Store
from atop.errors import StoreBusy, WrongThread
from tests.conftest import elsewhere


class Account(Item):
    """Holds money, whose sum never changes."""


def test_changing_an_item_of_another_thread_is_refused(store: Store) -> None:
    with store.transaction():
        item = store.add(Account(n=1, tags=[1]))
        pool = store.pool("accounts", "n")

    def use(change: Any) -> None:
        with store.transaction():
            change()

    for change in (
        lambda: setattr(item, "n", 2),
        lambda: delattr(item, "n"),
        lambda: item.tags.append(2),
        lambda: store.delete(item),
        lambda: pool.addItem(item),
    ):
        with pytest.raises(WrongThread, match=r"Account 1"):
            elsewhere(use, change)
    assert vars(item) == {"n": 1, "tags": [1]}


def test_a_commit_is_seen_at_the_next_look(store: Store) -> None:
    with store.transaction():
        item = store.add(Account(n=1, tags=["a"]))

    def change() -> None:
        with store.transaction():
            mine = store.getItemByID(item.id)
            mine.n += 1
            mine.tags.append("b")

    elsewhere(change)
    assert store.getItemByID(item.id) is item
    assert (item.n, item.tags) == (2, ["a", "b"])
    elsewhere(change)
    with store.snapshot():
        assert item.n == 3
    elsewhere(change)
    with store.transaction():
        item.n += 10
    assert elsewhere(lambda: store.getItemByID(item.id).n) == 14


def test_a_deletion_is_seen_at_the_next_look(store: Store) -> None:
    with store.transaction():
        item = store.add(Account(n=1))
    elsewhere(lambda: store.transact(lambda: store.delete(store.getItemByID(item.id))))
    assert store.getItemByID(item.id, None) is None
    assert item.id not in store
    assert len(store) == 0


def test_a_pool_can_be_used_in_any_thread(store: Store) -> None:
    with store.transaction():
        pool = store.pool("accounts", "n")

    def add() -> None:
        with store.transaction():
            pool.addItem(Account(n=1))

    elsewhere(add)
    assert len(pool) == 1
    assert pool.queryIndex("n")[0].n == 1


def test_threads_that_move_money_beside_threads_that_count_it(store: Store) -> None:
    store.timeout = 20.0
    with store.transaction():
        pool = store.pool("accounts", "n")
        for _ in range(10):
            pool.addItem(Account(n=100, log=[]))
    failures: list[BaseException] = []
    writing = [3]

    def write(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(15):
            try:
                with store.transaction():
                    one, two = dice.sample(list(pool), 2)
                    one.n -= 7
                    two.n += 7
                    two.log.append(seed)
                    if dice.random() < 0.3:
                        raise StoreBusy("rolled back on purpose")
            except StoreBusy:
                continue
        writing[0] -= 1

    def read() -> None:
        while writing[0]:
            with store.snapshot():
                assert sum(item.n for item in pool) == 1000, "a snapshot saw half a transaction"
                keys = list(pool.queryIndex("n").keys())
                assert keys == sorted(keys)
                assert sum(keys) == 1000

    def watched(call: Any, *args: Any) -> None:
        try:
            call(*args)
        except BaseException as error:
            writing[0] = 0
            failures.append(error)

    threads = [threading.Thread(target=watched, args=(write, seed)) for seed in range(3)]
    threads += [threading.Thread(target=watched, args=(read,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert sum(item.n for item in pool) == 1000
