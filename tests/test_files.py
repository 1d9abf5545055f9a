"""A file's bytes are as transactional as everything else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from atop import File, Item, Store
from atop.errors import AtopError, IndexKeyError, NoTransaction, NotStorable, ValueRefused
from tests.conftest import bytes_folder, elsewhere, stored


class Stop(Exception):
    """Ends a transaction."""


def write(store: Store, name: str, data: bytes = b"hello") -> Any:
    with store.newFile(name) as file:
        file.write(data)
    return file


def read(file: Any) -> bytes:
    with file.open() as source:
        return bytes(source.read())


def kept(store: Store) -> list[str]:
    return sorted(os.listdir(bytes_folder(store)))


def place(file: Any) -> Path:
    return bytes_folder(file.store) / str(file.id)


def test_what_is_written_is_read(store: Store) -> None:
    with store.transaction():
        with store.newFile("a.txt") as file:
            assert file.write(b"hel") == 3
            file.write(bytearray(b"lo"))
            file.write(memoryview(b""))
        assert read(file) == b"hello", "in its own transaction too"
        assert (file.size, file.sha256) == (5, hashlib.sha256(b"hello").hexdigest())
    assert read(file) == b"hello"
    assert stored(file) == {"name": "a.txt", "size": 5,
                            "sha256": hashlib.sha256(b"hello").hexdigest()}
    assert elsewhere(lambda: read(store.getItemByID(file.id))) == b"hello"
    assert kept(store) == [str(file.id)]
    if store.url is None:
        assert file.path == place(file)
    else:
        with pytest.raises(ValueRefused, match=r"open\(\)"):
            file.path


def test_an_empty_and_a_large_file(store: Store) -> None:
    data = os.urandom(3 << 20)
    with store.transaction():
        empty = write(store, "", b"")
        large = write(store, "large", data)
    assert (empty.size, read(empty)) == (0, b"")
    assert (large.size, read(large)) == (len(data), data)


def test_a_file_is_made_in_a_transaction(store: Store) -> None:
    with pytest.raises(NoTransaction, match=r"a\.txt"):
        store.newFile("a.txt")
    assert kept(store) == []


def test_a_roll_back_removes_the_bytes(store: Store) -> None:
    with pytest.raises(Stop), store.transaction():
        file = write(store, "a")
        raise Stop
    assert (file.id, kept(store), len(store)) == (None, [], 0)
    for use in (file.open, lambda: file.path, lambda: file.write(b"x")):
        with pytest.raises(ValueRefused, match="File"):
            use()
    with store.transaction(), pytest.raises(ValueRefused, match="newFile"):
        store.add(file)
    assert len(store) == 0


def test_savepoints_keep_and_remove_files(store: Store) -> None:
    with store.transaction():
        one = write(store, "1", b"1")
        with pytest.raises(Stop), store.transaction():
            write(store, "2", b"2")
            store.delete(one)
            raise Stop
        assert read(one) == b"1"
        with store.transaction():
            three = write(store, "3", b"3")
        with store.transaction():
            store.delete(write(store, "4", b"4"))
    assert (read(one), read(three)) == (b"1", b"3")
    assert kept(store) == sorted([str(one.id), str(three.id)])


def test_deleting_removes_the_bytes_at_the_commit(store: Store) -> None:
    with store.transaction():
        file, other = write(store, "a"), write(store, "b", b"other")
    path = place(file)
    with pytest.raises(Stop), store.transaction():
        store.delete(file)
        raise Stop
    assert read(file) == b"hello"
    with store.transaction():
        store.delete(file)
        assert path.exists()
    assert not path.exists()
    assert read(other) == b"other"


def test_a_file_that_is_not_finished_or_failed_leaves_nothing(store: Store) -> None:
    with store.transaction():
        unfinished = store.newFile("a")
        unfinished.write(b"x")
        with pytest.raises(Stop), store.newFile("b") as file:
            file.write(b"y")
            raise Stop
        del unfinished
    assert (kept(store), len(store)) == ([], 0)


def test_a_file_refused_by_a_pool_or_with_a_bad_attribute_leaves_nothing(store: Store) -> None:
    with store.transaction():
        pool = store.pool("files", "k")
        file = store.newFile("a")
        file.write(b"x")
        file.k = [1]
        with pytest.raises(IndexKeyError):
            pool.addItem(file)
    with pytest.raises(NotStorable), store.transaction():
        write(store, "b").bad = lambda: None
    assert (kept(store), len(store)) == ([], 1)


def test_bytes_never_change_once_written(store: Store) -> None:
    with store.transaction():
        file = write(store, "a")
        with pytest.raises(ValueRefused, match="newFile"):
            file.write(b"more")
        with pytest.raises(ValueRefused), file:
            pass
    with store.transaction():
        file.name = "b"
        file.tags = ["x"]
        file.tags.append("y")
    assert (stored(file)["name"], stored(file)["tags"]) == ("b", ["x", "y"])
    assert read(file) == b"hello"


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "a\0b", "\ud800", "x" * 5000, ""])
def test_a_name_is_never_a_path(store: Store, name: str) -> None:
    with store.transaction():
        file = write(store, name)
    assert kept(store) == [str(file.id)]
    assert stored(file)["name"] == name
    assert read(file) == b"hello"


def test_a_file_is_made_by_new_file_alone(store: Store) -> None:
    with store.transaction():
        with pytest.raises(AtopError, match="newFile"):
            store.add(File(name="x"))
        holder = store.add(Item(file=write(store, "a")))
    assert read(holder.file) == b"hello"
    assert [each.name for each in store.items(File)] == ["a"]
