"""A store's folder: what is refused and in which words, who may have it, what is left behind."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from berkeleydb import db

from atop.engine import log, tables
from atop.engine.base import INDEX, ITEMS, Range
from atop.engine.folder import Folder
from atop.errors import (
    DamagedStore,
    NewerFormat,
    NotAStore,
    ReadOnlyStore,
    StoreBusy,
    StoreClosed,
    StoreFailed,
    StoreFull,
    ValueRefused,
)
from tests.engine.steps import (
    changed,
    child,
    commit_of,
    fill,
    ident,
    in_thread,
    opened,
    put,
    rows,
    told,
)

OPEN = """
import sys
from atop.engine.folder import open_folder
from pathlib import Path
folder = open_folder(Path(sys.argv[1]), read_only=READ_ONLY, cache_bytes=8 << 20)
print(folder.engine.state.serial, flush=True)
"""
HOLD = OPEN + "sys.stdin.readline()\n"
TABLES = ("catalog", "index", "items", "commits")


def code(text: str, *, read_only: bool = False) -> str:
    return text.replace("READ_ONLY", str(read_only))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of 500 items that was closed in order."""
    path = tmp_path / "store.atop"
    folder = opened(path)
    fill(folder.engine, range(500))
    folder.close()
    return path


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A store of 500 items whose owner was killed."""
    path = tmp_path / "killed.atop"
    script = code(OPEN) + (
        "from tests.engine.steps import fill\n"
        "fill(folder.engine, range(500))\n"
        "import os; os.kill(os.getpid(), 9)\n"
    )
    with child(script, path) as process:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    return path


def fingerprint(path: Path) -> dict[str, tuple[str, int]]:
    """The content and the time of change of every file."""
    return {
        str(file.relative_to(path)): (
            hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "",
            file.stat().st_mtime_ns,
        )
        for file in [path, *path.rglob("*")]
    }


def assert_works(path: Path, count: int = 500) -> None:
    """The store opens here and now, has all its rows, and takes another commit."""
    folder = opened(path)
    try:
        assert len(rows(folder.engine)) == len(rows(folder.engine, ITEMS)) == count
        put(folder.engine, {(ITEMS, b"one more"): b""}, durable=True)
        put(folder.engine, {}, [(ITEMS, b"one more")], durable=True)
    finally:
        folder.close()


# What is no store, or cannot be opened


def test_a_file_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Bob")
    with pytest.raises(NotAStore, match=r"letter.txt is a file"):
        opened(path)
    assert path.read_text() == "Dear Bob"


def test_a_folder_of_other_things_is_no_store_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    before = fingerprint(tmp_path)
    with pytest.raises(NotAStore, match="no file FORMAT"):
        opened(tmp_path)
    assert fingerprint(tmp_path) == before


def test_reading_only_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotAStore, match="there is no store at"):
        opened(tmp_path / "none.atop", read_only=True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotAStore):
        opened(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/store.atop", "file/store.atop", "x" * 300])
def test_a_path_where_no_folder_can_be_made_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotAStore):
        opened(tmp_path / name)


def test_a_newer_format_is_refused_and_left_as_it_is(store: Path) -> None:
    (store / "FORMAT").write_text("atop 7 berkeleydb\n")
    before = fingerprint(store)
    with pytest.raises(NewerFormat, match="format 7"):
        opened(store)
    assert fingerprint(store) == before
    (store / "FORMAT").write_text("atop 1 lmdb\n")
    with pytest.raises(NewerFormat, match="lmdb"):
        opened(store)


@pytest.mark.parametrize(
    "line", [b"", b"hello", b"\xff\0\xfe", b"atop " + b"9" * 5000, b"x" * 10**6]
)
def test_a_garbage_format_is_refused(store: Path, line: bytes) -> None:
    (store / "FORMAT").write_bytes(line)
    with pytest.raises(NotAStore, match="FORMAT does not say"):
        opened(store)


def test_a_db_config_is_refused(store: Path) -> None:
    (store / "environment" / "DB_CONFIG").write_text("set_lg_dir /elsewhere\n")
    for read_only in (False, True):
        with pytest.raises(NotAStore, match="DB_CONFIG"):
            opened(store, read_only=read_only)
    (store / "environment" / "DB_CONFIG").unlink()
    assert_works(store)


# Damage


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _zero_first_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(4096))


def _zero_page_size(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(20)
        file.write(bytes(4))


def _empty(path: Path) -> None:
    os.truncate(path, 0)


DAMAGES = [_cut, _zero, _zero_first_page, _zero_page_size, _empty, os.unlink]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("table", TABLES)
def test_a_damaged_table_is_named_and_the_store_left_as_it_is(
    store: Path, table: str, damage: Callable[[Path], None]
) -> None:
    path = store / "environment" / table
    copy = path.read_bytes()
    damage(path)
    before = fingerprint(store)
    for read_only in (False, True, False):
        with pytest.raises(DamagedStore, match=f"environment/{table} .*backup"):
            opened(store, read_only=read_only)
        assert fingerprint(store) == before
    path.write_bytes(copy)
    assert_works(store)


@pytest.mark.parametrize("damage", [_zero, _zero_first_page, _zero_page_size, _empty, os.unlink])
@pytest.mark.parametrize("table", TABLES)
def test_a_damaged_table_of_a_killed_store_is_told_too(
    killed: Path, table: str, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(killed, killed.with_name("copy.atop"))
    opened(killed).close()
    (killed / "owner").write_text('{"pid": 1}')
    damage(killed / "environment" / table)
    for _ in range(2):
        with pytest.raises(DamagedStore, match=table):
            opened(killed)
    assert_works(killed.with_name("copy.atop"))


@pytest.mark.parametrize("damage", [_cut, _empty, os.unlink])
def test_a_damaged_log_is_told(store: Path, damage: Callable[[Path], None]) -> None:
    damage(store / "environment" / "log.0000000001")
    with pytest.raises(DamagedStore, match=r"log\.0000000001"):
        opened(store)


def test_a_killed_store_without_its_log_is_told(killed: Path) -> None:
    (killed / "environment" / "log.0000000001").unlink()
    for read_only in (False, True, False):
        with pytest.raises(DamagedStore, match="lost its logs"):
            opened(killed, read_only=read_only)


def test_a_flipped_byte_in_a_table_is_told_by_the_read_that_meets_it(store: Path) -> None:
    with (store / "environment" / "items").open("r+b") as file:
        file.seek(2 * 4096 + 2000)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    folder = opened(store)
    try:
        with pytest.raises(DamagedStore, match=r"items: .* page 2"):
            rows(folder.engine, ITEMS)
        with pytest.raises(DamagedStore):
            folder.engine.get(INDEX, b"any")
    finally:
        folder.close()


def test_an_opening_that_fails_leaves_no_lock_behind(store: Path) -> None:
    saved = (store / "environment" / "items").read_bytes()
    for page in range(1, len(saved) // 4096):
        broken = bytearray(saved)
        broken[page * 4096 + 100 : page * 4096 + 200] = bytes(100)
        (store / "environment" / "items").write_bytes(broken)
    (store / "environment" / "commits").write_bytes(b"\xff" * 40960)
    with pytest.raises(DamagedStore):
        opened(store)
    assert "DamagedStore" in told(
        "import sys\nfrom atop.errors import AtopError\ntry:\n"
        + "".join(f"    {line}\n" for line in code(OPEN).splitlines())
        + "except AtopError as error: print(type(error).__name__)",
        store,
    ), "another process must find the damage, not a lock"


# Permissions and modes


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_folders_are_0700_and_files_0600_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "store.atop"
    told(f"import os; os.umask({umask})\n" + code(OPEN) + "folder.close()", path)
    for file in [path, *path.rglob("*")]:
        wanted = 0o700 if file.is_dir() else 0o600
        assert stat.S_IMODE(file.stat().st_mode) == wanted, file


AS_NOBODY = """
import os, sys
from atop.errors import AtopError
from pathlib import Path
from atop.engine.folder import open_folder
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for read_only in (False, True):
    try:
        open_folder(Path(sys.argv[1]), read_only=read_only, cache_bytes=8 << 20)
    except AtopError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A folder that every user may look into."""
    path = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_a_folder_without_permission_is_told_so(public: Path) -> None:
    path = public / "store.atop"
    opened(path).close()
    if os.getuid() != 0:
        path.chmod(0o000)
    answer = told(AS_NOBODY, path).splitlines()
    path.chmod(0o700)
    assert len(answer) == 2
    assert all(line.startswith("StorePermission") and str(path) in line for line in answer), answer


def test_a_store_cannot_be_made_where_that_is_forbidden(public: Path) -> None:
    public.chmod(0o555)
    answer = told(AS_NOBODY, public / "new.atop").splitlines()
    assert answer[0].startswith("StorePermission")
    assert answer[1].startswith("NotAStore")
    assert list(public.iterdir()) == []


# The owner


def test_another_process_that_has_the_store_is_named(store: Path) -> None:
    with child(code(HOLD), store) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for read_only in (False, True):
            with pytest.raises(StoreBusy, match=f"process {process.pid} .*-c") as caught:
                opened(store, read_only=read_only)
            assert caught.value.pid == process.pid
        process.communicate("\n", timeout=60)
    assert_works(store)


def test_the_store_of_a_killed_process_is_free_at_once(store: Path) -> None:
    with child(code(HOLD), store) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    assert_works(store)


def test_two_processes_read_at_once_and_nobody_writes(store: Path) -> None:
    with child(code(HOLD, read_only=True), store) as process:
        assert process.stdout is not None
        process.stdout.readline()
        folder = opened(store, read_only=True)
        try:
            assert len(rows(folder.engine)) == 500
            with pytest.raises(ReadOnlyStore):
                folder.engine.writer(1)
            with pytest.raises(StoreBusy, match="another process reads it"):
                opened(store)
        finally:
            folder.close()
        with pytest.raises(StoreBusy, match="another process reads it"):
            opened(store)
        process.communicate("\n", timeout=60)
    assert_works(store)


def test_reading_only_writes_nothing(store: Path) -> None:
    before = fingerprint(store)
    folder = opened(store, read_only=True)
    assert len(rows(folder.engine)) == 500
    folder.close()
    assert fingerprint(store) == before


def test_reading_only_recovers_a_killed_store_first(killed: Path) -> None:
    folder = opened(killed, read_only=True)
    assert len(rows(folder.engine)) == 500
    folder.close()
    before = fingerprint(killed)
    opened(killed, read_only=True).close()
    assert fingerprint(killed) == before, "it is recovered once, not at each opening"


NOTES = [
    b"",
    b"\xff\xfe",
    b"[" * 100_000,
    b"[1]",
    b"9" * 10_000,
    b'{"closed": 1}',
    b'{"closed": {"a": "b"}}',
    b'{"closed": {"../x": 1}}',
]


@pytest.mark.parametrize("note", NOTES)
def test_an_owner_file_of_garbage_counts_as_not_closed(store: Path, note: bytes) -> None:
    (store / "owner").write_bytes(note)
    folder = opened(store)
    assert folder.recovered
    folder.close()
    assert_works(store)


def test_an_owner_file_that_is_something_else_is_refused(store: Path, tmp_path: Path) -> None:
    (store / "owner").unlink()
    (tmp_path / "victim").write_text("keep")
    (store / "owner").symlink_to(tmp_path / "victim")
    with pytest.raises(NotAStore, match="owner"):
        opened(store)
    assert (tmp_path / "victim").read_text() == "keep"
    (store / "owner").unlink()
    (store / "owner").mkdir()
    with pytest.raises(NotAStore, match="owner"):
        opened(store)
    (store / "owner").rmdir()
    os.mkfifo(store / "owner")
    with pytest.raises(NotAStore, match="owner"):
        opened(store)
    (store / "owner").unlink()
    assert_works(store)


def test_a_relative_path_holds_when_the_program_changes_its_directory(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.parent)
    folder = opened(Path(store.name))
    monkeypatch.chdir("/")
    fill(folder.engine, range(500, 600))
    folder.close()
    assert_works(store, 600)


def test_a_program_that_is_started_does_not_inherit_the_lock(store: Path) -> None:
    folder = opened(store)
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.readline()"],
        stdin=subprocess.PIPE,
        close_fds=False,
    ) as process:
        folder.close()
        assert told(code(OPEN) + "folder.close()", store) == "1"
        process.communicate(b"\n", timeout=60)


# Full disks and failing ones


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(place)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk can be mounted by root only; the file size test stands for it")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill_disk(place: Path) -> None:
    with (place / "ballast").open("wb", buffering=0) as ballast:
        with suppress(OSError):
            while ballast.write(bytes(4096)):
                pass


def test_on_a_full_disk_nothing_is_lost_and_it_goes_on_after_room_is_made(small: Path) -> None:
    ballast = small / "ballast"
    ballast.write_bytes(bytes(40 << 20))
    folder = opened(small / "store.atop", cache_bytes=64 << 20)
    engine = folder.engine
    done = 0
    with pytest.raises(StoreFull, match="no room"):
        for number in range(10_000):
            put(engine, {(ITEMS, ident(number)): os.urandom(20_000)}, durable=True)
            done += 1
    assert done > 100
    assert engine.state.serial == done
    with pytest.raises(StoreFull):
        put(engine, {(ITEMS, ident(done)): os.urandom(5 << 20)})
    ballast.unlink()
    assert len(rows(engine, ITEMS)) == done, "all that was committed can be read"
    put(engine, {(ITEMS, ident(done)): b"after"}, durable=True)
    folder.close()
    again = opened(small / "store.atop")
    assert len(rows(again.engine, ITEMS)) == done + 1
    assert again.engine.get(ITEMS, ident(done))[1] == b"after"
    again.close()


def test_closing_on_a_full_disk_keeps_what_was_committed(small: Path) -> None:
    (small / "other").write_bytes(bytes(40 << 20))
    folder = opened(small / "store.atop", cache_bytes=64 << 20)
    engine = folder.engine
    done = 0
    with pytest.raises(StoreFull):
        for number in range(10_000):
            put(engine, {(ITEMS, ident(number)): os.urandom(20_000)}, durable=True)
            done += 1
    fill_disk(small)
    try:
        folder.close()
    except StoreFull:
        assert "closed" not in json.loads((small / "store.atop" / "owner").read_text() or "{}")
    shutil.copytree(small / "store.atop", small.parent / "saved.atop")
    again = opened(small.parent / "saved.atop")
    assert len(rows(again.engine, ITEMS)) == done
    again.close()


def test_making_a_store_on_a_full_disk_fails_and_leaves_nothing_open(small: Path) -> None:
    fill_disk(small)
    with pytest.raises(StoreFull):
        opened(small / "store.atop")
    (small / "ballast").unlink()
    folder = opened(small / "store.atop")
    fill(folder.engine, range(500))
    folder.close()
    assert_works(small / "store.atop")


LIMITED = code(OPEN) + """
import os, resource, signal
from tests.engine.steps import ident, put, rows
from atop.errors import StoreFull
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
engine, done = folder.engine, 0
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, hard))
try:
    for number in range(1000, 2000):
        put(engine, {("items", ident(number)): os.urandom(20_000)}, durable=True)
        done += 1
except StoreFull as error:
    print("full")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
put(engine, {("items", b"after"): b"1"}, durable=True)
print(len(rows(engine, "items")) == 500 + done + 1 and done > 50)
folder.close()
"""


def test_a_limit_on_file_sizes_is_like_a_full_disk(store: Path) -> None:
    assert told(LIMITED, store).split() == ["1", "full", "True"]
    folder = opened(store)
    assert folder.engine.get(ITEMS, b"after")[1] == b"1"
    folder.close()


def test_after_a_failed_sync_all_can_be_read_and_nothing_written_until_it_is_recovered(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = opened(store)
    engine = folder.engine
    put(engine, {(ITEMS, b"good"): b"1"}, durable=True)
    turn = engine.writer(1)
    commit = commit_of(turn.state, changed(engine, {(ITEMS, b"doubtful"): b"1"}))
    with monkeypatch.context() as patched:
        patched.setattr(log, "_sync", _fail)
        with pytest.raises(StoreFailed, match="could not be synced"):
            turn.apply(commit, durable=True)
        assert turn.applied, "it is in, only not for certain on disk"
        for _ in range(2):
            with pytest.raises(StoreFailed, match="nothing is written"):
                engine.writer(0)
            assert not engine.ended
            assert engine.get(ITEMS, b"good")[1] == b"1"
            assert len(engine.scan(INDEX, Range())[1]) == 500
            assert engine.state == commit.state
    with pytest.raises(StoreFailed):
        engine.writer(0)
    assert engine.ended, "the disk works: it is to be opened and recovered"
    folder.close()
    assert "unsynced" in json.loads((store / "owner").read_text())
    again = opened(store)
    assert again.recovered
    assert "unsynced" not in json.loads((store / "owner").read_text())
    assert again.engine.get(ITEMS, b"good")[1] == b"1"
    assert again.engine.get(ITEMS, b"doubtful")[1] == b"1"
    again.close()


def _fail(descriptor: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_nobody_is_told_that_a_commit_is_on_disk_after_a_sync_failed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system reports an error of the disk to one sync only; the next would succeed."""
    engine = folder.engine
    failing = threading.Event()

    def fail_once(descriptor: int) -> None:
        if not failing.is_set():
            failing.set()
            _fail(descriptor)

    first, second = engine.writer(1), None
    commits = [commit_of(first.state, changed(engine, {(ITEMS, b"first"): b"1"}))]
    first.apply(commits[0], durable=False)
    second = engine.writer(1)
    commits.append(commit_of(second.state, changed(engine, {(ITEMS, b"second"): b"1"})))
    second.apply(commits[1], durable=False)
    monkeypatch.setattr(log, "_sync", fail_once)
    for serial in (1, 2, 1):
        with pytest.raises(StoreFailed):
            engine.sync(serial)


def test_a_panic_of_the_library_ends_the_use_and_opening_again_recovers(store: Path) -> None:
    folder = opened(store)
    put(folder.engine, {(ITEMS, b"x"): b"1"}, durable=True)
    folder.engine.environment.handle.set_flags(db.DB_PANIC_ENVIRONMENT, 1)
    for _ in range(2):
        with pytest.raises(StoreFailed, match="try again"):
            rows(folder.engine)
    folder.close()
    again = opened(store)
    assert again.recovered
    assert len(rows(again.engine, ITEMS)) == 501
    again.close()


def test_a_value_that_is_too_large_is_refused_and_nothing_is_written(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_BYTES", 1000)
    with pytest.raises(ValueRefused, match="1,001 bytes"):
        put(folder.engine, {(ITEMS, b"a"): b"x", (ITEMS, b"b"): bytes(1001)})
    assert rows(folder.engine, ITEMS) == []
    put(folder.engine, {(ITEMS, b"a"): bytes(1000)}, durable=True)
    assert folder.engine.state.serial == 1


# Closing


def test_closing_while_another_thread_writes_lets_it_finish_or_refuses_it(store: Path) -> None:
    folder = opened(store)
    engine = folder.engine
    begun, refused = threading.Event(), []

    def write() -> None:
        try:
            for number in range(10_000):
                put(engine, {(ITEMS, ident(1000 + number)): b"x" * 100}, durable=True)
                done.append(number)
                if number == 20:
                    begun.set()
        except StoreClosed as error:
            refused.append(error)

    done: list[int] = []
    writer = threading.Thread(target=write)
    writer.start()
    begun.wait(30)
    folder.close()
    writer.join(30)
    assert refused, "the writer must learn that the store was closed"
    again = opened(store)
    stored = len(rows(again.engine, ITEMS)) - 500
    again.close()
    assert stored >= len(done), "what was acknowledged is there"
    assert stored <= len(done) + 1


def test_closing_undoes_what_this_thread_had_spilled(store: Path) -> None:
    folder = opened(store)
    turn = folder.engine.writer(1)
    turn.spill({ITEMS: [(b"early", b"1", False)]})
    folder.close()
    turn.release()
    assert_works(store)


def test_closing_waits_for_a_backup(store: Path) -> None:
    folder = opened(store)
    with folder.engine.environment.paused():
        closing = threading.Thread(target=folder.close)
        closing.start()
        closing.join(0.1)
        assert closing.is_alive(), "a close would remove logs that the backup still copies"
        assert (store / "environment" / "log.0000000001").exists()
    closing.join(30)
    assert not closing.is_alive()
    assert_works(store)


def test_a_checkpoint_and_a_close_at_the_same_moment_do_no_harm(store: Path) -> None:
    for _ in range(20):
        folder = opened(store)
        put(folder.engine, {(ITEMS, b"x"): os.urandom(10)})
        checkpoints = threading.Thread(target=_checkpoints, args=(folder,))
        checkpoints.start()
        folder.close()
        checkpoints.join(30)
        assert not checkpoints.is_alive()
    assert isinstance(in_thread(folder.engine.checkpoint), StoreClosed)
    folder = opened(store)
    put(folder.engine, {}, [(ITEMS, b"x")])
    folder.close()
    assert_works(store)


def _checkpoints(folder: Folder) -> None:
    try:
        while True:
            folder.engine.checkpoint()
    except StoreClosed:
        return


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("table", ["items", "index"])
def test_a_zeroed_page_is_named_before_anybody_reads_it(
    store: Path, table: str, read_only: bool
) -> None:
    path = store / "environment" / table
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(bytes(4096))
    newer = (store / "owner").stat().st_mtime + 1
    os.utime(path, (newer, newer))
    for _ in range(2):
        with pytest.raises(DamagedStore, match=f"page 3 of .*{table}.* restore"):
            opened(store, read_only=read_only)


def test_a_copied_store_opens(store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.atop"
    shutil.copytree(store, copy, copy_function=shutil.copyfile)
    folder = opened(copy)
    assert folder.engine.state.counts["items"] == 500
    folder.close()
