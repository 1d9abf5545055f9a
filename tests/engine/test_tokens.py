"""A file of tokens: what is let in, what is refused, and that nothing secret is told."""

from __future__ import annotations

import hashlib
import os
import traceback
from pathlib import Path

import pytest

from atop.engine.tokens import Right, Tokens, line_for, new_token
from atop.errors import StoreError, StorePermission, ValueRefused


def write(path: Path, *lines: str) -> Path:
    path.write_bytes(os.fsencode("\n".join(lines)))
    path.chmod(0o600)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def test_a_token_is_long_and_new_each_time() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {43}


def test_a_line_has_the_hash_alone() -> None:
    token = new_token()
    line = line_for("anna", token, False)
    assert line == f"anna:rw:{hashlib.sha256(token.encode()).hexdigest()}"
    assert token not in line
    assert line_for("bob", token, True).startswith("bob:ro:")


@pytest.mark.parametrize("name", ["", " ", "a:b", "#a", "a\nb", " a", "a ", "\ufeffa", "x" * 101])
def test_a_name_that_could_not_be_read_again_is_refused(name: str) -> None:
    with pytest.raises(ValueRefused, match="cannot name a token"):
        line_for(name, new_token(), True)


def test_tokens_are_told_apart(path: Path) -> None:
    anna, bob, other = new_token(), new_token(), new_token()
    tokens = Tokens(write(
        path,
        "# who may come in",
        "",
        line_for("anna", anna, False),
        "  " + line_for("Bob's läptop # 2", bob, True).upper().replace(":RO:", ":ro:") + " \r",
        "  # the end",
        "",
    ))
    assert len(tokens) == 2
    assert tokens.check(anna) == Right("anna", read_only=False)
    assert tokens.check(bob) == Right("BOB'S LÄPTOP # 2", read_only=True)
    for wrong in (other, "", anna[:-1], anna + "\n", "\ud800", hashlib.sha256(b"").hexdigest()):
        assert tokens.check(wrong) is None
    digest = line_for("anna", anna, False).split(":")[2]
    assert tokens.check(digest) is None, "a hash is no token"


def test_nobody_comes_in_with_an_empty_file(path: Path) -> None:
    assert Tokens(write(path)).check("") is None


def test_one_name_may_have_two_tokens_while_one_takes_over(path: Path) -> None:
    old, new = new_token(), new_token()
    tokens = Tokens(write(path, line_for("anna", old, True), line_for("anna", new, False)))
    assert tokens.check(old) == Right("anna", True)
    assert tokens.check(new) == Right("anna", False)


SECRET = "5ec12e7" + "0" * 57
BAD = [
    f"anna:{SECRET}",
    f"anna:rw:{SECRET}0",
    f"anna:rw:{SECRET[1:]}",
    f"anna:rw:{SECRET[1:]}g",
    f"anna:rw:{SECRET[1:]}٣",
    f"anna:wr:{SECRET}",
    f"anna:RW:{SECRET}",
    f":rw:{SECRET}",
    f"anna:rw:{SECRET}:x",
    f"an\udcffna:rw:{SECRET}",
    f"an\tna:rw:{SECRET}",
    SECRET,
    "anna",
]


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_is_named_but_not_told(path: Path, line: str) -> None:
    write(path, "# tokens", line_for("bob", new_token(), True), line)
    with pytest.raises(StoreError, match="line 3 is not name:rw:hash") as refused:
        Tokens(path)
    told = "".join(traceback.format_exception(refused.value))
    assert "5ec12e7" not in told
    assert refused.value.path == str(path)
    assert refused.value.__cause__ is None


def test_one_token_in_two_lines_is_refused(path: Path) -> None:
    token = new_token()
    write(path, line_for("anna", token, False), "", line_for("bob", token, True))
    with pytest.raises(StoreError, match=r"line 3: its token stands in line 1 too"):
        Tokens(path)


def test_reload_takes_what_the_file_says_now(path: Path) -> None:
    old, new = new_token(), new_token()
    tokens = Tokens(write(path, line_for("anna", old, False)))
    write(path, line_for("bob", new, True))
    assert tokens.check(new) is None
    tokens.reload()
    assert tokens.check(new) == Right("bob", True)
    assert tokens.check(old) is None


def test_a_bad_reload_keeps_the_tokens(path: Path) -> None:
    token = new_token()
    tokens = Tokens(write(path, line_for("anna", token, False)))
    write(path, line_for("bob", new_token(), True), "anna:rw:short")
    with pytest.raises(StoreError, match="line 2"):
        tokens.reload()
    path.unlink()
    with pytest.raises(StoreError, match="No such file"):
        tokens.reload()
    assert tokens.check(token) == Right("anna", False)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o601, 0o644])
def test_a_file_that_others_may_read_or_write_is_refused(path: Path, mode: int) -> None:
    write(path, line_for("anna", new_token(), False)).chmod(mode)
    with pytest.raises(StorePermission, match=rf"mode {mode:o}\): chmod 600 "):
        Tokens(path)
    path.chmod(0o400)
    assert len(Tokens(path)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(path: Path) -> None:
    write(path, line_for("anna", new_token(), False))
    os.chown(path, 54_321, -1)
    with pytest.raises(StorePermission, match="belongs to another user"):
        Tokens(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_we_may_not_read_is_refused(path: Path) -> None:
    write(path).chmod(0o000)
    with pytest.raises(StorePermission, match="give the file to the user"):
        Tokens(path)


def test_a_link_counts_as_what_it_leads_to(path: Path, tmp_path: Path) -> None:
    token = new_token()
    target = write(tmp_path / "target", line_for("anna", token, False))
    path.symlink_to(target)
    assert Tokens(path).check(token) == Right("anna", False)
    target.chmod(0o644)
    with pytest.raises(StorePermission, match="chmod 600"):
        Tokens(path)


def test_what_is_no_file_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        Tokens(path)
    with pytest.raises(StoreError, match="is not a file"):
        Tokens(tmp_path)
    os.mkfifo(path, 0o600)
    with pytest.raises(StoreError, match="is not a file"):
        Tokens(path)
    large = write(tmp_path / "large", "#" * (1 << 20) + "\n")
    with pytest.raises(StoreError, match="more than 1,048,576 bytes"):
        Tokens(large)
