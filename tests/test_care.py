"""Checkpoints, compaction and figures: a store stays small, and says how it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from atop import Item, Store
from atop.errors import ReadOnlyStore, TransactionError


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Store]:
    """A store of which most was deleted; verified at the end."""
    with Store(tmp_path / "full.atop", durable=False) as store:
        fill(store, "{:06}")
        yield store
        assert store.verify().ok


def fill(store: Store, name: str) -> None:
    with store.transaction():
        pool = store.pool("all", "name")
        for number in range(4000):
            pool.addItem(Item(name=name.format(number), text="x" * (number % 300)))
    with store.transaction():
        for item in list(pool)[1000:3500:2] + list(pool)[2001:3000:2]:
            store.delete(item)


def test_a_checkpoint_leaves_the_log_short(full: Store) -> None:
    full.checkpoint()
    assert full.stats().log_bytes <= 10 << 20


def test_compacting_frees_room_and_keeps_everything(full: Store) -> None:
    names = [item.name for item in full.pool("all")]
    full.checkpoint()
    before = full.stats().table_bytes
    done = full.compact()
    assert done.freed > 0
    assert full.stats().table_bytes == before - done.freed
    assert done.left_out == ()
    assert [item.name for item in full.pool("all")] == names
    assert full.pool("all").queryIndex("name").position(names[700]) == 700


def test_a_compacted_store_is_whole_after_a_crash(full: Store, tmp_path: Path) -> None:
    full.compact()
    full.backup(tmp_path / "copy")
    with Store(tmp_path / "copy") as copy:
        assert copy.verify().ok
        assert len(copy) == len(full)


def test_readers_and_writers_go_on_while_a_store_is_compacted(full: Store) -> None:
    done = threading.Event()
    worked: list[int] = []

    def work() -> None:
        pool = full.pool("all")
        while not done.is_set():
            with full.transaction():
                pool.addItem(Item(name=f"new {len(worked)}"))
            assert pool.getIndexItem("name", f"new {len(worked)}")
            worked.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(3):
        full.compact()
    done.set()
    thread.join()
    assert worked, "the writer did not get its turn"
    assert len(full.pool("all").queryIndex("name", prefix="new")) == len(worked)


def test_an_index_with_large_keys_is_left_out(tmp_path: Path) -> None:
    with Store(tmp_path / "large.atop", durable=False) as store:
        with store.transaction():
            pool = store.pool("all", "name")
            for number in range(600):
                pool.addItem(Item(name=f"{number % 7}" * 5000 + str(number)))
        with store.transaction():
            for item in list(pool)[::2]:
                store.delete(item)
        assert store.compact().left_out == ("index",)
        assert store.verify().ok
        assert len(pool) == 300


def test_a_large_key_that_comes_while_compacting_ends_it(full: Store) -> None:
    def told(what: str, done: int, total: int) -> None:
        if (what, done) == ("index", 2000):
            with full.transaction():
                full.pool("all").addItem(Item(name="z" * 5000))

    with full.transaction():
        for number in range(4000):
            full.pool("all").addItem(Item(name=f"more {number}"))
    assert full.compact(told).left_out == ("index",)


def test_a_store_open_for_reading_is_not_changed(tmp_path: Path) -> None:
    Store(tmp_path / "new.atop").close()
    with Store(tmp_path / "new.atop", readOnly=True) as store:
        with pytest.raises(ReadOnlyStore):
            store.checkpoint()
        with pytest.raises(ReadOnlyStore):
            store.compact()


def test_care_is_taken_outside_transactions(full: Store) -> None:
    with full.transaction():
        with pytest.raises(TransactionError):
            full.checkpoint()
        with pytest.raises(TransactionError):
            full.compact()


def test_a_store_in_memory_needs_no_care() -> None:
    with Store() as store:
        store.checkpoint()
        assert store.compact().freed == 0


def test_the_figures_are_those_of_the_store(store: Store) -> None:
    before = store.stats().serial
    with store.transaction():
        pool = store.pool("all", "name", "born")
        for number in range(10):
            pool.addItem(Item(name=str(number)))
        with store.newFile("a") as file:
            file.write(b"12345")
    stats = store.stats()
    assert (stats.items, stats.entries, stats.pools) == (12, 20, 1)
    assert (stats.files, stats.file_bytes) == (1, 5)
    assert before < stats.serial <= store.engine.state.serial
    assert stats.time is not None
    assert abs(datetime.now(UTC) - stats.time) < timedelta(minutes=5)
    if store.path is not None:
        assert min(stats.table_bytes, stats.log_bytes, stats.page_hits) > 0
        store.checkpoint()
        checkpoint = store.stats().checkpoint
        assert checkpoint is not None
        assert abs(datetime.now(UTC) - checkpoint) < timedelta(minutes=5)
        assert store.folder is not None or store.stats().clients > 0


def test_a_new_store_has_no_last_commit() -> None:
    with Store() as store:
        assert store.stats().time is None
