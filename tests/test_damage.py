"""Whatever happens to a file in a store's folder: all is there, or a clear error says what is not.

The whole of the matrix takes minutes: ``make damage``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from atop import Item, Store
from atop.cli.app import cli
from tests.conftest import ROOT, run_child

CASES = 36
KILLED = """
import os, sys
from atop import Store
from tests.test_damage import Note
store = Store(sys.argv[1])
for number in range(40):
    with store.transaction():
        note = Note(number=number, text="%d " % number * 300)
        if number == 35:
            with store.newFile("a") as file:
                file.write(b"the bytes")
            note.file = file
        store.pool("notes", "number").addItem(note)
os._exit(0)
"""


class Note(Item):
    """One for each commit."""


def test_damage_of_any_kind_is_survived_or_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.damage_matrix", str(CASES)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A store whose process was killed and whose log has lost a sector, at its fourteenth item."""
    path = tmp_path / "notes.atop"
    run_child(KILLED, str(path))
    log = path / "environment" / "log.0000000001"
    at = log.read_bytes().index(b"14 " * 300)
    with log.open("r+b") as file:
        file.seek(at)
        file.write(bytes(512))
    return path


def test_commits_that_a_damaged_log_has_lost_are_reported_until_somebody_has_seen_to_it(
    damaged: Path,
) -> None:
    for _ in range(2):
        with Store(damaged) as store:
            assert list(store.pool("notes").queryIndex("number").keys()) == list(range(14))
            report = store.verify()
        assert report.ok, "what is there is whole"
        (note,) = report.notes
        assert "the log was damaged at byte" in note
        assert str(damaged / "set-aside") in note
    for command in ("info", "verify"):
        told = CliRunner().invoke(cli, [command, str(damaged)]).output
        assert told.count("note: the log was damaged") == 1, told
    shutil.rmtree(damaged / "set-aside")
    told = CliRunner().invoke(cli, ["verify", str(damaged)]).output
    assert "note" not in told


def test_recover_tells_what_it_had_to_drop_and_keeps_the_bytes_of_files(damaged: Path) -> None:
    told = CliRunner().invoke(cli, ["recover", str(damaged)]).output
    assert "note: the log was damaged" in told
    kept = Counter(path.read_bytes() for path in damaged.glob("set-aside/*/files/*"))
    assert kept == {b"the bytes": 1}


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    from atop.errors import DamagedStore

    with Store(tmp_path / "files.atop") as store:
        with store.transaction(), store.newFile("letter.txt") as file:
            file.write(b"Dear Bob")
        place = Path(file.path)
        place.unlink()
        with pytest.raises(DamagedStore, match=f"{place} is missing: restore"):
            file.open()
        place.mkdir()
        with pytest.raises(DamagedStore, match="is not a file"):
            file.open()
        assert store.stats().files == 1
        place.rmdir()
        assert store.stats().files == 0
        assert not store.verify().ok
