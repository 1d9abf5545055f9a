"""What the tests of optimistic transactions work on: a pool of accounts, which two programs use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from atop import Index, Item, Store
from atop.errors import WriteConflict

Pair = tuple[Store, Store]


class Account(Item):
    """It holds a number and a list."""

    n: int
    tags: list[Any]


def fill(store: Store) -> None:
    """Four accounts in a pool, and one outside."""
    with store.transaction():
        pool = store.pool("accounts", "n", Index("email", unique=True))
        for n in range(4):
            pool.addItem(Account(n=n, tags=[n], email=f"{n}@x"))
        store.add(Account(n=-1))


def account(store: Store, n: int) -> Any:
    """The account with that number."""
    return store.pool("accounts").getIndexItem("n", n)


def numbers(store: Store) -> list[int]:
    """Those of all accounts in the pool."""
    return list(store.pool("accounts").queryIndex("n").keys())


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
