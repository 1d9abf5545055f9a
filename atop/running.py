"""Transactions from their begin to their end: rolled back on an exception, and tried again."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from atop.engine.base import Turn
from atop.engine.optimism import Optimist
from atop.errors import Conflict, TransactionError, TransactionLost, ValueRefused
from atop.transaction import Transaction

if TYPE_CHECKING:
    from atop.store import Store

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_TRIES = 6
_OPTIMISTIC_TRIES = 3
_PAUSE = 0.001
_RETRIED = (TransactionLost, Conflict)


def begin(store: Store, *, optimistic: bool) -> Transaction:
    """A transaction of the current thread; a savepoint, if it has one open."""
    session = store.session()
    store.check_writable()
    outer = session.transaction
    if outer is not None:
        session.transaction = Transaction(session, outer.turn, outer)
        return session.transaction
    if session.snapshot is not None:
        raise TransactionError(
            "a transaction cannot begin inside a snapshot, whose items may be out of date: "
            "end the snapshot first"
        )
    session.check_outside()
    turn: Turn = (
        Optimist(store.engine, store.timeout) if optimistic else store.engine.writer(store.timeout)
    )
    try:
        transaction = session.transaction = Transaction(session, turn)
        session.catch_up(turn.state.serial)
        if transaction.reads is not None:
            session.watch_reads(transaction.reads)
    except BaseException:
        session.transaction = None
        turn.release()
        raise
    return transaction


@contextmanager
def running(store: Store, *, optimistic: bool) -> Iterator[Transaction]:
    """A transaction that ends with the context, between which steps Ctrl-C may come."""
    session = store.session()
    outer = session.transaction
    try:
        with begin(store, optimistic=optimistic) as transaction:
            yield transaction
    except BaseException as error:
        while session.transaction is not None and session.transaction is not outer:
            session.transaction.abort()
        if not isinstance(error, Exception):
            session.distrust()
        raise


def transact(store: Store, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """See :meth:`atop.store.Store.transact`."""
    if store.session().transaction is not None:
        with running(store, optimistic=store.optimistic):
            return call(*args, **kwargs)
    for failed in range(_TRIES - 1):
        try:
            with running(store, optimistic=store.optimistic and failed < _OPTIMISTIC_TRIES):
                return call(*args, **kwargs)
        except _RETRIED:
            time.sleep(random.random() * _PAUSE * 2**failed)
    with running(store, optimistic=False):
        return call(*args, **kwargs)


def transacted(method: F) -> F:
    """Make a method of anything with a ``.store`` run in a transaction of it."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        store: Store | None = self.store
        if store is None:
            raise ValueRefused(f"{self!r} is in no store: add it to one first", self)
        return store.transact(method, self, *args, **kwargs)

    return cast(F, call)
