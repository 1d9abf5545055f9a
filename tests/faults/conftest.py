"""Disks for tests, where they can be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from atop.errors import StoreError
from tests.faults import disks
from tests.faults.book import Book


@pytest.fixture(scope="session")
def why_not(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Why no disk can be mounted here; nothing if it can."""
    return disks.why_not(tmp_path_factory.mktemp("mounts"))


@pytest.fixture(scope="session")
def why_no_loop(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Why no disk can be made of a file here; nothing if it can."""
    return disks.why_not(tmp_path_factory.mktemp("loops"), loop=True)


@pytest.fixture
def small(tmp_path: Path, why_not: str) -> Iterator[Path]:
    """A disk of 48 MB."""
    if why_not:
        pytest.skip(why_not)
    with disks.small(tmp_path / "small", 48 << 20) as place:
        yield place


@pytest.fixture
def failing(tmp_path: Path, why_no_loop: str) -> Iterator[Callable[[str], disks.Failing]]:
    """A function that makes a disk with a file system of some kind, which can be made to fail."""
    if why_no_loop:
        pytest.skip(why_no_loop)
    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(disks.failing(tmp_path, kind))


@pytest.fixture
def open_book(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], Book]]:
    """A function that opens a book in a folder; it is closed before its disk goes."""
    for disk in ("small", "failing"):
        if disk in request.fixturenames:
            request.getfixturevalue(disk)
    opened: list[Book] = []

    def open_it(path: Path) -> Book:
        opened.append(Book(path))
        return opened[-1]

    yield open_it
    for book in opened:
        with suppress(StoreError):
            book.close()
