"""All or nothing: commit, roll-back, savepoints, and what goes wrong in between."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from atop import Index, Item, Store, objects, transacted, transaction
from atop.errors import (
    DuplicateKey,
    NoTransaction,
    NotStorable,
    StoreBusy,
    TransactionEnded,
    ValueRefused,
    WrongThread,
)
from tests.conftest import elsewhere, stored


class Account(Item):
    """An item with a method that makes a transaction."""

    balance: int

    @transacted
    def pay(self, amount: int, fail: bool = False) -> int:
        """Take `amount` off."""
        self.balance -= amount
        if fail:
            raise Stop
        return self.balance


class Stop(Exception):
    """Ends a transaction."""


def test_what_was_committed_is_seen_by_others(store: Store) -> None:
    with store.transaction():
        item = store.add(Account(balance=1))
        assert elsewhere(lambda: len(store)) == 0, "others do not see it before"
    assert stored(item) == {"balance": 1}
    assert elsewhere(lambda: len(store)) == 1


def test_an_exception_rolls_back_and_is_raised(store: Store) -> None:
    with store.transaction():
        item = store.add(Account(balance=1))
        pool = store.pool("accounts", "balance")
        pool.addItem(item)
    with pytest.raises(Stop), store.transaction():
        item.balance = 2
        pool.addItem(Account(balance=3))
        assert list(pool.queryIndex("balance").keys()) == [2, 3]
        raise Stop
    assert item.balance == 1
    assert list(pool.queryIndex("balance").keys()) == [1]
    assert len(store) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
def test_any_exception_rolls_back(store: Store, error: type[BaseException]) -> None:
    with store.transaction():
        item = store.add(Account(balance=1))
    with pytest.raises(error), store.transaction():
        item.balance = 2
        store.add(Account())
        raise error
    assert (item.balance, len(store)) == (1, 1)
    elsewhere(lambda: store.begin().abort())


def test_savepoints_nest_three_deep(store: Store) -> None:
    with store.transaction():
        item = store.add(Account(log=["0"], n=0))
        with store.transaction():
            item.log.append("1")
            item.n = 1
            with pytest.raises(Stop), store.transaction():
                item.log.append("2")
                with store.transaction():
                    item.log.append("3")
                    item.n = 3
                    store.add(Account())
                assert len(store) == 2
                raise Stop
            assert (item.log, item.n, len(store)) == (["0", "1"], 1, 1)
            with store.transaction():
                item.log.append("2b")
        assert item.log == ["0", "1", "2b"]
    assert stored(item) == {"log": ["0", "1", "2b"], "n": 1}


def test_a_committed_savepoint_goes_when_its_outer_is_rolled_back(store: Store) -> None:
    with store.transaction():
        item = store.add(Account(balance=1))
    with pytest.raises(Stop), store.transaction():
        with store.transaction():
            item.balance = 2
            new = store.add(Account(balance=9))
        raise Stop
    assert (item.balance, new.balance, new.id, len(store)) == (1, 9, None, 1)


def test_a_savepoint_restores_deleted_items_and_pools(store: Store) -> None:
    with store.transaction():
        pool = store.pool("accounts", "balance")
        item = Account(balance=1)
        pool.addItem(item)
    with store.transaction():
        with pytest.raises(Stop), store.transaction():
            store.delete(item)
            store.delete(pool)
            assert len(store) == 0
            raise Stop
        assert item in pool
        assert store.pool("accounts") is pool
        assert store.getItemByID(item.id) is item
        item.balance = 2
    assert list(pool.queryIndex("balance").keys()) == [2]


def test_membership_after_a_savepoint_is_that_of_the_savepoint(store: Store) -> None:
    with store.transaction():
        pool = store.pool("accounts", "balance")
        item = store.add(Account(balance=1))
    with store.transaction():
        pool.addItem(item)
        pool.removeItem(item)
        len(pool)
        with store.transaction():
            pool.addItem(item)
        assert item in pool
        item.balance = 2
    assert list(pool) == [item]
    with store.transaction():
        pool.removeItem(item)
        pool.addItem(item)
        len(pool)
        with store.transaction():
            pool.removeItem(item)
        item.balance = 3
        assert item not in pool
    assert len(pool) == 0


def test_commit_and_abort_by_hand(store: Store) -> None:
    transaction = store.begin()
    item = store.add(Account(balance=1))
    transaction.commit()
    assert stored(item) == {"balance": 1}
    outer = store.begin()
    item.balance = 2
    inner = store.begin()
    item.balance = 3
    inner.abort()
    assert item.balance == 2
    outer.abort()
    assert item.balance == 1


def test_an_ended_transaction_is_refused(store: Store) -> None:
    transaction = store.begin()
    transaction.commit()
    for end in (transaction.commit, transaction.abort):
        with pytest.raises(TransactionEnded, match="over"):
            end()
    with store.transaction() as again:
        store.add(Account())
        again.abort()
        with pytest.raises(NoTransaction):
            store.add(Account())
    assert len(store) == 0
    with store.transaction():
        store.add(Account())
    assert len(store) == 1


def test_an_outer_transaction_does_not_end_before_its_inner_one(store: Store) -> None:
    outer = store.begin()
    item = store.add(Account(n=1))
    inner = store.begin()
    with pytest.raises(TransactionEnded, match="nested"):
        outer.commit()
    item.n = 2
    inner.commit()
    outer.commit()
    assert stored(item) == {"n": 2}


def test_a_with_block_ends_what_was_begun_in_it(store: Store) -> None:
    with pytest.raises(Stop), store.transaction():
        store.begin()
        store.add(Account())
        raise Stop
    elsewhere(lambda: store.begin().abort())
    with pytest.raises(TransactionEnded), store.transaction():
        store.begin()
        store.add(Account())
    elsewhere(lambda: store.begin().abort())
    assert len(store) == 0


def test_a_transaction_ends_in_its_thread(store: Store) -> None:
    transaction = store.begin()
    item = store.add(Account(n=1))
    with pytest.raises(WrongThread):
        elsewhere(transaction.commit)
    with pytest.raises(WrongThread):
        elsewhere(transaction.abort)
    transaction.commit()
    assert stored(item) == {"n": 1}


def test_transact_returns_what_the_call_returns(store: Store) -> None:
    def add(n: int, *, more: int) -> int:
        return int(store.add(Account(n=n + more)).n)

    assert store.transact(add, 1, more=2) == 3
    assert len(store) == 1

    def fail() -> None:
        store.add(Account())
        raise Stop

    with pytest.raises(Stop):
        store.transact(fail)
    assert len(store) == 1


def test_a_transacted_method(store: Store) -> None:
    with store.transaction():
        item = store.add(Account(balance=10))
    assert item.pay(3) == 7
    with pytest.raises(Stop):
        item.pay(1, fail=True)
    assert stored(item) == {"balance": 7}
    with store.transaction():
        with pytest.raises(Stop):
            item.pay(1, fail=True)
        item.pay(2)
    assert stored(item) == {"balance": 5}
    assert Account.pay.__name__ == "pay"
    with pytest.raises(ValueRefused, match="no store"):
        Account(balance=1).pay(1)


@pytest.mark.parametrize("store", ["memory", "folder", "client", "server"], indirect=True)
def test_a_transaction_that_changes_nothing_writes_nothing(store: Store) -> None:
    with store.transaction():
        item = store.add(Account(n=1))
    serial = store.engine.state.serial
    with store.transaction():
        with store.transaction():
            list(store.items())
        item.n = 2
        item.n = 1
    with pytest.raises(Stop), store.transaction():
        item.n = 5
        raise Stop
    assert store.engine.state.serial == serial


def test_a_second_writer_waits_and_gets_store_busy(store: Store) -> None:
    with store.transaction():
        with pytest.raises(StoreBusy, match=r"thread|process"):
            elsewhere(store.begin)
        store.add(Account())
    elsewhere(lambda: store.begin().abort())
    assert len(store) == 1


def test_a_thread_that_died_in_a_transaction_holds_nobody_up(store: Store) -> None:
    def die() -> None:
        store.begin()
        store.add(Account())

    gc.disable()
    try:
        thread = threading.Thread(target=die)
        thread.start()
        thread.join()
        with store.transaction():
            store.add(Account(n=1))
    finally:
        gc.enable()
    assert len(store) == 1


def test_calling_transaction_without_with_holds_nobody_up(store: Store) -> None:
    store.transaction()
    elsewhere(lambda: store.begin().abort())


SPOILS: list[tuple[Callable[[Any, Any], Any], type[Exception]]] = [
    (lambda one, two: setattr(one, "email", "2"), DuplicateKey),
    (lambda one, two: setattr(two, "bad", lambda: None), NotStorable),
    (lambda one, two: setattr(two, "email", object()), ValueRefused),
    (lambda one, two: one.tags.append(iter([])), NotStorable),
]


@pytest.mark.parametrize(("spoil", "error"), SPOILS)
@pytest.mark.parametrize("nested", [False, True])
def test_a_commit_that_is_refused_leaves_all_as_it_was(
    store: Store, nested: bool, spoil: Callable[[Any, Any], Any], error: type[Exception]
) -> None:
    with store.transaction():
        pool = store.pool("accounts", Index("email", unique=True))
        one, two = Account(email="1", tags=[1]), Account(email="2")
        pool.addItem(one)
        pool.addItem(two)
    before = [stored(one), stored(two)]
    new = Account(email="new")

    def change() -> None:
        with store.transaction():
            pool.addItem(new)
            one.tags.append(2)
            two.n = 5
            spoil(one, two)

    if nested:
        with store.transaction():
            one.tags.append("kept")
            with pytest.raises(error):
                change()
            two.kept = "too"
        before = [{"email": "1", "tags": [1, "kept"]}, {"email": "2", "kept": "too"}]
    else:
        with pytest.raises(error):
            change()
    assert [dict(vars(one)), dict(vars(two))] == before
    assert [stored(one), stored(two)] == before
    assert (new.id, vars(new)) == (None, {"email": "new"})
    assert list(pool.queryIndex("email").keys()) == ["1", "2"]


def test_an_addition_that_is_refused_leaves_the_transaction_usable(store: Store) -> None:
    with store.transaction():
        pool = store.pool("accounts", Index("email", unique=True), Index("n"))
        pool.addItem(Account(email="1"))
        size = len(store)
        for bad in (Account(email="1", friend=Account()), Account(email="2", n=object()),
                    Account(email=store)):
            with pytest.raises(ValueRefused):
                pool.addItem(bad)
            assert (bad.id, bad.store) == (None, None)
        assert (len(store), len(pool)) == (size, 1)
        pool.addItem(Account(email="2"))
    assert list(pool.queryIndex("email").keys()) == ["1", "2"]


def test_ids_are_never_given_again(store: Store) -> None:
    with store.transaction():
        first = store.add(Account()).id
        with pytest.raises(Stop), store.transaction():
            store.add(Account())
            raise Stop
    with store.transaction():
        last = store.add(Account())
        number = last.id
        store.delete(last)
    with store.transaction():
        assert store.add(Account()).id > number > first


def test_an_item_rolled_back_can_be_added_again(store: Store) -> None:
    item = Account(tags=[1], friend=Account(n=1))
    with pytest.raises(Stop), store.transaction():
        store.add(item)
        len(store)
        item.tags.append(2)
        raise Stop
    assert item.friend.id is None
    item.tags.append(3)
    with store.transaction():
        store.add(item)
    assert stored(item)["tags"] == [1, 3]
    assert len(store) == 2


def test_a_large_transaction_is_flushed_on_the_way_and_rolled_back_whole(store: Store) -> None:
    items = [Account(n=n, tags=[n]) for n in range(2500)]
    with pytest.raises(Stop), store.transaction():
        pool = store.pool("all", "n")
        for item in items:
            pool.addItem(item)
            item.tags.append("x")
        raise Stop
    assert all(vars(item) == {"n": n, "tags": [n]} for n, item in enumerate(items))
    assert len(store) == 0


@pytest.mark.parametrize("spill", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_an_object_that_was_dropped_and_loaded_again_is_rolled_back_too(
    store: Store, monkeypatch: pytest.MonkeyPatch, nested: bool, spill: bool
) -> None:
    monkeypatch.setattr(objects, "TAIL_BYTES", 0)  # as when much is loaded in between
    if spill:
        monkeypatch.setattr(transaction, "SPILL_BYTES", 1)
    ident = elsewhere(add_account, store, 1)
    outer = store.begin()
    inner = store.begin() if nested else outer
    store.getItemByID(ident).balance = 2
    assert [account.balance for account in store.items(Account)] == [2]
    gc.collect()
    account = store.getItemByID(ident)
    assert account.balance == 2
    inner.abort()
    assert account.balance == 1
    if nested:
        outer.abort()
    assert account is store.getItemByID(ident)


def add_account(store: Store, balance: int) -> int:
    """The id of a new account."""
    with store.transaction():
        return int(store.add(Account(balance=balance)).id)
