"""A backup is a whole store, of one moment, whatever goes on while it is made."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from atop import Index, Item, Store
from atop.care import restore
from atop.errors import (
    DamagedStore,
    NotAStore,
    StoreBusy,
    StoreError,
    TransactionError,
)
from tests.conftest import start_child

ACCOUNTS = 200
MONEY = ACCOUNTS * 100


class Account(Item):
    """Money is moved between accounts, and never lost."""

    money: int


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Store]:
    """A store with accounts, and a file."""
    with Store(tmp_path / "bank.atop", durable=False) as store:
        with store.transaction():
            accounts = store.pool("accounts", "number", "money")
            for number in range(ACCOUNTS):
                accounts.addItem(Account(number=number, money=100, padding="x" * 500))
            with store.newFile("contract") as file:
                file.write(b"signed" * 1000)
        yield store


def contents(folder: Path) -> dict[str, str]:
    """All files below a folder with the digests of their bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def money_in(path: Path) -> int:
    """All money in a store, which must be whole."""
    with Store(path, readOnly=True) as store:
        report = store.verify()
        assert report.ok, report.problems
        return sum(account.money for account in store.items(Account))


def test_a_backup_has_all_items_and_files(bank: Store, tmp_path: Path) -> None:
    bank.backup(tmp_path / "copy")
    with Store(tmp_path / "copy", readOnly=True) as copy:
        assert copy.stats().items == bank.stats().items
        (file,) = [each for each in copy.items() if getattr(each, "name", "") == "contract"]
        assert file.path.read_bytes() == b"signed" * 1000
    assert money_in(tmp_path / "copy") == MONEY


def test_a_backup_counts_as_closed_in_order(bank: Store, tmp_path: Path) -> None:
    bank.backup(tmp_path / "copy")
    with Store(tmp_path / "copy") as copy:
        assert copy.folder is not None
        assert not copy.folder.recovered


def test_a_backup_is_private(bank: Store, tmp_path: Path) -> None:
    bank.backup(tmp_path / "copy")
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "copy").rglob("*")}
    assert modes == {0o600, 0o700}
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700


def test_a_backup_made_while_money_is_moved_has_all_the_money(
    bank: Store, tmp_path: Path
) -> None:
    stop = threading.Event()
    moved = [0]

    def move() -> None:
        random = Random(1)
        accounts = bank.pool("accounts")
        while not stop.is_set():
            giver, taker = random.sample(range(ACCOUNTS), 2)
            with bank.transaction():
                accounts.getIndexItem("number", giver).money -= 1
                accounts.getIndexItem("number", taker).money += 1
                with bank.newFile(f"receipt {moved[0]}") as file:
                    file.write(b"x" * 100)
                if moved[0] % 3 == 0:
                    bank.delete(file)
            moved[0] += 1

    thread = threading.Thread(target=move)
    thread.start()
    try:
        for number in range(4):
            before = moved[0]
            bank.backup(tmp_path / f"copy{number}", lambda *_: time.sleep(0.001))
            assert moved[0] > before, "the writer had to wait for the backup"
    finally:
        stop.set()
        thread.join()
    assert [money_in(tmp_path / f"copy{number}") for number in range(4)] == [MONEY] * 4


def test_a_backup_has_what_is_committed_only_in_the_log(bank: Store, tmp_path: Path) -> None:
    with bank.transaction():
        bank.pool("accounts").getIndexItem("number", 1).money = 77
    bank.backup(tmp_path / "copy")
    with Store(tmp_path / "copy") as copy:
        assert copy.pool("accounts").getIndexItem("number", 1).money == 77
        assert copy.stats().serial == bank.stats().serial


def test_a_backup_does_not_have_what_is_not_committed(bank: Store, tmp_path: Path) -> None:
    ready, done = threading.Event(), threading.Event()

    def write() -> None:
        with bank.transaction():
            bank.pool("accounts").getIndexItem("number", 1).money = 77
            with bank.newFile("draft") as file:
                file.write(b"draft")
            ready.set()
            done.wait(30)

    thread = threading.Thread(target=write)
    thread.start()
    ready.wait(30)
    bank.backup(tmp_path / "copy")
    done.set()
    thread.join()
    with Store(tmp_path / "copy") as copy:
        assert copy.pool("accounts").getIndexItem("number", 1).money == 100
        assert copy.stats().files == 1


def test_a_backup_may_go_into_an_empty_folder(bank: Store, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    bank.backup(tmp_path / "copy")
    assert money_in(tmp_path / "copy") == MONEY


def test_a_backup_overwrites_nothing(bank: Store, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "letter").write_text("dear")
    with pytest.raises(StoreError, match="exists already"):
        bank.backup(tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["letter"]


def test_a_backup_does_not_go_into_the_store_itself(bank: Store) -> None:
    assert bank.path is not None
    with pytest.raises(StoreError, match="inside the store"):
        bank.backup(bank.path / "files" / "copy")


def test_a_backup_is_not_made_inside_a_transaction(bank: Store, tmp_path: Path) -> None:
    with bank.transaction(), pytest.raises(TransactionError):
        bank.backup(tmp_path / "copy")


def test_a_store_in_memory_cannot_be_backed_up(tmp_path: Path) -> None:
    with Store() as store, pytest.raises(StoreError, match="in memory"):
        store.backup(tmp_path / "copy")


def test_a_backup_that_lacks_a_file_is_none(bank: Store, tmp_path: Path) -> None:
    next(bank.files.folder.iterdir()).unlink()
    with pytest.raises(DamagedStore, match="is missing"):
        bank.backup(tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["bank.atop"]


def test_a_backup_that_is_interrupted_leaves_nothing(bank: Store, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bank.backup(tmp_path / "copy", interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["bank.atop"]
    bank.backup(tmp_path / "copy")
    assert money_in(tmp_path / "copy") == MONEY


KILLED = """
import os, sys, time
from atop import Store
with Store(sys.argv[1]) as store:
    def told(what, done, total):
        if what == sys.argv[3]:
            print("now", flush=True)
            time.sleep(60)
    store.backup(sys.argv[2], told)
"""


@pytest.mark.parametrize("moment", ["bytes", "recovery"])
def test_a_backup_that_is_killed_leaves_nothing_under_its_name(
    bank: Store, tmp_path: Path, moment: str
) -> None:
    bank.close()
    child = start_child(KILLED, str(tmp_path / "bank.atop"), str(tmp_path / "copy"), moment)
    assert child.stdout is not None
    assert child.stdout.readline() == "now\n"
    child.kill()
    child.communicate()
    assert not (tmp_path / "copy").exists()
    assert money_in(tmp_path / "bank.atop") == MONEY


def test_a_backup_tells_how_far_it_is(bank: Store, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    bank.backup(tmp_path / "copy", lambda *step: told.append(step))
    copied = [(done, total) for what, done, total in told if what == "bytes"]
    assert [done for done, _ in copied] == sorted(done for done, _ in copied)
    assert all(done <= total for done, total in copied)
    assert copied[-1][0] == copied[-1][1]
    assert told[-1] == ("recovery", 1, 1)


def test_a_restored_store_is_the_one_that_was_backed_up(bank: Store, tmp_path: Path) -> None:
    bank.backup(tmp_path / "copy")
    before = contents(tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "again.atop")
    assert contents(tmp_path / "copy") == before, "restoring has changed the backup"
    assert money_in(tmp_path / "again.atop") == MONEY
    with Store(tmp_path / "again.atop") as again, again.transaction():
        again.pool("accounts", Index("number")).addItem(Account(number=-1, money=0))


def test_restoring_overwrites_nothing(bank: Store, tmp_path: Path) -> None:
    bank.backup(tmp_path / "copy")
    with pytest.raises(StoreError, match="exists already"):
        restore(tmp_path / "copy", tmp_path / "bank.atop")


def test_what_is_no_backup_is_not_restored(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    for source in (tmp_path / "letters", tmp_path / "nowhere"):
        with pytest.raises(NotAStore):
            restore(source, tmp_path / "again.atop")
    assert not (tmp_path / "again.atop").exists()


def test_a_store_in_use_is_not_restored(bank: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreBusy):
        restore(tmp_path / "bank.atop", tmp_path / "again.atop")


@pytest.mark.parametrize("name", ["environment/items", "files/202", "environment/commits"])
def test_a_backup_that_lost_a_file_is_not_restored(
    bank: Store, tmp_path: Path, name: str
) -> None:
    bank.backup(tmp_path / "copy")
    (tmp_path / "copy" / name).unlink()
    with pytest.raises(DamagedStore, match=name.rpartition("/")[2]):
        restore(tmp_path / "copy", tmp_path / "again.atop")
    assert not (tmp_path / "again.atop").exists()


CLIENT = """
import sys
from random import Random
from atop import Store
random = Random(int(sys.argv[2]))
with Store(sys.argv[1], durable=False, timeout=30) as store:
    accounts = store.pool("accounts")
    moved = 0
    while moved < 5000:
        with store.transaction():
            one, other = (accounts.getIndexItem("number", random.randrange(200)) for _ in "ab")
            one.money -= 7
            other.money += 7
            with store.newFile(f"receipt {moved}") as file:
                file.write(b"7")
        moved += 1
        if moved == 1:
            print("at work", flush=True)
"""


def test_a_backup_is_of_one_moment_while_other_processes_write(bank: Store, tmp_path: Path) -> None:
    children = [start_child(CLIENT, str(tmp_path / "bank.atop"), str(each)) for each in range(2)]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "at work\n", child.communicate()
        before = bank.stats().serial
        for number in range(2):
            bank.backup(tmp_path / f"copy {number}")
        assert bank.stats().serial > before, "nobody wrote meanwhile"
        assert all(child.poll() is None for child in children), "a writer has failed"
    finally:
        for child in children:
            child.kill()
            child.communicate()
    for number in range(2):
        restore(tmp_path / f"copy {number}", tmp_path / f"again {number}")
        assert money_in(tmp_path / f"again {number}") == MONEY


@pytest.mark.parametrize("name", ["environment/items", "environment/index"])
def test_a_backup_with_a_damaged_page_is_not_restored(
    bank: Store, tmp_path: Path, name: str
) -> None:
    bank.backup(tmp_path / "copy")
    path = tmp_path / "copy" / name
    data = bytearray(path.read_bytes())
    data[2 * 4096 + 600] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedStore, match=name.rpartition("/")[2]):
        restore(tmp_path / "copy", tmp_path / "again.atop")
    assert not (tmp_path / "again.atop").exists()


def test_a_backup_with_a_changed_file_is_not_restored(bank: Store, tmp_path: Path) -> None:
    bank.backup(tmp_path / "copy")
    (file,) = (tmp_path / "copy" / "files").iterdir()
    file.write_bytes(b"SIGNED" + file.read_bytes()[6:])
    with pytest.raises(DamagedStore, match=file.name):
        restore(tmp_path / "copy", tmp_path / "again.atop")
    assert not (tmp_path / "again.atop").exists()
