"""Whatever was damaged, what is left of a store is saved, and what is lost is told."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from atop import File, Index, Item, Store
from atop.classes import Broken
from atop.engine import bdb
from atop.engine.leaves import Leaves
from atop.engine.pagecode import PAGE_BYTES, PageCode
from atop.errors import NotAStore, StoreBusy, StoreError, WrongKey
from atop.report import Salvaged
from atop.salvage import salvage
from tests import wrecks
from tests.wrecks import (
    PEOPLE,
    TABLES,
    Harm,
    contents,
    flipped,
    gone,
    halved,
    sector,
    write_on_and_die,
    zeroed,
)

ALL = PEOPLE + 3


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A closed store."""
    return wrecks.make(tmp_path / "old.atop")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Where the saved store is to be."""
    return tmp_path / "new.atop"


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*") if path.is_file()
    }


def kinds(saved: Salvaged) -> set[str]:
    return {loss.kind for loss in saved.losses}


HARMLESS = {
    "nothing": lambda path: None,
    "FORMAT lost": gone("FORMAT"),
    "owner lost": gone("owner"),
    "logs lost": gone("environment/log.*"),
    "index lost": gone("environment/index"),
    "index cut": halved("index"),
    "index zeroed": zeroed("index", 1),
    **{f"first page of {table}": zeroed(table, 0) for table in TABLES},
    **{f"a bit of {table}": flipped(table, 4096 + 100) for table in TABLES},
    **{f"a bit of the first page of {table}": flipped(table, 21) for table in TABLES},
}


@pytest.mark.parametrize("what", HARMLESS)
def test_all_of_a_store_is_saved_where_no_item_is_damaged(
    old: Path, new: Path, what: str
) -> None:
    before = contents(old)
    HARMLESS[what](old)
    harmed = digests(old)
    saved = salvage(old, new)
    assert saved.complete, saved.losses
    assert saved.items == saved.expected == ALL
    assert contents(new) == before
    assert digests(old) == harmed, "salvaging has changed the old store"


@pytest.mark.parametrize("what", ["nothing", "index lost", "first page of items"])
def test_commits_that_only_the_log_has_are_saved(old: Path, new: Path, what: str) -> None:
    write_on_and_die(old)
    HARMLESS[what](old)
    saved = salvage(old, new)
    with Store(new) as store:
        assert store.verify().ok
        late = len(store.pool("people").queryIndex("name", key="Late"))
    if what == "first page of items":
        assert late < 10
        assert not saved.complete, "commits are lost, and nobody is told"
        assert sum(loss.kind == "item" for loss in saved.losses) == 10 - late
    else:
        assert saved.complete
        assert late == 10


def test_a_bit_that_flipped_does_not_keep_the_log_from_being_used(old: Path, new: Path) -> None:
    write_on_and_die(old)
    flipped("items", 3 * 4096 + 2000)(old)
    assert salvage(old, new).complete
    with Store(new) as store:
        people = store.pool("people")
        assert people.getIndexItem("email", "7@example.org").padding == "changed 9"
        assert not people.queryIndex("email", key="5@example.org").ids(), "it was deleted"


def test_commits_behind_a_damaged_place_in_the_log_are_told_not_just_left_out(
    old: Path, new: Path
) -> None:
    write_on_and_die(old)
    log = max((old / "environment").glob("log.*"))
    data = bytearray(log.read_bytes())
    place = data.index(b"changed 4")
    data[place - 30 : place + 30] = os.urandom(60)
    log.write_bytes(data)
    harmed = digests(old)
    saved = salvage(old, new)
    assert not saved.complete
    assert any(str(log) in note and "are not saved" in note for note in saved.notes)
    assert digests(old) == harmed


def test_what_was_set_aside_before_is_named(old: Path, new: Path) -> None:
    aside = old / "set-aside" / "2026-11-21T10-00-00"
    aside.mkdir(parents=True)
    (aside / "note").write_text("the log was damaged")
    saved = salvage(old, new)
    assert saved.complete, "it is no part of the store"
    assert f"not looked into: the log was damaged: see {aside}" in saved.notes


def test_logs_that_are_lost_in_a_crash_are_told(old: Path, new: Path) -> None:
    write_on_and_die(old)
    gone("environment/log.*")(old)
    saved = salvage(old, new)
    assert not saved.current
    assert not saved.complete
    assert saved.items >= ALL - 1
    assert any("has no logs" in note for note in saved.notes)
    assert contents(new)


@pytest.mark.parametrize("harm", [zeroed("items", 3), sector("items", 3 * 4096 + 1000)])
def test_items_of_a_page_that_is_lost_are_named_and_all_others_saved(
    old: Path, new: Path, harm: Harm
) -> None:
    before = contents(old)
    harm(old)
    saved = salvage(old, new)
    after = contents(new)
    lost = {loss.id for loss in saved.losses}
    assert kinds(saved) == {"item"}
    assert 1 < len(lost) < 60
    assert after.keys() == before.keys() - lost
    assert not saved.unknown
    assert "in pool 'people' with the key 'Name" in saved.losses[0].what
    for ident, attributes in after.items():
        if attributes["class"] == "Person":
            assert attributes == before[ident]


def test_what_stands_on_damaged_pages_is_taken_when_asked_for(old: Path, new: Path) -> None:
    before = contents(old)
    sector("items", 3 * 4096 + 1000)(old)
    careful = salvage(old, new)
    assert any("--doubtful" in note for note in careful.notes)
    eager = salvage(old, new.with_name("eager"), doubtful=True)
    assert careful.items < eager.items < ALL
    doubtful = {loss.id for loss in eager.losses if loss.kind == "doubtful"}
    saved = contents(new.with_name("eager"))
    assert doubtful <= saved.keys()
    assert sum(saved[ident] == before[ident] for ident in doubtful) >= len(doubtful) - 1


@pytest.mark.parametrize("many", [1, 100])
def test_an_item_that_is_lost_comes_back_as_it_was_before_its_last_change(
    old: Path, new: Path, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bdb, "_MANY_KEYS", many)
    with Store(old) as store, store.transaction():
        item = store.pool("people").getIndexItem("email", "big")
        item.body = "new" * 20_000
        item.name = "another"
    gone_from = _last_page_with(old, b"newnew")
    zeroed("items", gone_from)(old)
    saved = salvage(old, new)
    (loss,) = saved.losses
    assert (loss.kind, loss.id) == ("older", item_id(new, "big"))
    with Store(new) as store:
        assert store.pool("people").getIndexItem("email", "big").body == "y" * 50_000


def item_id(path: Path, email: str) -> int:
    with Store(path) as store:
        return int(store.pool("people").getIndexItem("email", email).id)


def _last_page_with(path: Path, text: bytes) -> int:
    return (path / "environment" / "items").read_bytes().rindex(text) // PAGE_BYTES


def test_a_pool_that_is_lost_keeps_its_items_and_gets_its_indexes_back_when_asked_for(
    old: Path, new: Path
) -> None:
    with Store(old) as store:
        before = [each.id for each in store.pool("people").queryIndex("name")]
    _lose_item(old, 1)
    saved = salvage(old, new)
    assert "pool" in kinds(saved)
    with Store(new) as store:
        people = store.pool("people", "name", Index("email", unique=True))
        assert [each.id for each in people.queryIndex("name")] == before
        assert people.getIndexItem("email", "7@example.org").name == "Name 0"
        assert store.verify().ok


def _lose_item(path: Path, ident: int | None) -> None:
    """Overwrite the key of an item, with a checksum that fits."""
    assert ident is not None
    table = path / "environment" / "items"
    leaves = Leaves(table)
    leaves.survey()
    place = next(place for key, place in leaves.places() if key == ident.to_bytes(8, "big"))
    leaves.close()
    data = bytearray(table.read_bytes())
    start = place.page * PAGE_BYTES
    at = data.index(b"\x08\0\x01" + ident.to_bytes(8, "big"), start)
    data[at] = 7
    data[start : start + PAGE_BYTES] = PageCode().sealed(bytes(data[start : start + PAGE_BYTES]))
    table.write_bytes(data)


def test_classes_whose_names_are_lost_keep_their_items_until_somebody_names_them(
    old: Path, new: Path
) -> None:
    before = contents(old)
    gone("environment/catalog")(old)
    saved = salvage(old, new)
    (loss,) = saved.losses
    assert loss.kind == "class"
    with Store(new) as store:
        assert store.verify().ok
        assert isinstance(store.getItemByID(2), Broken)
        assert [pool.name for pool in store.pools()] == ["people"]
    named = salvage(old, new.with_name("named"), classes={loss.id: "tests.wrecks:Person"})
    assert named.complete
    assert contents(new.with_name("named")) == before


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda path: path.unlink(), "its bytes are lost"),
        (lambda path: path.write_bytes(b"pix"), "it has 3 bytes and should have 6,000"),
        (lambda path: path.write_bytes(b"Pixels" * 1000), "are not those that were stored"),
    ],
    ids=["removed", "cut", "changed"],
)
def test_a_damaged_file_is_saved_as_it_is_and_told(
    old: Path, new: Path, harm: Harm, told: str
) -> None:
    (path,) = (old / "files").iterdir()
    harm(path)
    saved = salvage(old, new)
    (loss,) = saved.losses
    assert loss.kind == "file"
    assert told in loss.what
    assert "'photo.jpg'" in loss.what
    with Store(new) as store:
        assert store.verify().ok
        (file,) = store.items(File)
        with file.open() as stream:
            assert stream.read() == (path.read_bytes() if path.exists() else b"")


def test_the_bytes_of_a_file_whose_item_is_lost_are_saved(old: Path, new: Path) -> None:
    with Store(old) as store, store.transaction():
        with store.newFile("letter") as file:
            file.write(b"letter" * 1000)
        store.pool("people").addItem(file)
        ident = file.id
    _lose_item(old, ident)
    saved = salvage(old, new)
    assert kinds(saved) == {"name"}
    with Store(new) as store:
        assert store.verify().ok
        saved_file = store.getItemByID(ident)
        assert (saved_file.name, saved_file.size) == (f"salvaged {ident}", 6000)


def test_ids_are_not_given_again_in_a_saved_store(old: Path, new: Path) -> None:
    halved("items")(old)
    salvage(old, new)
    with Store(new) as store, store.transaction():
        assert store.add(Item()).id > ALL


def test_a_store_that_is_open_is_not_salvaged(old: Path, new: Path) -> None:
    with Store(old), pytest.raises(StoreBusy, match="close the store there"):
        salvage(old, new)
    assert not new.exists()


def test_nothing_is_overwritten_and_nothing_made_of_what_is_no_store(
    old: Path, new: Path, tmp_path: Path
) -> None:
    new.mkdir()
    (new / "letter").write_text("dear")
    with pytest.raises(StoreError, match="exists already"):
        salvage(old, new)
    with pytest.raises(StoreError, match="inside the store"):
        salvage(old, old / "files" / "new")
    for place in (tmp_path / "nowhere", new):
        with pytest.raises(NotAStore):
            salvage(place, tmp_path / "again")
    assert sorted(os.listdir(tmp_path)) == ["new.atop", "old.atop"]


@pytest.mark.parametrize("harm", [gone("environment/log.*"), zeroed("index", 1)])
def test_an_encrypted_store_is_salvaged_with_its_key(tmp_path: Path, harm: Harm) -> None:
    old, key = tmp_path / "old.atop", os.urandom(32)
    wrecks.make(old, key=key)
    before = contents(old, key=key)
    harm(old)
    with pytest.raises(WrongKey):
        salvage(old, tmp_path / "new.atop")
    assert salvage(old, tmp_path / "new.atop", key=key).complete
    assert contents(tmp_path / "new.atop", key=key) == before
    for file in (tmp_path / "new.atop").rglob("*"):
        assert not file.is_file() or b"example.org" not in file.read_bytes()


def test_a_page_with_one_wrong_bit_is_put_right(old: Path) -> None:
    code = PageCode()
    data = (old / "environment" / "items").read_bytes()
    for at in range(0, len(data), PAGE_BYTES):
        page = data[at : at + PAGE_BYTES]
        for place in range(at // PAGE_BYTES, PAGE_BYTES if at else 512, 397):
            if page.strip(b"\0"):
                wrong = page[:place] + bytes((page[place] ^ 4,)) + page[place + 1 :]
                assert not code.whole(wrong, meta=at == 0)
                assert code.mended(wrong, meta=at == 0) == page
