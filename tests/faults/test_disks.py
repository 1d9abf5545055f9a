"""Full disks, failing disks and disks that take nothing more: what was committed stays readable,
writing ends with a clear error, and goes on in the same store when the cause is gone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from atop import Store
from atop.errors import StoreError, StoreFailed, StoreFull, StorePermission
from tests.faults import disks
from tests.faults.book import Book

Make = Callable[[str], disks.Failing]
Open = Callable[[Path], Book]


@pytest.fixture
def ballast(small: Path) -> Path:
    """A file that takes nearly all of the disk."""
    path = small / "ballast"
    path.write_bytes(bytes(39 << 20))
    return path


def test_a_full_disk_refuses_writers_keeps_all_and_heals_in_the_same_store(
    open_book: Open, small: Path, ballast: Path
) -> None:
    book = open_book(small / "s.atop")
    assert "no room on the disk" in book.write_until(StoreFull)
    assert len(book.certain) > 20
    book.check()
    for size, file in ((100, b""), (100, bytes(100_000)), (500_000, b"")):
        disks.fill(ballast)
        with pytest.raises(StoreFull):
            book.write(size, file)
        book.check()
    ballast.unlink()
    book.write(20_000, os.urandom(100_000))
    book.check(whole=True)
    book.close()
    book.reopen()
    book.check(whole=True)
    book.close()


def test_care_on_a_full_disk_is_refused_and_harms_nothing(
    open_book: Open, small: Path, ballast: Path, tmp_path: Path
) -> None:
    book = open_book(small / "s.atop")
    book.write_until(StoreFull)
    disks.fill(ballast)
    for care in (
        lambda: book.store.backup(small / "copy.atop"), book.store.checkpoint, book.store.compact,
    ):
        try:
            care()
        except StoreFull:
            book.check()
    assert not (small / "copy.atop").exists(), "half a backup has the name of a whole one"
    assert {entry.name for entry in small.iterdir()} == {"s.atop", "ballast"}
    book.store.backup(tmp_path / "copy.atop")
    ballast.unlink()
    book.write()
    book.store.compact()
    book.store.checkpoint()
    book.check(whole=True)
    book.close()
    with Store(tmp_path / "copy.atop") as copy:
        assert len(copy) == len(book.certain) - 1 + 1, "the pool, and all notes but the last one"


def test_a_store_on_a_full_disk_is_closed_and_opened_again_when_there_is_room(
    open_book: Open, small: Path, ballast: Path
) -> None:
    book = open_book(small / "s.atop")
    book.write_until(StoreFull)
    disks.fill(ballast)
    try:
        book.close()
    except StoreFull:
        assert "closed" not in json.loads((small / "s.atop" / "owner").read_text())
    try:
        book.reopen()
        book.check()
        book.close()
    except StoreFull:
        pass
    ballast.unlink()
    book.reopen()
    book.write()
    book.check(whole=True)
    book.close()


def test_a_store_that_was_killed_on_a_full_disk_is_recovered_when_there_is_room(
    small: Path, ballast: Path
) -> None:
    child = os.fork()
    if not child:
        try:
            Book(small / "s.atop").write_until(StoreFull)
        finally:
            os._exit(9)
    os.waitpid(child, 0)
    disks.fill(ballast)
    for _ in range(2):
        with suppress(StoreFull):
            Store(small / "s.atop").close()
    ballast.unlink()
    with Store(small / "s.atop") as store:
        count = len(store)
        assert count > 20
        assert not store.verify().problems


def test_a_disk_that_fails_takes_nothing_more_and_heals_in_the_same_store(
    open_book: Open, failing: Make
) -> None:
    """The errors are real: the system learns of them when it writes to the disk."""
    disk = failing("ext2")
    book = open_book(disk.place / "s.atop")
    for _ in range(5):
        book.write(30_000)
    disk.break_down()
    assert "could not be synced" in book.write_until(StoreFailed, 200_000)
    for _ in range(3):
        with pytest.raises(StoreFailed, match="nothing is written"):
            book.write()
        book.check()
    disk.mend()
    book.write(30_000, os.urandom(50_000))
    book.check(whole=True)
    book.close()
    disks.unmount(disk.place)
    disks.mount("-o", "loop", str(disk.place.parent / "backing" / "image"), str(disk.place))
    book.reopen()
    book.check(whole=True)
    book.close()


def test_a_file_system_that_has_shut_itself_can_be_read_until_it_is_mounted_anew(
    open_book: Open, failing: Make
) -> None:
    disk = failing("ext4")
    book = open_book(disk.place / "s.atop")
    for _ in range(5):
        book.write(30_000, os.urandom(1000))
    disks.remount(disk.place, "abort")
    for _ in range(3):
        with pytest.raises(StoreError):
            book.write(30_000)
        book.check()
    with pytest.raises(StoreError):
        book.write(100, bytes(1000))
    with suppress(StoreError):
        book.close()
    disks.unmount(disk.place)
    disks.mount("-o", "loop", str(disk.place.parent / "backing" / "image"), str(disk.place))
    book.reopen()
    book.check(whole=True)
    book.write()
    book.close()


def test_a_store_on_a_file_system_for_reading_only_is_read(
    open_book: Open, small: Path
) -> None:
    book = open_book(small / "s.atop")
    book.write(100, b"attached")
    book.close()
    disks.remount(small, "ro")
    try:
        with pytest.raises(StorePermission, match="mounted for reading only; mount it for writing"):
            book.reopen()
        with Store(small / "s.atop", readOnly=True) as store:
            assert len(store) == 3
            assert not store.verify().problems
    finally:
        disks.remount(small, "rw")
    book.reopen()
    book.write()
    book.check(whole=True)
    book.close()
