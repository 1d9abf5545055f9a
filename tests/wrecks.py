"""A store with one of everything, and what can happen to the bytes of its tables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atop import Index, Item, Store

PAGE = 4096
PEOPLE = 120
TABLES = ("items", "index", "catalog", "commits")
Harm = Callable[[Path], object]


class Person(Item):
    """Any attributes will do."""


def make(path: Path, **options: Any) -> Path:
    """A closed store with people in a pool, a person of many pages and a file."""
    with Store(path, **options) as store, store.transaction():
        people = store.pool("people", "name", Index("email", unique=True), Index(
            "tags", multiple=True))
        for number in range(PEOPLE):
            people.addItem(Person(name=f"Name {number % 7}", email=f"{number}@example.org",
                                  tags=["a", number], padding="x" * (number * 7 % 300)))
        people.addItem(Person(name="Big", email="big", tags=[], body="y" * 50_000, boss=people))
        with store.newFile("photo.jpg") as file:
            file.write(b"pixels" * 1000)
    return path


LATE = """if True:
    import os, signal, sys
    from atop import Store
    from tests.wrecks import Person
    store = Store(sys.argv[1], key=sys.argv[2] or None)
    people = store.pool("people")
    for number in range(10):
        with store.transaction():
            people.addItem(Person(name="Late", email=f"late {number}", tags=[], padding="z" * 300))
            people.getIndexItem("email", "7@example.org").padding = f"changed {number}"
    with store.transaction():
        store.delete(people.getIndexItem("email", "5@example.org"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def write_on_and_die(path: Path, key: str = "") -> None:
    """Commit ten times more, in a process that is killed before any checkpoint."""
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", LATE, str(path), key], check=False, cwd=root)
    assert done.returncode == -signal.SIGKILL


def contents(path: Path, **options: Any) -> dict[int, dict[str, Any]]:
    """The attributes of every item, and the ids that each index of each pool gives."""
    with Store(path, readOnly=True, **options) as store:
        report = store.verify()
        assert report.ok, f"{path} is not whole: {report.problems}"
        items = {item.id: {**item.attributes(), "class": type(item).__name__}
                 for item in store.items()}
        for attributes in items.values():
            if "boss" in attributes:
                attributes["boss"] = attributes["boss"].id
        for pool in store.pools():
            for index in pool.indexes:
                items[pool.id][f"by {index.name}"] = list(pool.queryIndex(index.name).ids())
        return items


def zeroed(table: str, page: int) -> Harm:
    """A page of a table is overwritten with zeros."""
    return lambda path: _overwrite(path / "environment" / table, page * PAGE, bytes(PAGE))


def flipped(table: str, at: int) -> Harm:
    """One bit of a table is wrong."""
    def harm(path: Path) -> None:
        file = path / "environment" / table
        _overwrite(file, at, bytes((file.read_bytes()[at] ^ 0x10,)))
    return harm


def sector(table: str, at: int) -> Harm:
    """A disk sector of a table is zeroed."""
    return lambda path: _overwrite(path / "environment" / table, at, bytes(512))


def halved(table: str) -> Harm:
    """The second half of a table is cut off."""
    def harm(path: Path) -> None:
        file = path / "environment" / table
        os.truncate(file, file.stat().st_size // 2 // PAGE * PAGE)
    return harm


def gone(name: str) -> Harm:
    """Files of that name, or pattern, are removed from the folder."""
    def harm(path: Path) -> None:
        found = list(path.glob(name))
        assert found
        for file in found:
            file.unlink()
    return harm


def _overwrite(file: Path, at: int, data: bytes) -> None:
    with file.open("r+b") as stream:
        stream.seek(at)
        stream.write(data)
