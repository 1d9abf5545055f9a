"""What conflicts between optimistic transactions, and how all is left after that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from atop import Item, Store
from atop.errors import Conflict, DuplicateKey, NoSuchItem, ReadConflict, WriteConflict
from tests.accounts import Account, Pair, account, commit_both, numbers
from tests.conftest import stored


class Letter(Item):
    """A class that the store does not know yet."""


class Stamp(Item):
    """Another one."""


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
    one, _ = pair
    item = account(one, 1)
    commit_both(pair, lambda store: setattr(account(store, 1), "n", 9),
                lambda store: store.delete(account(store, 1)))
    with pytest.raises(NoSuchItem):
        item.n
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
    commit_both(pair, lambda store: store.pool("accounts").dropIndex("tags.0"),
                lambda store: store.pool("accounts").addItem(Account(n=10, email="new")))
    assert numbers(pair[1]) == [0, 1, 2, 3, 10]


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
