"""An owner that is stopped: the others are told which process it is, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from atop import Store
from atop.errors import CommitInDoubt, StoreBusy
from tests.sharing.processes import Other, Thing

Start = Callable[..., Other]
SOON = 3.0


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atop.engine.lasting._LEAST_PATIENCE", 0.5)


@pytest.fixture
def owner(other: Start) -> Other:
    made = other()
    made.do("with store.transaction(): store.add(Thing(n=0))")
    return made


def test_who_opens_a_store_whose_owner_is_stopped_is_told_its_process(
    path: Path, owner: Other
) -> None:
    with Store(path):
        pass
    owner.stop()
    began = time.monotonic()
    with pytest.raises(StoreBusy, match=f"process {owner.pid}") as caught:
        Store(path, timeout=0.1)
    assert time.monotonic() - began < SOON
    assert caught.value.pid == owner.pid
    owner.go_on()
    with Store(path, timeout=0.1) as store:
        assert len(store) == 1


def test_who_is_the_first_to_open_a_store_whose_owner_is_stopped_is_told_too(
    path: Path, owner: Other
) -> None:
    owner.stop()
    with pytest.raises(StoreBusy, match=f"process {owner.pid}"):
        Store(path, timeout=0.1)
    owner.go_on()
    Store(path, timeout=5).close()


def test_a_client_waits_in_bounded_time_and_goes_on_afterwards(path: Path, owner: Other) -> None:
    with Store(path, timeout=0.1, durable=False) as store:
        thing = store.getItemByID(1)
        assert thing.n == 0
        owner.stop()
        for use in (lambda: len(store), store.begin, lambda: store.getItemByID(77, None)):
            began = time.monotonic()
            with pytest.raises(StoreBusy, match=f"(?s)process {owner.pid} .*has not answered"):
                use()
            assert time.monotonic() - began < SOON
        assert thing.n == 0, "what is in memory can be read"
        owner.go_on()
        assert len(store) == 1
        with store.transaction():
            thing.n = 1
        assert owner.do("answer = store.getItemByID(1).n") == 1


def test_a_commit_to_a_stopped_owner_is_in_doubt_and_in_or_not_as_a_whole(
    path: Path, owner: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atop.engine.sending._PATIENCE", 0.5)
    with Store(path, timeout=0.1, durable=False) as store:
        first, second = store.getItemByID(1), Thing(n=0)
        with pytest.raises(CommitInDoubt, match="not known"):
            with store.transaction() as transaction:
                first.n = 7
                store.add(second)
                transaction.flush()
                owner.stop()
        owner.go_on()
        assert store.engine.state  # which is answered after the commit
        now = owner.do("answer = [store.getItemByID(1).n, len(store)]")
        assert now in ([7, 2], [0, 1])
        assert [store.getItemByID(1).n, len(store)] == now
        with store.transaction():
            store.getItemByID(1).n = 9
        assert owner.do("answer = store.getItemByID(1).n") == 9
