"""Files that are on their way, into a store or out of it, are no damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from atop import Store
from tests.conftest import elsewhere


def test_a_deleted_file_that_a_snapshot_may_read_is_no_damage(
    open_store: Callable[..., Store],
) -> None:
    store = open_store()
    with store.transaction(), store.newFile("a") as file:
        file.write(b"bytes")
    ident = file.id

    def delete() -> None:
        with store.transaction():
            store.delete(store.getItemByID(ident))

    with store.snapshot():
        elsewhere(delete)
        assert not elsewhere(store.verify).problems
        with file.open() as source:
            assert source.read() == b"bytes"


def test_a_file_that_is_being_written_is_no_damage(open_store: Callable[..., Store]) -> None:
    store = open_store(optimistic=True)
    with store.transaction():
        file = store.newFile("a")
        file.write(b"half")
        assert not elsewhere(store.verify).problems
        file.close()
        assert not elsewhere(store.verify).problems
    assert not store.verify().problems


def test_a_file_that_nobody_writes_is_damage(tmp_path: Path) -> None:
    with Store(tmp_path / "store.atop") as store:
        stray = Path(store.files.folder, "new-left")
        stray.touch()
        (problem,) = store.verify().problems
        assert "new-left" in problem.damage
        stray.unlink()
