"""Whatever is damaged in a store, verifying it says so, and what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atop import File, Index, Item, Store
from atop.engine import pages
from atop.engine.base import CATALOG, INDEX, ITEMS, Commit, Range, next_state
from atop.errors import TransactionError
from atop.report import KEPT, Report

PEOPLE = 300


class Person(Item):
    """Any attributes will do."""

    def initial(self) -> str:
        return str(self.name)[0]


@pytest.fixture(params=["memory", "folder"])
def damageable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store with people and a file, which nobody verifies when the test is over."""
    path = tmp_path / "store.atop" if request.param == "folder" else None
    with Store(path, durable=False) as made:
        fill(made)
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A closed store with people and a file."""
    with Store(tmp_path / "store.atop") as made:
        fill(made)
    return tmp_path / "store.atop"


def fill(store: Store) -> None:
    with store.transaction():
        people = store.pool("people", "name", Index("email", unique=True), "initial")
        for number in range(PEOPLE):
            people.addItem(Person(name=f"Name {number % 50}", email=f"{number}@example.org"))
        with store.newFile("photo.jpg") as file:
            file.write(b"pixels" * 100)


def rows(store: Store, table: str) -> list[tuple[bytes, bytes]]:
    return store.engine.scan(table, Range())[1]


def change(store: Store, table: str, key: bytes, value: bytes | None, more: int = 0) -> None:
    """Write to a table behind Atop's back; the count is told to be `more` by as much."""
    existed = store.engine.get(table, key)[1] is not None
    turn = store.engine.writer(1)
    counts = {**turn.state.counts, table: turn.state.counts[table] + more}
    state = next_state(turn.state, turn.state.next_id, counts)
    turn.apply(Commit(state, {table: [(key, value, existed)]}), False)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def damage(report: Report) -> str:
    assert not report.ok, "nothing was found"
    return "\n".join(problem.damage for problem in report.problems)


def test_a_whole_store_has_no_problem_and_is_counted(damageable: Store) -> None:
    report = damageable.verify()
    assert report.ok
    assert not report.problems
    assert not report.notes
    assert (report.items, report.entries) == (PEOPLE + 2, 3 * PEOPLE)
    assert (report.files, report.pools, report.serial) == (1, 1, 1)


def test_an_empty_store_is_whole(store: Store) -> None:
    assert replace(store.verify(), serial=0) == Report()


def test_a_store_open_for_reading_is_verified(folder: Path) -> None:
    with Store(folder, readOnly=True) as store:
        assert store.verify().ok


def test_a_lost_index_row_is_named(damageable: Store) -> None:
    row, _ = rows(damageable, INDEX)[40]
    change(damageable, INDEX, row, None, -1)
    found = damage(damageable.verify())
    assert f"item {int.from_bytes(row[-8:], 'big')} has lost its row in index 'name'" in found


def test_an_index_row_of_nobody_is_named(damageable: Store) -> None:
    row, _ = rows(damageable, INDEX)[40]
    change(damageable, INDEX, row[:-8] + (9999).to_bytes(8, "big"), b"", 1)
    assert "has a row for item 9999, which is gone" in damage(damageable.verify())


def test_an_index_row_of_somebody_else_is_named(damageable: Store) -> None:
    pool, person = damageable.pool("people"), damageable.getItemByID(5)
    row = next(row for row, _ in rows(damageable, INDEX) if row.endswith(b"\x00\x06"))
    change(damageable, INDEX, row[:-8] + person.id.to_bytes(8, "big"), b"", 1)
    found = damage(damageable.verify())
    assert f"of {pool!r} has a row for item 5, which has no such entry" in found


def test_a_lost_item_is_named(damageable: Store) -> None:
    change(damageable, ITEMS, (7).to_bytes(8, "big"), None, -1)
    assert "row for item 7, which is gone" in damage(damageable.verify())


def test_a_wrong_count_is_named(damageable: Store) -> None:
    change(damageable, ITEMS, (7).to_bytes(8, "big"), None, 0)
    found = damage(damageable.verify())
    assert f"'items' has {PEOPLE + 1} rows and should have {PEOPLE + 2}" in found


def test_a_record_that_is_cut_is_named(damageable: Store) -> None:
    key = (9).to_bytes(8, "big")
    record = dict(rows(damageable, ITEMS))[key]
    change(damageable, ITEMS, key, record[:5])
    assert "item 9: a record is cut short" in damage(damageable.verify())


def test_a_state_that_cannot_be_unpickled_is_named(damageable: Store) -> None:
    key = (9).to_bytes(8, "big")
    record = dict(rows(damageable, ITEMS))[key]
    change(damageable, ITEMS, key, record[:-5])
    assert "item 9 cannot be loaded" in damage(damageable.verify())


def test_a_class_number_of_no_class_is_named(damageable: Store) -> None:
    key = (9).to_bytes(8, "big")
    record = dict(rows(damageable, ITEMS))[key]
    change(damageable, ITEMS, key, b"\0\0\x03\xe7" + record[4:])
    assert "no class has the number 999" in damage(damageable.verify())


def test_a_key_that_is_computed_otherwise_by_now_is_named(
    damageable: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Person, "initial", lambda self: "X" if self.id == 8 else "N")
    found = damage(damageable.verify())
    assert "<Person 8> has an entry in index 'initial'" in found
    assert "<Person 8> lacks an entry in index 'initial'" in found
    assert "Person 9" not in found


def test_a_name_of_a_pool_that_leads_elsewhere_is_named(damageable: Store) -> None:
    change(damageable, CATALOG, b"pool/people", (7).to_bytes(8, "big"))
    found = damage(damageable.verify())
    assert "the name of pool 'people' leads to item 7" in found
    assert "pool 1 is not found by its name 'people'" in found


def test_a_key_twice_in_a_unique_index_is_named(damageable: Store) -> None:
    taken = next(row for row, _ in rows(damageable, INDEX) if b"10@example" in row)
    row = taken[:-8] + (40).to_bytes(8, "big")
    change(damageable, INDEX, row, b"", 1)
    assert "items 12 and 40 have the same key in the unique index 'email'" in damage(
        damageable.verify()
    )


def test_a_reference_to_a_deleted_item_is_a_note(damageable: Store) -> None:
    with damageable.transaction():
        first = damageable.add(Item(name="first"))
        second = damageable.add(Item(name="second", friend=first))
    with damageable.transaction():
        gone = first.id
        damageable.delete(first)
    report = damageable.verify()
    assert report.ok
    assert report.notes == (f"item {second.id} refers to item {gone}, which was deleted",)


def test_items_of_a_class_that_is_gone_are_a_note(damageable: Store) -> None:
    row = next(key for key, name in rows(damageable, CATALOG) if name.endswith(b":Person"))
    damageable.classes._kinds.clear()
    change(damageable, CATALOG, row, b"no_such_module:Person")
    report = damageable.verify()
    assert report.ok
    (note,) = report.notes
    assert note.startswith(f"{PEOPLE} items could not be looked into")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"pix"), "has 3 bytes and should have 600"),
        (lambda path: flip(path, 17), "are not those that were stored"),
    ],
    ids=["removed", "cut", "changed"],
)
def test_a_damaged_file_is_named(damageable: Store, harm: Any, told: str) -> None:
    (file,) = damageable.items(File)
    harm(file.path)
    found = damage(damageable.verify())
    assert "'photo.jpg'" in found
    assert told in found


def test_a_file_of_no_item_is_named(folder: Path) -> None:
    (folder / "files" / "4711").write_bytes(b"stray")
    with Store(folder) as store:
        found = damage(store.verify())
    assert "4711" in found
    assert "has no item" in found


@pytest.mark.parametrize("table", ["items", "index", "catalog", "commits"])
@pytest.mark.parametrize("readOnly", [True, False])
def test_a_flipped_byte_in_a_page_is_named(folder: Path, table: str, readOnly: bool) -> None:
    path = folder / "environment" / table
    flip(path, path.stat().st_size - 100)
    try:
        with Store(folder, readOnly=readOnly) as store:
            found = damage(store.verify())
    except Exception as error:
        found = str(error)
    assert str(path) in found or table in found


def test_a_zeroed_page_that_opening_could_not_suspect_is_named(folder: Path) -> None:
    path = folder / "environment" / "items"
    data = bytearray(path.read_bytes())
    data[3 * 4096 : 4 * 4096] = bytes(4096)
    path.write_bytes(data)
    os.utime(path, (0, 0))
    with Store(folder, readOnly=True) as store:
        assert str(path) in damage(store.verify())


def test_each_problem_says_what_depends_on_it_and_the_way_back(damageable: Store) -> None:
    row, _ = rows(damageable, INDEX)[40]
    change(damageable, INDEX, row, None)
    for problem in damageable.verify().problems:
        assert problem.affects
        assert problem.remedy


def test_more_problems_than_anybody_reads_are_counted(damageable: Store) -> None:
    with damageable.transaction():
        people = damageable.pool("people")
        for number in range(KEPT + 10):
            people.addItem(Person(name=f"More {number}", email=f"m{number}@example.org"))
    state = damageable.engine.state
    lost: list[tuple[bytes, bytes | None, bool]]
    lost = [(row, None, True) for row, _ in rows(damageable, INDEX) if b"More" in row]
    turn = damageable.engine.writer(1)
    turn.apply(Commit(next_state(turn.state, state.next_id, state.counts), {INDEX: lost}), False)
    report = damageable.verify()
    assert len(report.problems) == KEPT
    assert report.more >= 10


def test_verifying_goes_on_beside_a_reader_and_a_commit(damageable: Store) -> None:
    def told(what: str, done: int, total: int) -> None:
        if what == "items" and done < 600:
            with damageable.transaction():
                damageable.pool("people").addItem(Person(name="New", email=None))

    report = damageable.verify(told)
    assert report.ok, report.problems
    assert report.items == PEOPLE + 2


def test_a_store_is_not_verified_inside_a_transaction(damageable: Store) -> None:
    with damageable.transaction(), pytest.raises(TransactionError):
        damageable.verify()


def test_verifying_tells_how_far_it_is(damageable: Store) -> None:
    told: list[tuple[str, int, int]] = []
    damageable.verify(lambda *step: told.append(step))
    assert ("items", PEOPLE + 2, PEOPLE + 2) in told
    assert told[-1] == ("index", 3 * PEOPLE, 3 * PEOPLE)


def test_damage_in_the_index_does_not_keep_the_items_from_being_looked_at(folder: Path) -> None:
    with Store(folder) as store:
        store.engine.getmany(INDEX, [])
        (folder / "files" / str(PEOPLE + 2)).unlink()
        path = folder / "environment" / "index"
        with path.open("r+b") as file:
            file.seek(2 * 4096 + 50)
            file.write(bytes(100))
        report = store.verify()
    told = damage(report)
    assert str(path) in told
    assert "photo.jpg" in told, "the items were not looked at"
    assert report.items == PEOPLE + 2
    assert any("rows of indexes were not looked at" in note for note in report.notes)


def test_a_verifier_that_dies_or_hangs_is_told_for_its_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [folder / "environment" / name for name in ("catalog", "index", "items")]
    script = Path(pages.__file__).read_text()
    killer = folder.with_name("verifier.py")
    monkeypatch.setattr(pages, "__file__", str(killer))
    for wound, told in (("os.kill(os.getpid(), 11)", "died of signal 11"),
                        ("time.sleep(60)", "did not end in 2 s")):
        killer.write_text(script.replace(
            "    for path in paths:\n",
            f"    import os, time\n    for path in paths:\n        if 'index' in path: {wound}\n",
        ))
        monkeypatch.setattr(pages, "_LEAST_SECONDS", 2)
        assert list(pages.page_damage(tables)) == [tables[1]]
        assert told in pages.page_damage(tables)[tables[1]]
