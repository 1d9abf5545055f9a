"""After a power cut at any moment the store is as some commit left it, and none is lost.

What a real process does to its files is recorded, and cut anywhere: what was synced is kept, and of
the rest whatever a disk may keep. Long runs are made by ``make powercuts CUTS=100000``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from atop import Store
from atop.engine import filefolder
from atop.engine import log as log_module
from atop.engine.log import LogSync, sync_folder
from tests.powercuts.jobs import Plan, run

recorded = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("cc") is None,
    reason="the recorder needs Linux and a C compiler",
)


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder in memory, where there is one: it is about what is synced, not about a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@recorded
def test_a_power_cut_loses_no_commit_and_leaves_none_by_halves(base: Path) -> None:
    result = run(Plan(cuts=80, seed=11, steps=40), base)
    assert result.total == 80
    assert not result.wrong


@recorded
def test_a_log_that_ends_at_or_in_any_record_gives_a_whole_store(base: Path) -> None:
    result = run(Plan(cuts=80, seed=12, records=100), base)
    assert result.records > 100
    assert result.total >= 80
    assert not result.wrong


@recorded
@pytest.mark.parametrize(
    ("without", "found"),
    [
        ("the sync of the log", "commits were on disk"),
        ("the sync of names of files", "the files are not those of commit"),
        ("waiting before files are removed", "the files are not those of commit"),
    ],
)
def test_power_cuts_find_out_what_is_left_undone(base: Path, without: str, found: str) -> None:
    for seed in range(5, 15):
        (base / str(seed)).mkdir()
        result = run(Plan(cuts=60, seed=seed, steps=32, without=without), base / str(seed))
        if any(found in each["what"] for each in result.wrong):
            return
    pytest.fail(f"nothing is lost without {without}")


def test_a_log_file_that_begins_only_after_a_recovery_is_synced(tmp_path: Path) -> None:
    """Berkeley DB makes a new log file when it writes the first record of it."""
    log = LogSync(tmp_path, 5)
    (tmp_path / "log.0000000005").write_bytes(b"records")
    log.written(1, 5)
    log.wait(1)
    assert log.syncs == 1
    log.close()


def test_a_swept_file_cannot_come_back_when_its_id_is_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.atop"
    Store(path).close()
    (path / "owner").write_text("{}")  # not closed in order
    stray = path / "files" / "7"
    stray.write_bytes(b"of a transaction that was cut off")
    synced: list[Path] = []

    def watched(folder: Path) -> None:
        synced.append(folder)
        assert not stray.exists()
        sync_folder(folder)

    monkeypatch.setattr(filefolder, "sync_folder", watched)
    Store(path).close()
    assert synced == [path / "files"]


def test_bytes_of_a_file_stay_until_its_deletion_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    with Store(tmp_path / "store.atop") as store:
        with store.transaction():
            with store.newFile("a") as file:
                file.write(b"bytes")
        path = file.path
        sync = log_module._sync

        def watched(descriptor: int) -> None:
            seen.append(path.exists())
            sync(descriptor)

        monkeypatch.setattr(log_module, "_sync", watched)
        store.durable = False
        with store.transaction():
            store.delete(file)
        assert seen == [True], "the deletion has to be on disk before the bytes go"
        assert not path.exists()
