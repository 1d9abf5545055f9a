"""Engines to test: each test that asks for one gets every kind of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from atop.engine.base import Engine
from atop.engine.filefolder import FileFolder
from atop.engine.folder import Folder, open_folder
from atop.engine.link import open_link
from atop.engine.memory import MemoryEngine
from tests.engine.steps import child


@contextmanager
def memory(path: Path) -> Iterator[Engine]:
    files = FileFolder(None)
    engine = MemoryEngine(files)
    yield engine
    engine.close()
    files.close()


@contextmanager
def berkeleydb(path: Path) -> Iterator[Engine]:
    folder = open_folder(path, read_only=False, cache_bytes=8 << 20)
    yield folder.engine
    folder.close()


@contextmanager
def remote(path: Path) -> Iterator[Engine]:
    """A client of another process, which owns the folder."""
    with child(OWNER, path) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        link = open_link(path, read_only=False, cache_bytes=8 << 20, timeout=5)
        assert link.owned is None
        yield link
        link.close()
        owner.communicate("", timeout=60)


OWNER = """
import sys
from pathlib import Path
from atop.engine.link import open_link
link = open_link(Path(sys.argv[1]), read_only=False, cache_bytes=8 << 20, timeout=5)
print("open", flush=True)
sys.stdin.read()
link.close()
"""

KINDS: dict[str, Callable[[Path], AbstractContextManager[Engine]]] = {
    "memory": memory,
    "berkeleydb": berkeleydb,
    "remote": remote,
}


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty engine of each kind."""
    with request.param(tmp_path / "contract.atop") as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """An open, empty store's folder."""
    made = open_folder(tmp_path / "store.atop", read_only=False, cache_bytes=8 << 20)
    yield made
    made.close()
