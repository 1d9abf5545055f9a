"""What a power cut has left of the log is told quietly; a loss never is."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from pathlib import Path

import pytest

from atop.engine.folder import Folder
from atop.engine.setaside import SetAside
from tests.engine.steps import child, opened
from tests.engine.test_damage import change, items, log_of

TOLD = 20
SECTOR = 512
WRITE = f"""
import os, sys
from pathlib import Path
from atop.engine.published import Published
from tests.engine.steps import ident, opened, put
path = Path(sys.argv[1])
folder = opened(path)
told = Published(path, to_write=True)
folder.engine.on_disk = told.on_disk
for number in range({TOLD}):
    put(folder.engine, {{("items", ident(number)): b"%d " % number * 900}}, durable=True)
put(folder.engine, {{("items", ident({TOLD})): b"%d " % {TOLD} * 900}}, durable=False)
put(folder.engine, {{("items", ident({TOLD + 1})): b"%d " % {TOLD + 1} * 900}}, durable=False)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of twenty commits that were synced, and two that were not."""
    path = tmp_path_factory.mktemp("made") / "store.atop"
    with child(WRITE, path) as process:
        problems = process.communicate(timeout=60)[1]
    assert process.returncode == -signal.SIGKILL, problems
    return path


@pytest.fixture
def cut(made: Path, tmp_path: Path) -> Path:
    """The store after the system was started anew."""
    path = Path(shutil.copytree(made, tmp_path / "cut.atop"))
    note(path, boot="another run", folder=path.stat().st_ino)
    return path


def note(store: Path, **changed: object) -> None:
    owner = store / "owner"
    owner.write_text(json.dumps({**json.loads(owner.read_text()), **changed}))


def lose(store: Path, number: int, garbage: bytes = b"") -> None:
    """A sector of the log in the middle of the record of an item was not written, or is garbage."""
    log = log_of(store)
    place = log.read_bytes().index(b"%d " % number * 900) + SECTOR
    change(log, place // SECTOR * SECTOR, garbage or bytes(SECTOR))


def forget(store: Path) -> None:
    """What is not synced of the file ``serial`` did not reach the disk."""
    (store / "serial").write_bytes(bytes(16))


def found(store: Path, caplog: pytest.LogCaptureFixture) -> tuple[list[int], str]:
    """The items, and whether it was told quietly or as a loss."""
    with caplog.at_level(logging.INFO, "atop"):
        folder: Folder = opened(store)
    kept = items(folder)
    folder.close()
    losses = SetAside(store).notes(losses=True)
    warned = any(each.levelno >= logging.WARNING for each in caplog.records)
    assert warned == bool(losses), "what is logged and what lasts differ"
    assert folder.dropped, "nothing is told"
    return kept, "as a loss" if losses else "quietly"


def test_commits_that_were_on_their_way_when_the_power_failed_are_told_quietly(
    cut: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, item = log_of(cut), TOLD
    lose(cut, item)
    before = log.read_bytes()
    assert found(cut, caplog) == (list(range(item)), "quietly")
    (place,) = (cut / "set-aside").iterdir()
    assert place.name.endswith("-never-synced")
    assert (place / log.name).read_bytes() == before, "the bytes are kept all the same"
    assert "nothing says that they were ever on disk" in opened_notes(cut)


def opened_notes(store: Path) -> str:
    folder = opened(store)
    folder.close()
    return "\n".join(folder.dropped)


@pytest.mark.parametrize("number", [0, 5, TOLD - 2])
def test_a_commit_that_others_have_followed_is_a_loss_though_a_sector_is_all_that_lacks(
    cut: Path, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """A mark in the log tells, even if all else is lost."""
    forget(cut)
    lose(cut, number)
    assert found(cut, caplog) == (list(range(number)), "as a loss")


def test_the_last_commit_that_was_told_of_is_a_loss(
    cut: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lose(cut, TOLD - 1)
    assert found(cut, caplog) == (list(range(TOLD - 1)), "as a loss")


def test_a_log_that_was_cut_off_is_a_loss_if_it_was_on_disk(
    cut: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = log_of(cut)
    place = log.read_bytes().index(b"%d " % (TOLD - 1) * 900)
    change(log, place, bytes(log.stat().st_size - place))
    assert found(cut, caplog) == (list(range(TOLD - 1)), "as a loss")
    assert f"the disk had commits {TOLD:,} to {TOLD:,}" in opened_notes(cut)


def test_garbage_is_not_what_a_power_cut_leaves(
    cut: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lose(cut, TOLD, garbage=os.urandom(SECTOR))
    assert found(cut, caplog)[1] == "as a loss"


@pytest.mark.parametrize(
    "changed",
    [{"vouches": False}, {"unsynced": True}, {"folder": 1}, {"boot": None}],
    ids=["an older Atop", "a failed sync", "a copy", "no boot"],
)
def test_it_is_a_loss_where_nobody_knows(
    cut: Path, caplog: pytest.LogCaptureFixture, changed: dict[str, object]
) -> None:
    note(cut, **changed)
    lose(cut, TOLD)
    assert found(cut, caplog)[1] == "as a loss"


def test_it_is_a_loss_where_only_the_process_was_killed(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(shutil.copytree(made, tmp_path / "killed.atop"))
    note(path, folder=path.stat().st_ino)
    lose(path, TOLD)
    assert found(path, caplog)[1] == "as a loss"
