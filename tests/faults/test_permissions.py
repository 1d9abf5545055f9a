"""Permissions that are lost while a store is open, and come back. Root has them all, so it is
another user who works here."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atop import Store
from atop.errors import StoreError, StorePermission
from tests.checking import check_store
from tests.faults.book import Book

NOBODY = 65534
Lose = Callable[[Path], object]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of another user's."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    made = Path(tempfile.mkdtemp(prefix="atop-nobody-"))
    os.chown(made, NOBODY, NOBODY)
    yield made
    shutil.rmtree(made)


def as_nobody(act: Callable[[], object]) -> str:
    """What went wrong in `act`, done by a child of another user."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        told = ""
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            act()
        except BaseException:
            told = traceback.format_exc()
        finally:
            os.write(writes, told.encode()[-4000:])
            os._exit(0)
    os.close(writes)
    with open(reads, encoding="utf-8") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


@pytest.mark.parametrize("name", ["environment", "files", "."])
def test_a_permission_that_is_lost_stops_writers_and_comes_back(place: Path, name: str) -> None:
    def work() -> None:
        book = Book(place / "s.atop")
        book.write(100, b"attached")
        folder = book.path / name
        folder.chmod(0)
        for _ in range(2):
            with pytest.raises(StorePermission, match="permission denied"):
                book.write(300_000, b"more")
            book.check()
        with pytest.raises(StorePermission):
            book.store.checkpoint() if name != "files" else book.write(10, b"x")
        folder.chmod(0o700)
        for _ in range(50):
            book.write(300_000, b"more")
        book.check()
        book.close()
        book.reopen()
        book.check()
        book.close()

    told = as_nobody(work)
    assert not told, told
    with Store(place / "s.atop") as store:
        check_store(store)


def test_a_store_that_may_not_be_written_is_not_opened_and_named(place: Path) -> None:
    def work() -> None:
        book = Book(place / "s.atop")
        book.write()
        book.close()
        for each in ("owner", "environment/items", "environment"):
            there = book.path / each
            mode = there.stat().st_mode
            there.chmod(0)
            with pytest.raises(StoreError) as caught:
                book.reopen()
            assert isinstance(caught.value, StorePermission), f"{each}: {caught.value!r}"
            assert str(book.path) in str(caught.value)
            there.chmod(mode)
        book.reopen()
        book.check()
        book.close()

    told = as_nobody(work)
    assert not told, told
