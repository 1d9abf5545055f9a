"""A writer that is killed loses nothing that was committed, and leaves nothing half done."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from atop import File, Item, Store
from tests.checking import check_store
from tests.conftest import start_child

WRITER = """
import os, sys
from atop import Store
from tests.test_kill import Entry
path, seed = sys.argv[1:]
with Store(path) as store:
    with store.transaction():
        log = store.pool("log", "n", "half")
        root = log.queryIndex("n", key=-1).first() or Entry(n=-1, list=[])
        log.addItem(root)
    n = len(root.list)
    while True:
        with store.transaction():
            entry = Entry(n=n, half=n // 2)
            with store.newFile(f"{n}") as file:
                file.write(b"%d" % n * 1000)
            entry.file = file
            log.addItem(entry)
            root.list.append(n)
            if n % 3 == 2:
                old = log.getIndexItem("n", n - 2)
                store.delete(old.file)
                old.file = None
                old.half = -old.half
        os.write(1, b"%d\\n" % n)
        n += 1
"""


class Entry(Item):
    """One for each acknowledged transaction."""


@pytest.mark.parametrize("seed", range(3))
def test_kills_at_random_moments(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "store.atop"
    dice = random.Random(seed)
    acknowledged = -1
    for _ in range(5):
        child = start_child(WRITER, str(path), str(seed))
        assert child.stdout is not None
        for _ in range(dice.randrange(1, 25)):
            line = child.stdout.readline()
            assert line, child.communicate()[1]
            acknowledged = int(line)
        if dice.random() < 0.5:
            child.stdout.flush()
        child.kill()
        rest = child.stdout.read().split("\n")  # with what the pipe's buffer has already
        child.communicate()
        numbers = [int(each) for each in rest[:-1] if each]
        acknowledged = max([acknowledged, *numbers])
        with Store(path) as store:
            check_store(store)
            check_entries(store, acknowledged)


def check_entries(store: Store, acknowledged: int) -> None:
    """All that was acknowledged is there, and at most one transaction more, whole."""
    log = store.pool("log")
    numbers = list(log.queryIndex("n", startKey=0).keys())
    assert len(numbers) - 1 in (acknowledged, acknowledged + 1), "commits are lost or made up"
    assert numbers == list(range(len(numbers)))
    assert log.getIndexItem("n", -1).list == numbers
    for n in numbers:
        entry = log.getIndexItem("n", n)
        replaced = n % 3 == 0 and n + 2 < len(numbers)
        assert entry.half == (-(n // 2) if replaced else n // 2)
        if replaced:
            assert entry.file is None
        else:
            with entry.file.open() as source:
                assert source.read() == b"%d" % n * 1000
    assert len(list(store.items(File))) == sum(
        not (n % 3 == 0 and n + 2 < len(numbers)) for n in numbers
    )


def test_a_killed_transaction_never_was(
    tmp_path: Path, open_store: Callable[..., Store]
) -> None:
    with open_store() as store, store.transaction():
        store.pool("log", "n").addItem(Entry(n=0, list=[]))
    child = start_child("""
import sys
from atop import Store
store = Store(sys.argv[1])
store.begin()
log = store.pool("log")
log.queryIndex("n")[0].list.append(1)
with store.newFile("x") as file:
    file.write(b"x" * 100000)
for n in range(3000):
    log.addItem(type(log.queryIndex("n")[0])(n=n))
print("ready", flush=True)
sys.stdin.read()
""", str(tmp_path / "store.atop"))
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.kill()
    child.communicate()
    store = open_store()
    assert [vars(item) for item in store.pool("log")] == [{"n": 0, "list": []}]
    assert len(store) == 2
    assert list(Path(store.files.folder).iterdir()) == []
