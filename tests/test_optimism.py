"""Optimistic transactions: nobody waits, and what others have changed meanwhile is told at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from atop import Index, Item, Store
from atop.engine import history
from atop.errors import (
    Conflict,
    DuplicateKey,
    NoSuchItem,
    ReadConflict,
    StoreBusy,
    WriteConflict,
)
from tests.checking import check_store
from tests.conftest import elsewhere, run_child, start_child, stored

Pair = tuple[Store, Store]


class Account(Item):
    """What the tests work on."""

    n: int
    tags: list[Any]


class Letter(Item):
    """A class that the store does not know yet."""


class Stamp(Item):
    """Another one."""


@pytest.fixture
def pair(open_store: Callable[..., Store]) -> Pair:
    """One store, opened twice: two programs, each with its own objects."""
    one, two = (open_store(optimistic=True, timeout=5) for _ in range(2))
    with one.transaction():
        pool = one.pool("accounts", "n", Index("email", unique=True))
        for n in range(4):
            pool.addItem(Account(n=n, tags=[n], email=f"{n}@x"))
        one.add(Account(n=-1))
    return one, two


def account(store: Store, n: int) -> Any:
    return store.pool("accounts").getIndexItem("n", n)


def numbers(store: Store) -> list[int]:
    return list(store.pool("accounts").queryIndex("n").keys())


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


# Conflicts


def commit_both(pair: Pair, mine: Callable[[Store], Any], theirs: Callable[[Store], Any]) -> Any:
    """The conflict that `mine` gets, since `theirs` is committed before it is."""
    one, two = pair
    before = one.begin()
    mine(one)
    with two.transaction():
        theirs(two)
    with pytest.raises(WriteConflict) as caught:
        before.commit()
    return caught.value


def test_no_update_is_lost(pair: Pair) -> None:
    one, two = pair
    item = account(one, 1)

    def add_ten(store: Store) -> None:
        account(store, 1).n += 10

    conflict = commit_both(pair, add_ten, lambda store: setattr(account(store, 1), "n", 7))
    assert conflict.ids == (item.id,)
    assert "transact" in str(conflict)
    assert item.n == 7, "it shows the newest state at once"
    assert numbers(two) == [0, 2, 3, 7]


def test_what_each_reads_and_the_other_writes_conflicts(pair: Pair) -> None:
    """The sum of two accounts is to stay positive, and each takes from another one."""

    def take_from(n: int) -> Callable[[Store], None]:
        def take(store: Store) -> None:
            if account(store, 2).n + account(store, 3).n > 4:
                account(store, n).n -= 5

        return take

    assert commit_both(pair, take_from(2), take_from(3)).ids
    assert numbers(pair[0]) == [-2, 0, 1, 2]


COUNTS: list[Callable[[Store], Any]] = [
    lambda store: len(store.pool("accounts").queryIndex("n", 5, 20)),
    lambda store: list(store.pool("accounts").queryIndex("n", 5, 20).keys()),
    lambda store: store.pool("accounts").queryIndex("n", 5).first(),
    lambda store: store.pool("accounts").queryIndex("n", backwards=True).first(),
    lambda store: store.pool("accounts").queryIndex("n")[4:5].first(),
    lambda store: store.pool("accounts").queryIndex("n").position(15),
    lambda store: [item for item in store.items(Account) if item.n == 10],
    lambda store: len(store),
]


@pytest.mark.parametrize("count", COUNTS)
def test_what_was_counted_and_came_meanwhile_conflicts(
    pair: Pair, count: Callable[[Store], Any]
) -> None:
    def decide(store: Store) -> None:
        count(store)
        account(store, 0).tags.append("decided")

    conflict = commit_both(
        pair, decide, lambda store: store.pool("accounts").addItem(Account(n=10, email="new"))
    )
    assert conflict.ids == (account(pair[1], 10).id,)
    assert account(pair[0], 0).tags == [0]


def test_a_unique_key_is_given_once(pair: Pair) -> None:
    one, two = pair

    def add(store: Store) -> None:
        store.pool("accounts").addItem(Account(n=10, email="same"))

    commit_both(pair, add, add)
    with pytest.raises(DuplicateKey):
        one.transact(add, one)
    assert len(list(two.pool("accounts").queryIndex("email", key="same"))) == 1


def test_what_was_not_there_and_is_now_conflicts(pair: Pair) -> None:
    def make(store: Store) -> None:
        store.pool("new", "n")

    commit_both(pair, make, make)
    one, two = pair
    assert one.transact(one.pool, "new").id == two.pool("new").id


def test_an_item_that_was_deleted_meanwhile_conflicts(pair: Pair) -> None:
    one, two = pair
    item = account(one, 1)
    commit_both(pair, lambda store: setattr(account(store, 1), "n", 9),
                lambda store: store.delete(account(store, 1)))
    with pytest.raises(NoSuchItem):
        item.n  # noqa: B018
    commit_both(pair, lambda store: store.delete(account(store, 2)),
                lambda store: setattr(account(store, 2), "n", 9))
    assert numbers(one) == [0, 3, 9]


def test_both_deleting_an_item_conflicts(pair: Pair) -> None:
    def delete(store: Store) -> None:
        store.delete(account(store, 1))

    commit_both(pair, delete, delete)
    assert numbers(pair[0]) == [0, 2, 3]


def test_an_item_that_only_its_id_was_asked_for_conflicts_when_it_goes(pair: Pair) -> None:
    one, two = pair
    ident = account(one, 1).id

    def look(store: Store) -> None:
        if store.getItemByID(ident, None) is not None:
            account(store, 0).n = 10

    commit_both(pair, look, lambda store: store.delete(store.getItemByID(ident)))
    assert numbers(two) == [0, 2, 3]


def test_joining_and_leaving_a_pool_conflicts(pair: Pair) -> None:
    one, two = pair

    def leave(store: Store) -> None:
        store.pool("accounts").removeItem(account(store, 1))

    commit_both(pair, leave, leave)
    outside = next(item for item in one.items(Account) if item.n == 1)

    def join(store: Store) -> None:
        store.pool("accounts").addItem(store.getItemByID(outside.id))

    commit_both(pair, join, join)
    assert numbers(two) == [0, 1, 2, 3]
    with one.transaction():
        one.pool("accounts").addItem(outside)


def test_a_new_index_conflicts_with_new_items(pair: Pair) -> None:
    commit_both(pair, lambda store: store.pool("accounts").addItem(Account(n=10, email="new")),
                lambda store: store.pool("accounts").addIndex("tags.0"))
    one, two = pair
    commit_both(pair, lambda store: store.pool("accounts").dropIndex("tags.0"),
                lambda store: store.pool("accounts").addItem(Account(n=10, email="new")))
    assert numbers(two) == [0, 1, 2, 3, 10]


def test_a_reference_that_was_followed_conflicts(pair: Pair) -> None:
    one, two = pair
    with one.transaction():
        account(one, 0).friend = account(one, 1)

    def follow(store: Store) -> None:
        mine = account(store, 0)
        mine.n = 10 + mine.friend.n

    conflict = commit_both(pair, follow, lambda store: setattr(account(store, 1), "n", 5))
    assert conflict.ids == (account(two, 5).id,)
    follow_again = one.transact(follow, one)
    assert follow_again is None
    assert numbers(two) == [2, 3, 5, 15]


def test_changes_in_place_conflict(pair: Pair) -> None:
    one, two = pair
    for change in (
        lambda store: account(store, 1).tags.append("x"),
        lambda store: list.append(account(store, 1).tags, "y"),
        lambda store: vars(account(store, 1))["tags"].append("z"),
    ):
        commit_both(pair, change, change)
    assert account(one, 1).tags == account(two, 1).tags == [1, "x", "y", "z"]


def test_a_list_that_the_program_still_holds_counts_as_read(pair: Pair) -> None:
    one, two = pair
    item = account(one, 1)
    tags = item.tags

    def use(store: Store) -> None:
        account(store, 0).n = 10 + len(tags)

    conflict = commit_both(pair, use, lambda store: account(store, 1).tags.append("theirs"))
    assert conflict.ids == (item.id,)
    assert tags == [1, "theirs"], "it shows the newest state"
    with one.transaction():
        tags.append("mine")
    assert stored(item)["tags"] == [1, "theirs", "mine"]
    commit_both(pair, lambda store: list.append(tags, "rude"),
                lambda store: account(store, 1).tags.append("theirs too"))
    assert tags == account(two, 1).tags == [1, "theirs", "mine", "theirs too"]


def test_a_savepoint_that_was_rolled_back_has_read_all_the_same(pair: Pair) -> None:
    def decide(store: Store) -> None:
        inner = store.begin()
        seen = account(store, 1).n
        account(store, 1).n = 100
        inner.abort()
        with store.transaction():
            account(store, 0).n = 10 + seen

    commit_both(pair, decide, lambda store: setattr(account(store, 1), "n", 5))
    assert numbers(pair[0]) == [0, 2, 3, 5]


def test_new_classes_get_numbers_of_their_own(pair: Pair) -> None:
    one, two = pair
    before = one.begin()
    letter = one.add(Letter(text="a"))
    assert before.pending
    with two.transaction():
        stamp = two.add(Stamp(cents=80))
        assert [type(item) for item in two.items()].count(Stamp) == 1
    with pytest.raises(WriteConflict, match="pools or classes"):
        before.commit()
    assert letter.id is None
    with one.transaction():
        one.add(letter)
    assert type(two.getItemByID(letter.id)) is Letter
    assert type(one.getItemByID(stamp.id)) is Stamp


def test_conflicts_are_one_kind_of_error(pair: Pair) -> None:
    assert issubclass(WriteConflict, Conflict)
    assert issubclass(ReadConflict, Conflict)


# After a conflict


def test_all_is_as_others_left_it(pair: Pair) -> None:
    one, two = pair
    item, untouched = account(one, 1), account(one, 2)
    new = Account(n=10, email="new", tags=["mine"])

    def work(store: Store) -> None:
        item.tags.append("mine")
        store.pool("accounts").addItem(new)
        new.tags.append("too")
        store.delete(account(store, 3))

    def others(store: Store) -> None:
        account(store, 1).tags.append("theirs")
        account(store, 2).n = 12

    commit_both(pair, work, others)
    assert item.tags == [1, "theirs"]
    assert untouched.n == 12
    assert (new.id, new.tags) == (None, ["mine"])
    assert numbers(one) == [0, 1, 3, 12]
    with one.transaction():
        work(one)
    assert numbers(two) == [0, 1, 10, 12]
    assert account(two, 1).tags == [1, "theirs", "mine"]


def test_a_with_block_raises_the_conflict(pair: Pair) -> None:
    one, two = pair
    with pytest.raises(WriteConflict), one.transaction():
        account(one, 1).n = 10
        with two.transaction():
            account(two, 1).n = 20
    assert account(one, 20).n == 20
    with one.transaction():
        account(one, 20).n = 30
    assert numbers(two) == [0, 2, 3, 30]


def test_a_roll_back_of_ones_own_is_none(pair: Pair) -> None:
    one, two = pair
    item = account(one, 1)
    transaction = one.begin()
    item.n = 10
    with two.transaction():
        account(two, 1).n = 20
    transaction.abort()
    assert item.id == account(one, 20).id
    assert item.n == 20


def test_the_bytes_of_files_come_and_go_with_the_transaction(pair: Pair) -> None:
    one, two = pair

    def write(store: Store) -> Any:
        with store.newFile("a.txt") as file:
            file.write(b"hello")
        account(store, 1).tags.append(file)
        return file

    file = one.transact(write, one)
    with two.getItemByID(file.id).open() as source:
        assert source.read() == b"hello"
    commit_both(pair, write, lambda store: account(store, 1).tags.append("theirs"))
    assert account(one, 1).tags == [1, file, "theirs"]


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
        assert len(session._awake) == 1
    with store.transaction():
        assert items[4].n == 4
        assert len(session._awake) == 1


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
