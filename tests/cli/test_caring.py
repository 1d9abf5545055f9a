"""``verify``, ``recover``, ``checkpoint``, ``compact``, ``backup`` and ``restore``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from atop import Store
from tests import wrecks
from tests.cli.conftest import ROOT, Run, command
from tests.faults.failing import missing

KILLED = """if True:
    import os, signal, sys
    from atop import Item, Store
    store = Store(sys.argv[1])
    with store.transaction():
        store.add(Item(name="kept"))
    store.begin()
    file = store.newFile("lost")
    file.write(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_whole_store_is_verified_with_exit_code_0(path: Path) -> None:
    done = command("verify", path)
    assert done.returncode == 0
    assert done.stdout == "commit 1: 8 items, 66 index entries, 1 files, 1 pools\nno damage\n"


def test_damage_is_told_with_the_way_back_and_exit_code_1(path: Path) -> None:
    next((path / "files").iterdir()).write_bytes(b"pix")
    done = command("verify", path)
    assert done.returncode == 1
    assert "DAMAGE: the file 'photo\\x07.jpg'" in done.stdout
    assert "\n  affects:  item 8\n" in done.stdout
    assert "\n  way back: restore a backup with `atopdb restore`\n1 problem\n" in done.stdout


def test_a_page_that_is_damaged_is_told(path: Path) -> None:
    table = path / "environment" / "items"
    data = bytearray(table.read_bytes())
    data[-50] ^= 0xFF
    table.write_bytes(data)
    done = command("verify", path)
    assert done.returncode == 1
    assert f"DAMAGE: {table}" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_store_that_cannot_be_opened_any_more_is_told(run: Run, path: Path) -> None:
    (path / "environment" / "items").write_bytes(b"")
    done = run("verify", path)
    assert done.exit_code == 1
    assert "environment/items" in done.output


def test_recovery_after_a_crash_tells_what_it_did(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    told = command("recover", path).stdout
    assert told.startswith("recovered to commit 2 in ")
    assert "bytes of log\nremoved files/new-" in told
    assert command("recover", path).stdout == (
        "closed in order at commit 2: nothing to recover\n"
    )
    assert command("verify", path).returncode == 0


def test_a_checkpoint_tells_how_long_the_log_is(run: Run, path: Path) -> None:
    done = run("checkpoint", path)
    assert done.exit_code == 0
    assert done.output.startswith("log: ")


def test_compacting_tells_what_it_freed(run: Run, path: Path) -> None:
    done = run("compact", path)
    assert done.exit_code == 0
    assert done.output.endswith(" bytes freed\n")


def test_compacting_tells_what_it_left_out(run: Run, path: Path) -> None:
    with Store(path) as store, store.transaction():
        store.pool("people").getIndexItem("name", "Bob").name = "B" * 5000
    assert "the table 'index' was left out" in run("compact", path).output


def test_there_and_back_again(path: Path, tmp_path: Path) -> None:
    copy, again = tmp_path / "copy", tmp_path / "again.atop"
    assert command("backup", path, copy).stdout == f"{path} is backed up in {copy}\n"
    assert command("restore", copy, again).stdout == f"{again} is restored from {copy}\n"
    assert command("verify", again).returncode == 0
    shown = [command("query", each, "people", "name").stdout for each in (path, copy, again)]
    assert shown[0] == shown[1] == shown[2]


def test_nothing_is_overwritten(run: Run, path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert run("backup", path, copy).exit_code == 0
    for line in (["backup", path, copy], ["restore", copy, path]):
        done = run(*line)
        assert done.exit_code == 1
        assert "exists already" in done.output


def test_a_backup_that_is_none_is_told(run: Run, tmp_path: Path) -> None:
    done = run("restore", tmp_path / "nowhere", tmp_path / "again.atop")
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert done.output.count("\n") == 1


def test_a_damaged_index_is_made_anew_when_asked_for(path: Path) -> None:
    before = command("query", path, "people", "name").stdout
    (path / "environment" / "index").unlink()
    done = command("verify", "--repair", path)
    assert done.returncode == 0, done.stderr
    assert f"DAMAGE: {path}/environment/index" in done.stdout
    assert "made anew: 66 index entries, 1 pools, the counts and the catalogue, from 8 items; " in (
        done.stdout)
    assert done.stdout.endswith("\nno damage\n")
    assert command("query", path, "people", "name").stdout == before


def test_a_store_that_another_program_has_open_is_not_repaired_and_the_program_is_named(
    path: Path,
) -> None:
    index = path / "environment" / "index"
    with Store(path):
        data = bytearray(index.read_bytes())
        data[4096 + 50] ^= 0xFF
        index.write_bytes(data)
        done = command("verify", "--repair", path)
        assert done.returncode == 1
        assert f"DAMAGE: {index}" in done.stdout
        assert f"{path} is in use: process {os.getpid()} (" in done.stderr
        assert "close the store there, then try again" in done.stderr
        assert not (path / "set-aside").exists()
    assert command("verify", "--repair", path).returncode == 0


def test_a_whole_store_is_not_repaired(path: Path) -> None:
    assert command("verify", "--repair", path).stdout == command("verify", path).stdout
    assert not (path / "set-aside").exists()


def test_a_store_that_somebody_has_open_is_not_repaired(path: Path) -> None:
    next((path / "files").iterdir()).unlink()
    with Store(path):
        done = command("verify", "--repair", path)
    assert done.returncode == 1
    assert "close the store there" in done.stderr


def test_what_can_be_saved_is_saved_and_the_rest_is_listed(path: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.atop"
    next((path / "files").iterdir()).write_bytes(b"pix")
    done = command("salvage", path, saved)
    assert done.returncode == 1
    assert done.stdout == (
        f"{saved} has 8 of 8 items of {path}: 66 index entries, 1 files, 1 pools\n"
        "LOST: file 8, 'photo\\x07.jpg': it has 3 bytes and should have 6\n"
    )
    assert command("verify", saved).returncode == 0
    told = json.loads(command("salvage", "--json", path, tmp_path / "again").stdout)
    assert (told["items"], told["complete"]) == (8, False)
    assert told["losses"][0]["id"] == 8


def test_names_of_classes_are_given_with_their_numbers(run: Run, path: Path) -> None:
    done = run("salvage", "--class", "two=pim:Person", path, path.with_name("saved"))
    assert done.exit_code == 2
    assert "'two=pim:Person' is not NUMBER=module:Class" in done.output
    done = run("salvage", path.with_name("nowhere"), path.with_name("saved"))
    assert done.exit_code == 1
    assert done.output.startswith("Error: there is no store at ")


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_a_table_that_the_disk_does_not_give_is_told_with_the_disk_first(
    tmp_path: Path,
) -> None:
    path = wrecks.make(tmp_path / "store.atop")
    items = path / "environment" / "items"
    traced = ["strace", "-f", "-qq", "-o", os.devnull, "-P", str(items), "-e", "trace=pread64",
              "-e", "inject=pread64:error=EIO:when=7+"]
    done = subprocess.run(
        [*traced, sys.executable, "-m", "atop", "verify", str(path)],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=120,
    )
    assert done.returncode == 1
    assert f"DAMAGE: {items}: it cannot be read: Input/output error" in done.stdout
    assert "way back: copy the folder to another disk first" in done.stdout
