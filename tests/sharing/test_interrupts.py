"""Ctrl-C at any moment leaves a shared store, its items and its other users as they should be."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from atop import Store
from tests.conftest import elsewhere
from tests.sharing.processes import Failed, Other, Thing

Start = Callable[..., Other]


@pytest.fixture
def owner(other: Start) -> Other:
    made = other()
    made.do("with store.transaction(): [store.add(Thing(n=0)) for _ in range(50)]")
    return made


@pytest.fixture
def store(path: Path, owner: Other) -> Iterator[Store]:
    """The store as we have it, clients of that process."""
    with Store(path, timeout=20, durable=False) as opened:
        yield opened


@contextmanager
def interrupt_after(seconds: float) -> Iterator[None]:
    """Ctrl-C comes after that time; an exception is raised for it, even if it is late."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
        time.sleep(30)
    finally:
        timer.join()


def test_an_interrupt_while_waiting_for_the_turn(store: Store, owner: Other) -> None:
    owner.do("store.begin()")
    with pytest.raises(KeyboardInterrupt), interrupt_after(0.3):
        store.begin()
    owner.do("store.session().transaction.abort()")
    owner.do("with store.transaction(): store.getItemByID(1).n = 1")
    with store.transaction():
        store.getItemByID(1).n += 1
    assert owner.do("answer = store.getItemByID(1).n") == 2


def test_an_interrupt_while_waiting_for_an_answer(store: Store, owner: Other) -> None:
    things = [store.getItemByID(n) for n in (1, 2)]
    owner.stop()
    with pytest.raises(KeyboardInterrupt), interrupt_after(0.3):
        store.getItemByID(40)
    owner.go_on()
    assert store.getItemByID(40).n == 0
    with store.transaction():
        things[0].n = 1
    assert owner.do("answer = store.getItemByID(1).n") == 1


def test_an_interrupt_of_one_thread_lets_the_others_go_on(store: Store, owner: Other) -> None:
    failed: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                with store.snapshot():
                    assert len(list(store.items())) == 50
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(10):
        with pytest.raises(KeyboardInterrupt), interrupt_after(0.01 * n):
            while True:
                list(store.items())
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert not failed, failed
    with store.transaction():
        store.getItemByID(1).n = 1


@pytest.mark.parametrize("owned", [False, True])
def test_an_interrupt_at_any_moment_of_a_transaction(
    path: Path, other: Start, owned: bool
) -> None:
    """What is committed is whole, what memory shows is what is committed, nobody is held up."""
    dice = random.Random(owned)
    if owned:
        with Store(path) as made, made.transaction():
            for _ in range(50):
                made.add(Thing(n=0))
    else:
        first = other()
        first.do("with store.transaction(): [store.add(Thing(n=0)) for _ in range(50)]")
    with Store(path, timeout=20) as store:
        helper = other()
        assert (store.folder is not None) == owned
        began = time.monotonic()
        _change(store, 1)
        lasts = time.monotonic() - began
        for n in range(2, 40):
            with pytest.raises(KeyboardInterrupt), interrupt_after(dice.random() * 2 * lasts):
                _change(store, n)
            found = elsewhere(lambda: [thing.n for thing in store.items()])
            assert len(set(found)) == 1, "half of a transaction is in"
            assert [thing.n for thing in store.items()] == found, "memory shows something else"
            helper.do("with store.transaction(): [setattr(t, 'n', t.n) for t in store.items()]")
            assert helper.do("answer = store.getItemByID(50).n") == found[0]
            _change(store, n)
            assert helper.do("answer = store.getItemByID(50).n") == n


def _change(store: Store, n: int) -> None:
    with store.transaction():
        for thing in store.items():
            thing.n = n


def test_an_interrupted_client_goes_on(path: Path, owner: Other, other: Start) -> None:
    client = other(timeout=20)
    owner.do("store.begin()")
    client.start("store.begin()")
    time.sleep(0.2)
    client.interrupt()
    with pytest.raises(Failed, match="KeyboardInterrupt"):
        client.answer()
    owner.do("store.session().transaction.abort()")
    client.do("with store.transaction(): store.getItemByID(1).n = 3")
    assert owner.do("answer = store.getItemByID(1).n") == 3


def test_an_interrupted_owner_serves_on(path: Path, owner: Other, other: Start) -> None:
    client = other()
    owner.start("time.sleep(20)")
    time.sleep(0.2)
    owner.interrupt()
    with pytest.raises(Failed, match="KeyboardInterrupt"):
        owner.answer()
    client.do("with store.transaction(): store.getItemByID(1).n = 3")
    assert owner.do("answer = store.getItemByID(1).n") == 3
    assert owner.owns
