"""The file ``serial``: what clients hold in it, and what the owner sees of that."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from atop import Item, Store
from atop.engine import rangelocks
from atop.engine.published import Published, hold_all, is_held_before

SECONDS = 0.5


@pytest.fixture
def owner(tmp_path: Path) -> Published:
    published = Published(tmp_path, to_write=True)
    published.write(10)
    return published


def test_a_snapshot_holds_what_was_deleted_after_it(tmp_path: Path, owner: Published) -> None:
    client = Published(tmp_path, to_write=False)
    assert client.hold() == 10
    assert [owner.is_held_before(serial) for serial in (1, 10, 11, 1 << 40)] == [0, 0, 1, 1]
    assert client.let_go(10) is False, "nothing has changed since"
    assert not owner.is_held_before(1 << 40)


def test_the_oldest_of_all_processes_counts(tmp_path: Path, owner: Published) -> None:
    one, other = (Published(tmp_path, to_write=False) for _ in range(2))
    one.hold()
    owner.write(20)
    assert (one.hold(), other.hold(), other.hold()) == (20, 20, 20)
    owner.write(30)
    assert (owner.is_held_before(11), owner.is_held_before(10)) == (True, False)
    assert one.let_go(20) is False, "it has an older one"
    assert one.let_go(10) is True
    assert (owner.is_held_before(21), owner.is_held_before(20)) == (True, False)
    assert other.let_go(20) is False, "it has another one of the same moment"
    assert is_held_before(tmp_path, 21), "the next owner sees it too"
    assert other.let_go(20) is True
    assert not owner.is_held_before(1 << 40)


def test_an_older_moment_can_be_held_and_a_later_one_cannot(
    tmp_path: Path, owner: Published
) -> None:
    client = Published(tmp_path, to_write=False)
    assert (client.hold(4), client.hold(99)) == (4, 10)
    assert (owner.is_held_before(5), owner.is_held_before(4)) == (True, False)
    client.let_go(4)
    assert (owner.is_held_before(11), owner.is_held_before(10)) == (True, False)


def test_what_is_held_goes_with_the_file(tmp_path: Path, owner: Published) -> None:
    client = Published(tmp_path, to_write=False)
    client.hold()
    client.close()
    assert not owner.is_held_before(11)
    assert client.let_go(10) is False


def test_what_is_passed_on_is_held_until_it_is_closed(tmp_path: Path, owner: Published) -> None:
    assert hold_all(tmp_path, []) is None
    assert hold_all(tmp_path / "missing", [1]) is None
    kept = hold_all(tmp_path, [3, 5])
    assert kept is not None
    assert (owner.is_held_before(4), owner.is_held_before(3)) == (True, False)
    kept.close()
    assert not owner.is_held_before(11)


def test_a_file_that_was_removed_is_still_looked_at(tmp_path: Path, owner: Published) -> None:
    client = Published(tmp_path, to_write=False)
    client.hold()
    (tmp_path / "serial").unlink()
    owner.restore(11)
    assert owner.is_held_before(11)
    assert client.hold() == 11
    client.let_go(10)
    assert not owner.is_held_before(11)


def test_where_only_whole_files_are_locked_a_snapshot_holds_all(
    tmp_path: Path, owner: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rangelocks, "_SET", None)
    monkeypatch.setattr(rangelocks, "_GET", None)
    client = Published(tmp_path, to_write=False)
    assert not owner.is_held_before(11)
    client.hold()
    owner.write(20)
    client.hold()
    assert client.let_go(10) is True
    assert owner.is_held_before(5)
    client.let_go(20)
    assert not owner.is_held_before(1 << 40)


def test_what_a_snapshot_sees_is_never_taken_for_free(tmp_path: Path, owner: Published) -> None:
    """The owner commits and looks; files deleted by a commit are gone where it saw nobody."""
    removed = 10
    stopping = threading.Event()

    def commit() -> None:
        nonlocal removed
        serial = 10
        while not stopping.is_set():
            serial += 1
            owner.write(serial)
            if not owner.is_held_before(serial):
                removed = serial

    thread = threading.Thread(target=commit)
    thread.start()
    client = Published(tmp_path, to_write=False)
    timer = threading.Timer(SECONDS, stopping.set)
    timer.start()
    begun = 0
    while not stopping.is_set():
        serial = client.hold()
        assert removed <= serial
        for _ in range(3):
            client.let_go(client.hold())
        assert removed <= serial, "a file went that the snapshot sees"
        client.let_go(serial)
        begun += 1
    thread.join()
    timer.join()
    assert begun


def test_no_thread_of_the_owner_sees_a_commit_before_clients_can(tmp_path: Path) -> None:
    with Store(tmp_path / "store.atop") as store:
        assert store.folder is not None
        engine = store.folder.engine
        announce, seen = engine.announce, []

        def look(serial: int) -> None:
            seen.append((engine.last.serial, engine.serial))
            announce(serial)

        engine.announce = look
        before = engine.serial
        with store.transaction():
            store.add(Item(n=1))
        assert seen[0] == (before + 1, before)
        assert engine.serial == before + 1
