"""A store with a key: nobody reads it without, and nothing is lost with it."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from atop import Item, Store
from atop.care import recode, restore
from atop.engine import keyfile, keyring
from atop.engine.keyring import Keyring
from atop.errors import (
    AtopError,
    DamagedStore,
    NewerFormat,
    NotAStore,
    ReadOnlyStore,
    StoreError,
    TransactionError,
    ValueRefused,
    WrongKey,
)
from tests.checking import check_store
from tests.conftest import start_child
from tests.sharing.processes import Other

KEY = b"0123456789abcdef0123456789abcdef"
NEW = b"another key, of at least 32 bytes"
SECRET = b"Top-Secret-Words"
ROOT = Path(__file__).parent.parent


def fill(store: Store, name: str = "notes") -> None:
    """Items, index keys and a file that all say the secret words."""
    with store.transaction():
        notes = store.pool(f"{name}-{SECRET.decode()}", "text")
        for number in range(50):
            notes.addItem(Item(text=f"{SECRET.decode()} {number:02}", **{SECRET.decode(): number}))
        with store.newFile(SECRET.decode()) as file:
            file.write(SECRET * 10_000)
        notes.addItem(Item(text="file", file=file))


def is_filled(store: Store, name: str = "notes") -> bool:
    notes = store.pool(f"{name}-{SECRET.decode()}")
    texts = [item.text for item in notes.queryIndex("text")]
    with notes.getIndexItem("text", "file").file.open() as file:
        return (texts == [*(f"{SECRET.decode()} {n:02}" for n in range(50)), "file"]
                and file.read() == SECRET * 10_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with the key."""
    with Store(tmp_path / "pim.atop", key=KEY) as store:
        fill(store)
    return tmp_path / "pim.atop"


def telling(folder: Path) -> list[str]:
    """The files in which the secret words can be read."""
    return [str(each) for each in folder.rglob("*") if each.is_file() and SECRET in
            each.read_bytes()]


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(WrongKey) as caught:
        Store(*arguments, **options)
    told = str(caught.value)
    assert "\n" not in told, "one clear error"
    return told


# What lies on the disk


WRITING = """
import os, sys
from atop import Item, Store
from tests import test_encryption as encryption
store = Store(sys.argv[1], key=None if sys.argv[2] == "plain" else encryption.KEY)
encryption.fill(store)
store.checkpoint()
encryption.fill(store, "more")
transaction = store.begin()
file = store.newFile("unfinished").__enter__()
file.write(encryption.SECRET * 100_000)
store.add(Item(text=encryption.SECRET))
os.write(1, b"written\\n")
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["encrypted", "plain"])
def test_nothing_can_be_read_on_the_disk(tmp_path: Path, kind: str) -> None:
    """While it is open, in the middle of a transaction, and after a kill; a plain one tells all."""
    child = start_child(WRITING, str(tmp_path / "s.atop"), kind)
    assert child.stdout is not None
    assert child.stdout.readline() == "written\n"
    told = telling(tmp_path)
    maps = Path(f"/proc/{child.pid}/maps")
    shared = [line for line in maps.read_text().splitlines() if line.split()[1].startswith("rw")
              and line.split()[1].endswith("s")] if maps.exists() else []
    child.kill()
    child.communicate()
    if kind == "plain":
        kinds = {Path(each).parent.name for each in told}
        assert kinds == {"environment", "files"}, "the words would be found"
        return
    assert told == telling(tmp_path) == []
    assert shared == [], "no memory that others can map holds plain text"
    assert not list(tmp_path.rglob("__db*")), "no region file holds the password"
    with Store(tmp_path / "s.atop", key=KEY) as store:
        assert is_filled(store)
        assert is_filled(store, "more")
        check_items(store)
    assert telling(tmp_path) == []


def check_items(store: Store) -> None:
    """As other stores are checked, without comparing a file's bytes on disk."""
    assert store.verify().ok, store.verify()


def test_the_file_with_the_keys_is_for_its_user_alone(path: Path) -> None:
    assert (path / "KEY").stat().st_mode & 0o777 == 0o600


# The right key, and the wrong one


@pytest.mark.parametrize("key", [KEY, "Gr\u00fc\u00dfe \U0001f511"])
def test_the_key_opens_the_store_and_nothing_else_does(tmp_path: Path, key: str | bytes) -> None:
    path = tmp_path / "s.atop"
    with Store(path, key=key) as store:
        fill(store)
        with Store(path, key=key) as again:
            assert is_filled(again), "also a second time in one process"
        assert "not the key" in refused(path, key="wrong" if isinstance(key, str) else NEW)
        assert "encrypted" in refused(path)
    assert "not the key" in refused(path, key=NEW if isinstance(key, str) else "wrong")
    assert "encrypted" in refused(path)
    assert "encrypted" in refused(path, readOnly=True)
    with Store(path, key=key, readOnly=True) as store:
        assert is_filled(store)
    with Store(path, key=key) as store:
        check_items(store)


def test_a_store_that_was_made_without_a_key_is_not_opened_with_one(tmp_path: Path) -> None:
    with Store(tmp_path / "s.atop") as store:
        fill(store)
        assert "without a key" in refused(tmp_path / "s.atop", key=KEY)
    assert "atopdb encrypt" in refused(tmp_path / "s.atop", key=KEY)
    with Store(tmp_path / "s.atop") as store:
        assert is_filled(store)
        check_store(store)


def test_where_there_is_no_key_none_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueRefused, match="memory"):
        Store(key=KEY)
    with pytest.raises(ValueRefused, match="server has the store's key"):
        Store("atop://localhost", key=KEY)
    with pytest.raises(ValueRefused, match="at least 32"):
        Store(tmp_path / "s.atop", key=b"short")
    with pytest.raises(NotAStore):
        Store(tmp_path / "s.atop", key=KEY, readOnly=True)
    assert not (tmp_path / "s.atop").exists()


def test_a_store_reads_only_and_recovers_with_its_key(tmp_path: Path) -> None:
    child = start_child(WRITING, str(tmp_path / "s.atop"), "encrypted")
    assert child.stdout is not None
    child.stdout.readline()
    child.kill()
    child.communicate()
    with Store(tmp_path / "s.atop", key=KEY, readOnly=True) as store:
        assert is_filled(store, "more")
        with pytest.raises(ReadOnlyStore):
            store.changeKey(NEW)


# Shared


JOINING = """
import sys
from atop import Store
from tests import test_encryption as encryption
from atop.errors import WrongKey
for key in (None, encryption.NEW, "passphrase"):
    try:
        Store(sys.argv[1], key=key)
    except WrongKey as error:
        print("WrongKey", flush=True)
with Store(sys.argv[1], key=encryption.KEY) as store:
    print(store.folder is None, encryption.is_filled(store), flush=True)
    encryption.fill(store, "theirs")
    print(encryption.is_filled(store, "theirs"), flush=True)
"""


def test_another_process_needs_the_key_too(path: Path) -> None:
    with Store(path, key=KEY) as store:
        child = start_child(JOINING, str(path))
        told, trouble = child.communicate()
        assert told.split() == ["WrongKey"] * 3 + ["True", "True", "True"], trouble
        assert is_filled(store, "theirs"), "with a file that the client wrote"
        check_items(store)
    assert telling(path) == []


def test_who_takes_over_from_a_killed_owner_has_the_key(path: Path) -> None:
    owner = Other(path, opened=False)
    owner.do(f"store = Store(path, key={KEY!r}); answer = 0")
    with Store(path, key=KEY) as store:
        assert store.folder is None
        owner.kill()
        owner.end()
        assert is_filled(store)
        fill(store, "after")
        assert store.folder is not None
        check_items(store)
    with Store(path, key=KEY) as store:
        assert is_filled(store, "after")


def test_a_forked_child_goes_on_with_the_key(path: Path) -> None:
    code = (
        "import os, sys\n"
        "from atop import Store\n"
        "from tests import test_encryption as encryption\n"
        "store = Store(sys.argv[1], key=encryption.KEY)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    encryption.fill(store, 'forked')\n"
        "    os._exit(encryption.is_filled(store, 'forked') - 1)\n"
        "print(os.waitpid(child, 0)[1], encryption.is_filled(store, 'forked'))\n"
    )
    told, trouble = start_child("import warnings; warnings.simplefilter('ignore')\n" + code,
                                str(path)).communicate()
    assert told == "0 True\n", trouble
    assert telling(path) == []


def test_a_client_over_a_connection_needs_no_key_and_its_files_are_sealed(path: Path) -> None:
    data = SECRET * 20_000
    with Store(path, key=KEY) as store, Store(f"atop+unix://{path}/socket") as far:
        with far.transaction():
            with far.newFile("far") as file:
                file.write(data)
            far.pool("far", "name").addItem(Item(name="far", file=file))
        assert is_filled(far)
        near = store.pool("far").getIndexItem("name", "far").file
        with near.open() as opened:
            assert opened.read() == data
        assert telling(path) == []
        with file.open() as opened:
            opened.seek(123_456)
            assert opened.read(99) == data[123_456:][:99]
        with pytest.raises(ValueRefused):
            far.changeKey(NEW)
        check_items(far)


# Copies


def test_a_backup_is_encrypted_and_restored_with_the_key(path: Path, tmp_path: Path) -> None:
    with Store(path, key=KEY) as store:
        store.backup(tmp_path / "backup")
        code = (
            "import sys\nfrom atop import Store\nfrom tests.test_encryption import KEY\n"
            "with Store(sys.argv[1], key=KEY) as store:\n    store.backup(sys.argv[2])\n"
        )
        child = start_child(code, str(path), str(tmp_path / "by-client"))
        assert child.communicate()[1] == ""
    assert telling(tmp_path) == []
    for name in ("backup", "by-client"):
        with pytest.raises(WrongKey):
            restore(tmp_path / name, tmp_path / "restored")
        with pytest.raises(WrongKey):
            restore(tmp_path / name, tmp_path / "restored", key=NEW)
        assert not (tmp_path / "restored").exists()
        restore(tmp_path / name, tmp_path / f"restored-{name}", key=KEY)
        with Store(tmp_path / f"restored-{name}", key=KEY) as store:
            assert is_filled(store)
            check_items(store)


def test_a_plain_store_becomes_an_encrypted_one_and_back(tmp_path: Path) -> None:
    with Store(tmp_path / "plain.atop") as store:
        fill(store)
        ids = [item.id for item in store.items()]
        recode(store, tmp_path / "locked.atop", KEY)
        with store.transaction(), pytest.raises(TransactionError):
            recode(store, tmp_path / "no.atop", KEY)
        with pytest.raises(StoreError, match="exists already"):
            recode(store, tmp_path / "locked.atop", KEY)
    assert telling(tmp_path / "locked.atop") == []
    with Store(tmp_path / "locked.atop", key=KEY) as store:
        assert is_filled(store)
        assert [item.id for item in store.items()] == ids
        check_items(store)
        fill(store, "new")
        recode(store, tmp_path / "back.atop")
    with Store(tmp_path / "back.atop") as store:
        assert is_filled(store)
        assert is_filled(store, "new")
        check_store(store)
    with Store() as store, pytest.raises(StoreError):
        recode(store, tmp_path / "memory.atop", KEY)


# Changing the key


def test_a_key_is_changed_while_others_have_the_store_open(path: Path) -> None:
    other = Other(path, opened=False)
    other.do(f"store = Store(path, key={KEY!r}); answer = 0")
    with Store(path, key=KEY) as store:
        with store.transaction(), pytest.raises(TransactionError):
            store.changeKey(NEW)
        with pytest.raises(ValueRefused):
            store.changeKey("")
        store.changeKey(NEW)
        fill(store, "after")
        assert "not the key" in refused(path, key=KEY)
        other.kill()
        other.end()
        assert is_filled(store, "after"), "also when we become the owner"
    refused(path, key=KEY)
    with Store(path, key=NEW) as store:
        assert is_filled(store)
        store.changeKey("words")
    with Store(path, key="words") as store:
        check_items(store)


def test_a_plain_store_has_no_key_to_be_changed(tmp_path: Path) -> None:
    with Store(tmp_path / "s.atop") as store, pytest.raises(WrongKey, match="atopdb encrypt"):
        store.changeKey(NEW)
    with Store() as store, pytest.raises(ValueRefused):
        store.changeKey(NEW)


def dying_at(step: int) -> None:
    """Let this process be killed before it takes that step of writing the file with the keys."""
    left = step

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def one_step(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)
        return one_step

    class Steps:
        def __getattr__(self, name: str) -> Any:
            found = getattr(os, name)
            return dying(found) if name in ("open", "write", "fsync", "close") else found

    vars(keyfile)["os"] = Steps()
    vars(keyfile)["sync_folder"] = dying(vars(keyfile)["sync_folder"])
    Path.rename = dying(Path.rename)  # type: ignore[method-assign]
    Path.unlink = dying(Path.unlink)  # type: ignore[method-assign]


def in_child(work: Callable[[], object]) -> int:
    """Whether a forked child was killed, or what it ended with."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def work_until(step: int, work: Callable[[], object]) -> None:
    dying_at(step)
    work()


def kill_at_each_step(work: Callable[[], object], check: Callable[[], str]) -> None:
    """Do it until it comes to its end, each time in a process; print what `check` says then."""
    for step in range(100):
        ended = in_child(partial(work_until, step, work))
        in_child(lambda: print(check(), flush=True))
        if not ended:
            return
        if ended != -signal.SIGKILL:
            break
    print("failed", flush=True)


def change_killed(path: Path) -> None:
    def work() -> None:
        Store(path, key=KEY).changeKey(NEW)

    def check() -> str:
        for name, key in (("old", KEY), ("new", NEW)):
            try:
                with Store(path, key=key) as store:
                    assert len(store) == 53
                    store.changeKey(KEY)
                    return name
            except WrongKey:
                pass
        return "lost"

    kill_at_each_step(work, check)


def making_killed(path: Path) -> None:
    def check() -> str:
        with Store(path, key=KEY) as store:
            assert len(store) == 0
        shutil.rmtree(path)
        return "made"

    kill_at_each_step(lambda: Store(path, key=KEY), check)


def said_by(function: str, path: Path) -> list[str]:
    code = (
        "import sys, pathlib\nfrom tests import test_encryption as encryption\n"
        f"encryption.{function}(pathlib.Path(sys.argv[1]))\n"
    )
    told, trouble = start_child(code, str(path)).communicate()
    assert "Traceback" not in trouble, trouble
    return told.split()


def test_a_change_that_is_killed_leaves_the_old_key_or_the_new_one(path: Path) -> None:
    said = said_by("change_killed", path)
    changed = said.index("new")
    assert changed > 5, "there were steps before it was changed"
    assert said[:changed] == ["old"] * changed
    assert said[changed:] == ["new"] * (len(said) - changed)


def test_a_store_whose_making_was_killed_is_made_again(tmp_path: Path) -> None:
    said = said_by("making_killed", tmp_path / "s.atop")
    assert said == ["made"] * len(said)
    assert len(said) > 6


def test_processes_that_make_a_store_at_once_have_one_key(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom atop import Store\nfrom atop.errors import WrongKey\n"
        "sys.stdin.readline()\n"
        "try:\n    store = Store(sys.argv[1], key=sys.argv[2].encode() * 32)\n"
        "except WrongKey:\n    print('no')\n"
        "else:\n    print('yes', flush=True); sys.stdin.read()\n"
    )
    children = [start_child(code, str(tmp_path / "s.atop"), key) for key in "abab"]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    said = [child.stdout.readline() for child in children if child.stdout is not None]
    for child in children:
        child.communicate()
    assert said in (["yes\n", "no\n"] * 2, ["no\n", "yes\n"] * 2)


# Damage


def harm(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def damaged(path: Path, **options: Any) -> str:
    with pytest.raises(DamagedStore) as caught:
        Store(path, **{"key": KEY, **options})
    return str(caught.value)


def test_a_damaged_key_file_is_not_taken_for_a_wrong_key(path: Path) -> None:
    written = (path / "KEY").read_bytes()
    for at in range(len(written)):
        harm(path / "KEY", at)
        with pytest.raises((DamagedStore, NewerFormat)):
            Store(path, key=KEY)
        (path / "KEY").write_bytes(written)
    for data in (b"", written[:-1], written + b"\n", b"\xff" * 300, b"0" * 10_000):
        (path / "KEY").write_bytes(data)
        assert "KEY is damaged" in damaged(path)
    (path / "KEY").write_bytes(written.replace(b"key 1", b"key 2"))
    with pytest.raises(NewerFormat):
        Store(path, key=KEY)
    (path / "KEY").write_bytes(written)
    with Store(path, key=KEY) as store:
        assert is_filled(store)


def test_a_lost_key_file_is_told_and_comes_back_from_a_backup(path: Path, tmp_path: Path) -> None:
    with Store(path, key=KEY) as store:
        store.backup(tmp_path / "backup")
    (path / "KEY").unlink()
    assert "KEY is missing" in damaged(path)
    assert "KEY is missing" in damaged(path, key=None)
    assert not (path / "KEY").exists(), "no other one was made"
    shutil.copy(tmp_path / "backup/KEY", path)
    with Store(path, key=KEY) as store:
        assert is_filled(store)


def test_a_part_of_another_store_is_told_before_the_library_sees_it(
    path: Path, tmp_path: Path
) -> None:
    """The library would take the wrong password for damage."""
    with Store(tmp_path / "other.atop", key=KEY) as store:
        fill(store)
    with Store(tmp_path / "plain.atop") as store:
        fill(store)
    kept = (path / "KEY").read_bytes()
    shutil.copy(tmp_path / "other.atop/KEY", path)
    assert "copy KEY from a backup" in damaged(path)
    (path / "KEY").write_bytes(kept)
    for other in ("other.atop", "plain.atop"):
        for table in ("catalog", "commits", "index", "items"):
            copy = tmp_path / f"{other}-{table}"
            shutil.copytree(path, copy)
            shutil.copy(tmp_path / other / "environment" / table, copy / "environment")
            assert table in damaged(copy)
    with Store(path, key=KEY) as store:
        check_items(store)


def test_a_store_that_was_put_in_place_of_another_is_noticed(path: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "other.atop", key=KEY):
        pass
    mine = Keyring(bytes(32))
    with pytest.raises(WrongKey, match="another store"):
        keyring.check(path, mine)


@pytest.mark.parametrize("what", ["changed", "cut", "swapped", "plain", "lost"])
def test_verify_finds_a_file_that_is_not_as_it_was_sealed(path: Path, what: str) -> None:
    with Store(path, key=KEY) as store:
        fill(store, "more")
        one, two = (store.pool(f"{name}-{SECRET.decode()}").getIndexItem("text", "file").file
                    for name in ("notes", "more"))
        with store.transaction(), store.newFile("other") as other:
            other.write(b"x" * one.size)
        if what == "changed":
            harm(one.path, 100_000)
        elif what == "cut":
            os.truncate(one.path, 100_000)
        elif what == "swapped":
            shutil.copy(other.path, one.path)
        elif what == "plain":
            one.path.write_bytes(SECRET * 10_000)
        else:
            one.path.unlink()
        if what != "lost":
            with pytest.raises(DamagedStore, match=str(one.id)):
                with one.open() as file:
                    file.read()
        with two.open() as file:
            assert file.read() == SECRET * 10_000
        report = store.verify()
        assert [problem for problem in report.problems if str(one.path) in problem.damage]
        assert len(report.problems) == 1


# Secrets


def test_a_key_is_never_shown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a repr, an error with all that its frames know, a log, or what lies in the folder."""
    log, key = StringIO(), "Open-Sesame-Words"
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    with Store(path, key=KEY) as store:
        store.changeKey(key)
        told = [repr(store), repr(store.engine), repr(store.keyring), repr(vars(store))]
        told += [each.read_bytes().decode("latin-1") for each in path.rglob("*") if each.is_file()]
        keys = store.keyring
    assert keys is not None
    shutil.copy(path / "KEY", path / "kept")
    for wrong, broken in ((NEW, False), (key, True)):
        if broken:
            harm(path / "environment/items", 30)
            harm(path / "environment/items", 470)
        try:
            hidden_call(path, wrong)
        except AtopError as error:
            shown = traceback.TracebackException.from_exception(error, capture_locals=True)
            frames = "".join(shown.format())
            told.append(frames.partition(END)[2])
            assert END in frames
        else:
            raise AssertionError("it was opened")
    logging.getLogger().removeHandler(handler)
    told.append(log.getvalue())
    secrets = [key, KEY.decode(), NEW.decode(), keys.password, keys.files.hex(),
               repr(bytes(keys.files))[2:-1], keys._master.hex(), repr(bytes(keys._master))[2:-1]]
    for text in told:
        assert not [secret for secret in secrets if secret in text]


END = "--- from here on it is Atop's ---"


def hidden_call(path: Path, key: str | bytes) -> None:
    mark = END
    del mark
    box = [key]
    del key
    here = END  # what comes before is the caller's own
    assert here
    Store(path, key=box.pop())


def test_what_says_who_has_the_store_tells_no_key(tmp_path: Path) -> None:
    code = "import sys; from atop import Store; s = Store(sys.argv[1], key='Open-Sesame'); input()"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "s.atop")], cwd=ROOT,
                             stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "s.atop/socket").exists():
            assert child.poll() is None
        assert "Sesame" not in (tmp_path / "s.atop/owner").read_text()
        assert str(child.pid) in (tmp_path / "s.atop/owner").read_text()
    finally:
        child.communicate(b"\n")


def test_without_the_package_for_encryption_it_is_told_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['cryptography'] = None\nfrom atop import Store\n"
        "Store(sys.argv[1] + '/plain').close()\n"
        "try:\n    Store(sys.argv[1] + '/locked', key='words')\n"
        "except Exception as error:\n    print(error)\n"
    )
    told, trouble = start_child(code, str(tmp_path)).communicate()
    assert "pip install 'atopdb[crypt]'" in told, trouble
