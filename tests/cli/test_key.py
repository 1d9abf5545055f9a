"""Encrypted stores at the command line: where the key comes from, and how it is changed."""

from __future__ import annotations

import os
import pty
import select
import sys
from pathlib import Path

import pytest

from atop import Item, Store
from atop.errors import WrongKey
from tests.cli.conftest import command
from tests.sharing.serving import Command

KEY = "correct horse"


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A closed store with the key."""
    with Store(tmp_path / "locked.atop", key=KEY) as store, store.transaction():
        store.pool("people", "name").addItem(Item(name="Bob"))
    return tmp_path / "locked.atop"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A file with the new key."""
    (tmp_path / "new-key").write_text("battery staple\n")
    return tmp_path / "new-key"


def at_terminal(answers: list[str], *words: object) -> tuple[int, str]:
    """Run a command at a terminal, and answer what it asks; what is to be seen, and its end."""
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-m", "atop", *map(str, words)])
    seen = b""
    while select.select([terminal], [], [], 30)[0]:
        try:
            data = os.read(terminal, 1000)
        except OSError:
            break
        seen += data
        if seen.endswith(b": ") and answers:
            os.write(terminal, answers.pop(0).encode() + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen.decode()


def test_a_verb_opens_a_store_with_the_key(locked: Path, written: Path) -> None:
    query = ("query", locked, "people", "name", "--format", "csv")
    told = command(*query)
    assert (told.returncode, told.stderr) == (
        1, f"Error: {locked} is encrypted: open it with its key\n")
    assert "not the key" in command(*query, ATOP_KEY="wrong").stderr
    assert "Bob" in command(*query, ATOP_KEY=KEY).stdout
    written.write_text(KEY + "\n")
    assert "Bob" in command(*query, ATOP_KEY_FILE=str(written)).stdout
    told = command(*query, ATOP_KEY_FILE=str(written.parent / "nowhere"))
    assert "ATOP_KEY_FILE names" in told.stderr


def test_the_key_is_asked_for_at_a_terminal_and_not_shown(locked: Path) -> None:
    code, seen = at_terminal([KEY], "info", locked)
    assert code == 0, seen
    assert "Key of" in seen
    assert KEY not in seen


def test_the_key_is_changed(locked: Path, written: Path) -> None:
    assert "ATOP_NEW_KEY_FILE" in command("key", locked, ATOP_KEY=KEY).stderr
    done = command("key", locked, ATOP_KEY=KEY, ATOP_NEW_KEY_FILE=str(written))
    assert done.returncode == 0, done.stderr
    with pytest.raises(WrongKey):
        Store(locked, key=KEY)
    with Store(locked, key="battery staple") as store:
        assert len(store.pool("people")) == 1
    code, seen = at_terminal(["battery staple", "third", "third"], "key", locked)
    assert code == 0, seen
    assert "third" not in seen
    Store(locked, key="third").close()


def test_a_store_is_encrypted_and_decrypted(path: Path, written: Path) -> None:
    locked, back = path.parent / "locked.atop", path.parent / "back.atop"
    done = command("encrypt", path, locked, ATOP_NEW_KEY_FILE=str(written))
    assert done.returncode == 0, done.stderr
    assert not [each for each in locked.rglob("*") if each.is_file()
                and b"pixels" in each.read_bytes()]
    key = {"ATOP_KEY_FILE": str(written)}
    assert command("verify", locked, **key).returncode == 0
    assert command("encrypt", "--plain", locked, back, **key).returncode == 0
    plain = command("query", path, "people", "name", "--format", "json").stdout
    assert command("query", back, "people", "name", "--format", "json").stdout == plain
    assert command("query", locked, "people", "name", "--format", "json", **key).stdout == plain


def test_a_backup_is_restored_with_the_key(locked: Path) -> None:
    backup, restored = locked.parent / "backup", locked.parent / "restored.atop"
    assert command("backup", locked, backup, ATOP_KEY=KEY).returncode == 0
    assert "encrypted" in command("restore", backup, restored).stderr
    assert command("restore", backup, restored, ATOP_KEY=KEY).returncode == 0
    Store(restored, key=KEY).close()


def test_a_key_of_bytes_is_all_of_its_file(tmp_path: Path) -> None:
    key = b"\n" + os.urandom(40) + b"\xff\n"
    (tmp_path / "key").write_bytes(key)
    Store(tmp_path / "locked.atop", key=key).close()
    done = command("info", tmp_path / "locked.atop", ATOP_KEY_FILE=str(tmp_path / "key"))
    assert done.returncode == 0, done.stderr


def test_a_server_has_the_key_and_its_clients_need_none(locked: Path, tmp_path: Path) -> None:
    assert "encrypted" in command("serve", locked).stderr
    with Command(locked, "--socket", tmp_path / "sock", ATOP_KEY=KEY):
        with Store(f"atop+unix://{tmp_path}/sock") as far:
            assert len(far.pool("people")) == 1
        assert "encrypted" in command("info", locked).stderr, "the folder needs it all the same"
        assert command("info", locked, ATOP_KEY=KEY).returncode == 0
