"""People who tidy up: files removed, folders moved and copied while a store is in use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from atop import Store
from atop.engine.base import next_state
from atop.errors import DamagedStore, NotAStore, StoreError, StoreFailed
from tests.faults.book import Book, Note
from tests.sharing.processes import Failed, Other

Open = Callable[[Path], Book]
Start = Callable[..., Other]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.atop"


@pytest.fixture
def book(open_book: Open, path: Path) -> Book:
    """A store with a note and a file, open here."""
    opened = open_book(path)
    opened.write(100, b"attached")
    return opened


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts another process; it need not have opened a store."""
    started: list[Other] = []

    def start_it(where: Path, **options: object) -> Other:
        started.append(Other(where, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start_it
    for each in started:
        each.end()


@pytest.mark.parametrize("name", ["owner", "serial", "FORMAT", "all"])
def test_whatever_is_removed_a_store_in_use_never_gets_a_second_owner(
    book: Book, start: Start, path: Path, name: str
) -> None:
    for each in ("owner", "socket", "serial", "FORMAT") if name == "all" else (name,):
        (path / each).unlink()
    other = start(path, opened=False)
    if name == "all":
        with pytest.raises(Failed, match=f"StoreBusy: {path}"):
            other.do("store = Store(path, timeout=0.1)")
    else:
        other.do("store = Store(path, timeout=0.5)")
        assert not other.owns
        other.do("with store.transaction(): store.add(Thing(n=1))")
        assert len(book.store) == 4, "the pool, a note, its file, and what the other has added"
        other.do("store.close()")
    book.write()
    book.check(whole=True)
    book.close()
    book.reopen()
    book.check(whole=True)


def test_a_store_that_is_moved_while_open_is_read_and_never_written_in_the_wrong_place(
    book: Book, path: Path, start: Start
) -> None:
    moved = path.with_name("moved.atop")
    path.rename(moved)
    book.check()
    for size, file in ((100, b""), (100, b"x" * 100)):
        with pytest.raises(StoreFailed, match="was moved or removed while it was open"):
            book.write(size, file)
    with Store(path) as another:
        with another.transaction():
            another.add(Note(number=-1))
        mine = sorted(str(each.relative_to(path)) for each in path.rglob("*"))
        for _ in range(3):
            with pytest.raises(StoreFailed, match="moved"):
                book.write(100, b"x")
        with pytest.raises(StoreFailed, match="moved"):
            book.store.checkpoint()
        with pytest.raises(StoreFailed, match="moved"):
            book.close()
        assert sorted(str(each.relative_to(path)) for each in path.rglob("*")) == mine
        assert [note.number for note in another.items(Note)] == [-1]
    book.path = moved
    book.reopen()
    book.check(whole=True)


def test_a_store_that_is_moved_and_moved_back_goes_on(book: Book, path: Path) -> None:
    moved = path.with_name("moved.atop")
    path.rename(moved)
    with pytest.raises(StoreFailed):
        book.write()
    moved.rename(path)
    book.write()
    book.check(whole=True)


def test_a_moved_store_is_not_recovered_under_its_owner(
    book: Book, path: Path, start: Start
) -> None:
    moved = path.with_name("moved.atop")
    path.rename(moved)
    other = start(moved, opened=False)
    with pytest.raises(Failed, match=f"StoreBusy: .*process {os.getpid()} "):
        other.do("store = Store(path, timeout=0.2)")
    moved.rename(path)
    book.write()
    book.check(whole=True)


def test_a_store_that_is_removed_while_open_says_so(book: Book, path: Path) -> None:
    shutil.rmtree(path)
    with pytest.raises(StoreFailed, match="moved or removed"):
        book.write()
    assert not path.exists(), "nothing is made again by halves"


def test_a_copy_of_a_store_in_use_is_a_store_of_its_own(
    book: Book, path: Path, tmp_path: Path
) -> None:
    for number in range(5):
        book.write(30_000, os.urandom(100) if number % 2 else b"")
        copy = tmp_path / f"copy{number}.atop"
        subprocess.run(["cp", "-r", path, copy], check=True)
        assert json.loads((copy / "owner").read_text())["pid"] == os.getpid()
        with Store(copy) as copied:
            assert copied.folder is not None, "its owner is not that of the original"
            assert {note.number for note in copied.items(Note)} == book.certain
            with copied.transaction():
                copied.add(Note(number=-1))
            assert not copied.verify().problems
        book.check()
    book.check(whole=True)


def test_a_copy_made_in_the_middle_of_writing_is_a_whole_store_or_is_refused(
    path: Path, start: Start, tmp_path: Path
) -> None:
    writer = start(path)
    writer.do("store.pool('things', 'n')")
    writer.start(
        "end = time.monotonic() + 1\n"
        "while time.monotonic() < end:\n"
        "    with store.transaction():\n"
        "        for n in range(20): store.pool('things').addItem(Thing(n=n, data=b'x' * 99))\n"
        "    if store.engine.serial % 9 == 0: store.checkpoint()\n"
        "    time.sleep(0.02)"
    )
    opener = start(tmp_path, opened=False)
    whole, refused = 0, []
    for number in range(3):
        time.sleep(0.1)
        copy = tmp_path / f"copy{number}.atop"
        with suppress(shutil.Error):  # a log that is no longer needed goes meanwhile
            shutil.copytree(path, copy, ignore=shutil.ignore_patterns("socket"), symlinks=True,
                            ignore_dangling_symlinks=True)  # fmt: skip
        opener.do(f"path = {str(copy)!r}")
        try:
            opener.do("store = Store(path)")
        except Failed as failed:
            refused.append(failed.kind)
            continue
        whole += not opener.do("answer = [str(each) for each in store.verify().problems]")
        assert opener.do("answer = (len(store) - 1) % 20") == 0, "half a transaction"
        opener.do("store.close()")
    writer.answer()
    assert set(refused) <= {"DamagedStore"}
    assert whole, "no copy could be used"


def test_a_clock_that_is_set_back_harms_nothing(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = time.time() - 10 * 365 * 86400
    monkeypatch.setattr("atop.engine.base.time.time", lambda: past)
    book.write()
    assert next_state(book.store.engine.state, 1, {}).time == round(past, 6)
    book.write(100, b"more")
    book.close()
    for file in book.path.rglob("*"):
        if not file.is_socket():
            os.utime(file, (past, past))
    book.reopen()
    book.check(whole=True)


@pytest.mark.parametrize("stamp", [0, 4_000_000_000])
def test_a_copy_whose_files_have_other_times_opens(
    book: Book, tmp_path: Path, stamp: int
) -> None:
    book.close()
    copy = tmp_path / "copy.atop"
    shutil.copytree(book.path, copy)
    for file in copy.rglob("*"):
        os.utime(file, (stamp, stamp))
    os.utime(copy / "owner", (2_000_000_000, 2_000_000_000))
    with Store(copy) as copied:
        assert len(copied) == 3
        assert not copied.verify().problems
    book.reopen()


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "folder"])
def test_a_db_config_is_refused_and_named(
    book: Book, path: Path, tmp_path: Path, kind: str
) -> None:
    book.close()
    config, elsewhere = path / "environment" / "DB_CONFIG", tmp_path / "elsewhere"
    text = f"set_lg_dir {elsewhere}\nset_data_dir {elsewhere}\n"
    if kind == "file":
        config.write_text(text)
    elif kind == "folder":
        config.mkdir()
    else:
        if kind == "link":
            (tmp_path / "config").write_text(text)
        config.symlink_to(tmp_path / "config")
    with pytest.raises(NotAStore, match="DB_CONFIG"):
        book.reopen()
    assert not elsewhere.exists()
    if kind == "folder":
        config.rmdir()
    else:
        config.unlink()
    book.reopen()
    book.check(whole=True)


def test_region_files_of_another_tool_are_not_used(book: Book, path: Path) -> None:
    book.close()
    for number in range(1, 4):
        (path / "environment" / f"__db.00{number}").write_bytes(os.urandom(8192))
    book.reopen()
    book.write()
    book.check(whole=True)


def test_logs_of_another_version_are_refused_and_left_as_they_are(book: Book, path: Path) -> None:
    book.close()
    log = sorted((path / "environment").glob("log.*"))[-1]
    written = log.read_bytes()
    at = written.index((0x040988).to_bytes(4, "little"))
    other = written[: at + 4] + (99).to_bytes(4, "little") + written[at + 8 :]
    log.write_bytes(other)
    with pytest.raises((DamagedStore, StoreError)) as caught:
        book.reopen()
    assert str(path) in str(caught.value)
    assert log.read_bytes() == other
    log.write_bytes(written)
    book.reopen()
    book.check(whole=True)


def test_the_owner_note_of_somebody_else_is_no_owner(book: Book, path: Path) -> None:
    book.close()
    notes: tuple[object, ...] = (
        {"pid": 1, "command": "init", "host": "attic", "since": "now"}, {"pid": os.getpid()},
        {"unsynced": True}, {"closed": {"../../x": 1}}, [], "x" * 5000,
    )
    for note in notes:
        (path / "owner").write_text(json.dumps(note))
        book.reopen()
        book.check()
        book.close()
    (path / "owner").unlink()
    book.reopen()
    book.write()
    book.check(whole=True)

