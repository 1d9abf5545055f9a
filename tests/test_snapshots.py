"""Everything that is read inside a snapshot is from one moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from atop import Item, Store
from atop.engine import bdb, history
from atop.engine.base import INDEX
from atop.errors import NoTransaction, SnapshotTooOld, TransactionError
from tests.checking import check_store
from tests.conftest import elsewhere
from tests.sharing.serving import until


class Note(Item):
    """Any attributes."""


def in_transaction(store: Store, change: Callable[[], Any]) -> None:
    """Another thread commits `change`."""

    def run() -> None:
        with store.transaction():
            change()

    elsewhere(run)


def test_a_snapshot_is_of_one_moment_while_others_commit(store: Store) -> None:
    with store.transaction():
        pool = store.pool("notes", "n")
        items = [Note(n=n, tags=[n]) for n in range(5)]
        for item in items:
            pool.addItem(item)
    ids = [item.id for item in items]

    def spoil() -> None:
        store.getItemByID(ids[0]).n = 99
        store.getItemByID(ids[1]).tags.append("x")
        store.delete(store.getItemByID(ids[2]))
        pool.removeItem(store.getItemByID(ids[3]))
        pool.addItem(Note(n=-1))
        store.pool("notes", "title")

    def look() -> None:
        assert list(pool.queryIndex("n").keys()) == [0, 1, 2, 3, 4]
        assert list(pool.queryIndex("n").ids()) == ids
        assert (len(pool), len(store), len(pool.queryIndex("n"))) == (5, 6, 5)
        assert [item.n for item in pool] == [0, 1, 2, 3, 4]
        assert [item.tags for item in pool] == [[n] for n in range(5)]
        assert store.getItemByID(ids[2]).n == 2
        assert ids[2] in store
        assert [index.name for index in pool.indexes] == ["n"]
        assert pool.queryIndex("n").position(4) == 4

    with store.snapshot():
        look()
        in_transaction(store, spoil)
        look()
        with store.snapshot():
            look()

    def fresh() -> None:
        assert list(pool.queryIndex("n").keys()) == [-1, 1, 4, 99]

    fresh()
    elsewhere(fresh)
    assert [index.name for index in store.pool("notes").indexes] == ["n", "title"]
    assert store.getItemByID(ids[2], None) is None


def test_a_snapshot_sees_what_was_never_loaded_as_it_was(store: Store) -> None:
    def make() -> int:
        with store.transaction():
            return int(store.add(Note(n=1, friend=Note(n=2))).id)

    number = elsewhere(make)
    with store.snapshot():
        in_transaction(store, lambda: setattr(store.getItemByID(number), "n", 9))
        in_transaction(store, lambda: setattr(store.getItemByID(number).friend, "n", 9))
        item = store.getItemByID(number)
        assert (item.n, item.friend.n) == (1, 2)
    assert (store.getItemByID(number).n, item.friend.n) == (9, 9)


def test_nothing_is_changed_in_a_snapshot(store: Store) -> None:
    with store.transaction():
        item = store.add(Note(tags=["a"]))
    with store.snapshot():
        with pytest.raises(TransactionError, match="snapshot"):
            store.begin()
        with pytest.raises(TransactionError, match="snapshot"), store.transaction():
            pass
        with pytest.raises(NoTransaction):
            item.tags.append("b")
    with store.transaction():
        item.tags.append("b")
    assert item.tags == ["a", "b"]


def test_a_snapshot_in_a_transaction_shows_the_transaction(store: Store) -> None:
    with store.transaction():
        item = store.add(Note(n=1))
        with store.snapshot():
            assert store.getItemByID(item.id) is item
            assert len(store) == 1


@pytest.mark.parametrize("store", ["memory", "folder"], indirect=True)
def test_a_snapshot_that_fell_behind_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.transaction():
        item = store.add(Note(n=0, text="x" * 10_000))
    number = item.id
    monkeypatch.setattr(history, "KEPT_BYTES", 20_000)
    del item

    def change() -> None:
        mine = store.getItemByID(number)
        mine.n += 1

    def look() -> None:
        with store.snapshot():
            for _ in range(10):
                in_transaction(store, change)
            store.getItemByID(number)

    with pytest.raises(SnapshotTooOld, match=r"no longer kept.*begin"):
        elsewhere(look)
    assert store.getItemByID(number).n == 10


def test_what_a_large_commit_changed_is_kept_for_who_may_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bdb, "_MANY_KEYS", 20)
    with Store(tmp_path / "s.atop", durable=False) as store:
        with store.transaction():
            pool = store.pool("notes", "n")
            pool.addItem(Note(n=0))

        def add(count: int) -> None:
            mine = store.pool("notes")
            for n in range(count):
                mine.addItem(Note(n=n))
            mine.getIndexItem("n", 0).tags = [count]

        before = store.engine.serial
        in_transaction(store, partial(add, 5))
        assert len(store.engine.changed(before)[INDEX]) == 5, "few are kept for anybody"
        in_transaction(store, partial(add, 50))
        assert next(iter(pool)).tags == [50], "what was cached is not used"
        with pytest.raises(SnapshotTooOld, match="too large"):
            store.engine.changed(before)
        with store.snapshot():
            begun = store.engine.serial
            in_transaction(store, partial(add, 500))
            assert (len(pool), next(iter(pool)).tags) == (56, [50])
            assert len(store.engine.changed(begun)[INDEX]) == 500
        assert (len(pool), next(iter(pool)).tags) == (556, [500])
        check_store(store)


def test_a_deleted_file_can_be_read_in_a_snapshot(store: Store) -> None:
    with store.transaction():
        with store.newFile("a.txt") as file:
            file.write(b"hello")
    number = file.id
    with store.snapshot():
        in_transaction(store, lambda: store.delete(store.getItemByID(number)))
        with store.getItemByID(number).open() as source:
            assert source.read() == b"hello"
        path = source.name
    assert store.engine.state
    assert not Path(path).exists(), "the bytes go when nobody may read them any more"


class Reader:
    """A thread that begins and ends snapshots, and reads a file in them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._moment: Any = None
        self._thread = ThreadPoolExecutor(1)

    def begin(self) -> None:
        self._moment = self._store.snapshot()
        self._thread.submit(self._moment.__enter__).result()

    def end(self) -> None:
        self._thread.submit(self._moment.__exit__, None, None, None).result()

    def read(self, number: Any) -> Any:
        return self._thread.submit(self._read, number).result()

    def close(self) -> None:
        self._thread.shutdown()

    def _read(self, number: int) -> Any:
        with self._store.getItemByID(number).open() as source:
            return source.read()


def test_deleted_files_go_though_there_is_always_a_snapshot(store: Store) -> None:
    with store.transaction():
        numbers = []
        for n in range(6):
            with store.newFile(f"{n}.txt") as file:
                file.write(b"%d" % n)
            numbers.append(file.id)

    def files(count: int) -> bool:
        return store.keeper.figures()["files"] == count

    def delete(number: Any) -> None:
        store.delete(store.getItemByID(number))

    with closing(Reader(store)) as older, closing(Reader(store)) as newer:
        older.begin()
        for left, number in reversed(list(enumerate(numbers))):
            in_transaction(store, partial(delete, number))
            newer.begin()
            in_transaction(store, lambda: store.add(Note()))
            assert older.read(number) == b"%d" % left
            assert files(left + 1), "the older snapshot still sees it"
            older.end()
            until(partial(files, left))
            older, newer = newer, older
        older.end()


def test_a_file_stays_for_the_older_of_two_snapshots_whichever_ends_first(store: Store) -> None:
    with store.transaction():
        with store.newFile("a.txt") as file:
            file.write(b"hello")
    number = file.id
    with closing(Reader(store)) as older, closing(Reader(store)) as newer:
        older.begin()
        in_transaction(store, lambda: store.add(Note()))
        newer.begin()
        in_transaction(store, lambda: store.delete(store.getItemByID(number)))
        newer.end()
        in_transaction(store, lambda: store.add(Note()))
        assert older.read(number) == b"hello"
        older.end()
    until(lambda: store.keeper.figures()["files"] == 0)


def test_a_long_walk_outside_holds_nothing_up_and_sees_what_comes(store: Store) -> None:
    with store.transaction():
        pool = store.pool("notes", "n")
        for n in range(300):
            pool.addItem(Note(n=n))
    walk = iter(pool.queryIndex("n").keys())
    seen = [next(walk)]
    in_transaction(store, lambda: pool.addItem(Note(n=299.5)))
    in_transaction(store, lambda: pool.addItem(Note(n=-1)))
    in_transaction(store, lambda: store.delete(pool.getIndexItem("n", 250)))
    seen += walk
    assert seen == [*range(250), *range(251, 300), 299.5], "after the key it saw last, each once"


def test_walks_while_everything_changes_end(store: Store) -> None:
    with store.transaction():
        pool = store.pool("notes", "n")
        for n in range(150):
            pool.addItem(Note(n=n))
    with store.transaction():
        seen = []
        for item in pool.queryIndex("n"):
            seen.append(item.id)
            assert len(seen) < 500, "a walk never ends"
            item.n += 50
            if item.n % 10 == 0:
                pool.addItem(Note(n=item.n))
    assert len(set(seen)) == len(seen) >= 150, "a walk in a transaction shows each item once"
    with store.transaction():
        for item in pool.queryIndex("n", backwards=True):
            store.delete(item)
    assert len(pool) == 0


def test_all_items_can_be_walked_while_they_are_changed(store: Store) -> None:
    with store.transaction():
        for n in range(1200):
            store.add(Note(n=n))
    with store.transaction():
        for item in store.items(Note):
            item.n += 1
            if item.n % 2:
                store.delete(item)
    assert sorted(item.n for item in store.items()) == list(range(2, 1201, 2))
