"""Bad input gets its own error, which names the thing and the next step; the store is as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atop import Index, Item, Store, errors
from tests.conftest import elsewhere


class Thing(Item):
    """Any attributes."""


def _other(store: Store) -> Any:
    other = Store()
    with other.transaction():
        return other.add(Thing(n=1))


CASES: dict[str, tuple[Callable[[Store], Any], type[Exception], str]] = {
    "an id that does not exist": (lambda s: s.getItemByID(999), errors.NoSuchItem, "999"),
    "an id below all": (lambda s: s.getItemByID(-1), errors.NoSuchItem, "-1"),
    "an id beyond all": (lambda s: s.getItemByID(2**64), errors.NoSuchItem, str(2**64)),
    "an id that is no number": (
        lambda s: s.getItemByID("7"), errors.NoSuchItem, "'7'",  # type: ignore[arg-type]
    ),
    "a key that no item has": (
        lambda s: s.pool("pool").getIndexItem("n", 77), errors.NoSuchItem, "n 77"
    ),
    "an index that the pool lacks": (
        lambda s: s.pool("pool").queryIndex("x"), errors.NoSuchIndex, r"'x'.*'n'.*addIndex"
    ),
    "dropping an index that the pool lacks": (
        lambda s: s.pool("pool").dropIndex("x"), errors.NoSuchIndex, "'x'"
    ),
    "a bound that cannot be ordered": (
        lambda s: s.pool("pool").queryIndex("n", [1]), errors.IndexKeyError, r"'n'.*\[1\]"
    ),
    "a prefix that is none": (
        lambda s: s.pool("pool").queryIndex("n", prefix=5), errors.IndexKeyError, "'n'.*5"
    ),
    "a key that cannot be ordered": (
        lambda s: s.pool("pool").addItem(Thing(n=[1])), errors.IndexKeyError, r"Thing.*'n'.*\[1\]"
    ),
    "a key that is there": (
        lambda s: s.pool("pool").addItem(Thing(n=2, u=1)), errors.DuplicateKey, "Thing.*1.*'u'"
    ),
    "a value that cannot be stored": (
        lambda s: s.add(Thing(f=lambda: None)), errors.NotStorable, "'f' of <Thing"
    ),
    "an item of another store": (lambda s: s.add(_other(s)), errors.OtherStore, "Thing 1.*copy"),
    "what is no item": (lambda s: s.add("x"), errors.ValueRefused, "'x'"),  # type: ignore[arg-type]
    "deleting what is in no store": (lambda s: s.delete(Thing()), errors.NoSuchItem, "add"),
    "deleting what is no item": (
        lambda s: s.delete("x"), errors.ValueRefused, "'x'",  # type: ignore[arg-type]
    ),
    "another index of that name": (
        lambda s: s.pool("pool", Index("n", unique=True)), errors.IndexMismatch, "'n'"
    ),
    "the same index twice": (
        lambda s: s.pool("new", "a", "a"), errors.IndexMismatch, "'a'"
    ),
    "an index that is no index": (
        lambda s: s.pool("new", 5), errors.ValueRefused, "5",  # type: ignore[arg-type]
    ),
    "a pool's name that is no string": (
        lambda s: s.pool(5, "a"), errors.ValueRefused, "5",  # type: ignore[arg-type]
    ),
    "a file's name that is no string": (
        lambda s: s.newFile(5), errors.ValueRefused, "5",  # type: ignore[arg-type]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_its_own_error_and_the_store_as_it_was(store: Store, name: str) -> None:
    call, error, words = CASES[name]
    with store.transaction():
        pool = store.pool("pool", "n", Index("u", unique=True))
        pool.addItem(Thing(n=1, u=1))
    state = store.engine.state
    with pytest.raises(error, match=f"(?s){words}") as caught, store.transaction():
        call(store)
    assert isinstance(caught.value, errors.AtopError)
    now = store.engine.state
    assert (now.counts, now.next_id) == (state.counts, state.next_id)
    assert list(pool.queryIndex("n").keys()) == [1]
    with store.transaction():
        pool.addItem(Thing(n=5, u=5))
    assert len(pool) == 2


def test_not_found_is_a_key_error_with_a_default(store: Store) -> None:
    with pytest.raises(KeyError) as caught:
        store.getItemByID(5)
    assert str(caught.value) == "no item has the id 5"
    assert store.getItemByID(5, "none") == "none"
    assert store.getItemByID(5, None) is None
    assert 5 not in store
    assert "5" not in store


def test_a_second_writer_past_its_time_out(store: Store) -> None:
    with store.transaction():
        with pytest.raises(errors.StoreBusy, match=r"(thread|process).*timeout"):
            elsewhere(store.begin)


@pytest.mark.parametrize("use", [
    lambda s, item, pool: s.begin(), lambda s, item, pool: len(s),
    lambda s, item, pool: s.getItemByID(1), lambda s, item, pool: list(s.items()),
    lambda s, item, pool: s.pool("pool"), lambda s, item, pool: len(pool),
    lambda s, item, pool: list(pool.queryIndex("n")), lambda s, item, pool: s.add(Thing()),
    lambda s, item, pool: setattr(item, "n", 2), lambda s, item, pool: item.tags.append(1),
    lambda s, item, pool: s.newFile("a"), lambda s, item, pool: s.snapshot().__enter__(),
    lambda s, item, pool: s.transact(len, ""), lambda s, item, pool: s.delete(item),
])  # fmt: skip
def test_a_closed_store_says_so(store: Store, use: Callable[[Any, Any, Any], Any]) -> None:
    with store.transaction():
        pool = store.pool("pool", "n")
        item = store.add(Thing(n=1, tags=[]))
    assert item.tags == []
    store.close()
    with pytest.raises(errors.StoreClosed, match=r"closed.*open it again|closed: its content"):
        use(store, item, pool)
    assert item.n == 1
    store.close()
    assert "closed" in repr(store)


def test_closing_in_a_transaction_rolls_it_back(open_store: Callable[..., Store]) -> None:
    store = open_store()
    with store.transaction():
        item = store.add(Thing(n=1))
    store.begin()
    item.n = 2
    store.begin()
    item.n = 3
    store.close()
    assert [each.n for each in open_store().items()] == [1]


def test_a_read_only_store_is_not_written(open_store: Callable[..., Store]) -> None:
    store = open_store()
    with store.transaction():
        pool = store.pool("pool", "n")
        pool.addItem(Thing(n=1, tags=[1]))
    store.close()
    reader = open_store(readOnly=True)
    item = reader.pool("pool").queryIndex("n")[0]
    for use in (reader.begin, lambda: reader.pool("other"), lambda: setattr(item, "n", 2),
                lambda: item.tags.append(2), lambda: reader.add(Thing()),
                lambda: reader.pool("pool", "more")):
        with pytest.raises(errors.ReadOnlyStore, match="readOnly"):
            use()
    assert vars(item) == {"n": 1, "tags": [1]}
    reader.close()


def test_a_path_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.NotAStore, match="file"):
        Store(tmp_path / "file")
    with pytest.raises(errors.NotAStore, match="FORMAT"):
        Store(tmp_path)
    with pytest.raises(errors.NotAStore, match="absent"):
        Store(tmp_path / "absent", readOnly=True)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
