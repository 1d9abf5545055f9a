"""A page that was read is remembered as long as nothing is committed, and no longer."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest

from atop import Item, Pool, Store
from atop.engine import rows


class Name(Item):
    """What the pages are of."""

    name: str


def make(store: Store) -> Pool:
    with store.transaction():
        pool = store.pool("names", "name")
        for name in "abcdefgh":
            pool.addItem(Name(name=name))
    return pool


@pytest.fixture
def names(store: Store) -> Pool:
    return make(store)


def page(names: Pool) -> list[Any]:
    return list(iter(names.queryIndex("name", startKey="b")[:3]))


def test_a_page_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "names.atop") as store:
        names = make(store)
        first = page(names)
        monkeypatch.setattr(rows, "join", None)
        again = page(names)
        assert [each.name for each in again] == ["b", "c", "d"]
        assert all(one is other for one, other in zip(first, again, strict=True))
        with store.snapshot():
            assert page(names) == first


def test_what_is_committed_is_on_the_next_page(store: Store, names: Pool) -> None:
    first = page(names)
    with store.transaction():
        first[0].name = "z"
        assert [each.name for each in page(names)] == ["c", "d", "e"]
    assert [each.name for each in page(names)] == ["c", "d", "e"]

    def insert() -> None:
        with store.transaction():
            store.pool("names").addItem(Name(name="cc"))

    thread = threading.Thread(target=insert)
    thread.start()
    thread.join()
    assert [each.name for each in page(names)] == ["c", "cc", "d"]


def test_what_is_rolled_back_was_never_on_a_page(store: Store, names: Pool) -> None:
    before = page(names)
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.delete(before[1])
        assert [each.name for each in page(names)] == ["b", "d", "e"]
        _ = 1 / 0
    after = page(names)
    assert [each.name for each in after] == ["b", "c", "d"]
    assert all(each is store.getItemByID(each.id) for each in after)


def test_a_page_keeps_no_item_alive(
    store: Store, names: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atop.objects.TAIL_BYTES", 0)
    assert len(page(names)) == 3
    gc.collect()
    alive = [each for each in store.session().known_items() if isinstance(each, Name)]
    assert not alive
    assert [each.name for each in page(names)] == ["b", "c", "d"]


def test_only_so_many_pages_are_remembered(
    store: Store, names: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atop.session._PAGES", 3)
    for at in range(8):
        assert names.queryIndex("name")[at].name == "abcdefgh"[at]
        assert len(store.session()._pages) <= 3
