"""What recovery would drop is seen before it runs; what is damaged is told before it kills."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from berkeleydb import db

from atop.engine import firstlook
from atop.engine.base import ITEMS
from atop.engine.checksum import Checksum, torek
from atop.engine.folder import Folder
from atop.engine.logtail import check_logs, read_tail
from atop.engine.mending import mend
from atop.engine.recovery import Recovery
from atop.errors import DamagedStore, NewerFormat, NotAStore
from tests.engine.steps import child, fill, opened, rows

COMMITS = 60
ROUNDS = 8
WRITE = f"""
import os, sys
from pathlib import Path
from atop.engine.folder import open_folder
from atop.engine.published import Published
from tests.engine.steps import ident, put
path = Path(sys.argv[1])
folder = open_folder(path, read_only=False, cache_bytes=8 << 20)
told = Published(path, to_write=True)
for number in range({COMMITS}):
    put(folder.engine, {{("items", ident(number)): b"%d " % number * 200}})
    told.write(folder.engine.serial)
(path / "files" / "40").write_bytes(b"of item 40")
(path / "files" / "999").write_bytes(b"of no item")
os.kill(os.getpid(), 9)
"""
Log = Callable[[], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of sixty commits of an item each, whose owner was killed."""
    path = tmp_path_factory.mktemp("made") / "store.atop"
    with child(WRITE, path) as process:
        problems = process.communicate(timeout=60)[1]
    assert process.returncode == -signal.SIGKILL, problems
    return path


@pytest.fixture
def killed(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "killed.atop"))


def log_of(store: Path) -> Path:
    return store / "environment" / "log.0000000001"


def change(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def place_of(store: Path, number: int) -> int:
    """Where in the log the item `number` is."""
    return log_of(store).read_bytes().index(b"%d " % number * 200)


def items(folder: Folder) -> list[int]:
    return [int.from_bytes(key, "big") for key, _ in rows(folder.engine, ITEMS)]


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# The end of the log


def test_a_crash_leaves_no_damage(killed: Path) -> None:
    folder = opened(killed)
    assert items(folder) == list(range(COMMITS))
    assert folder.dropped == []
    assert folder.swept == ["999"]
    folder.close()
    assert not (killed / "set-aside").exists()


@pytest.mark.parametrize("bit", [3, 5, 7])
def test_a_wrong_byte_in_the_log_is_mended_and_nothing_is_lost(
    killed: Path, bit: int, caplog: pytest.LogCaptureFixture
) -> None:
    log = log_of(killed)
    before = log.read_bytes()
    at = place_of(killed, 30) + 17 * bit
    change(log, at, bytes([before[at] ^ 1 << bit]))
    damaged = log.read_bytes()
    with caplog.at_level(logging.WARNING, "atop"):
        folder = opened(killed)
    assert items(folder) == list(range(COMMITS))
    assert f"a wrong byte of {log.name} was mended" in caplog.text
    assert f"a wrong byte of {log.name} was mended" in folder.dropped[0]
    folder.close()
    (kept,) = (killed / "set-aside").glob("*/log.*")
    assert kept.read_bytes() == damaged, "what was there is kept"


def test_commits_behind_a_damaged_place_are_set_aside_and_reported_not_just_dropped(
    killed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = log_of(killed)
    change(log, place_of(killed, 30), bytes(512))
    damaged = log.read_bytes()
    with caplog.at_level(logging.WARNING, "atop"):
        folder = opened(killed)
    assert items(folder) == list(range(30)), "what was committed before the damage is there"
    assert "30 commits behind that were dropped" in caplog.text
    (note,) = folder.dropped
    assert "the log was damaged at byte" in note
    assert str(killed / "set-aside") in note
    folder.close()
    (kept,) = (killed / "set-aside").glob("*/log.*")
    assert kept.read_bytes() == damaged
    (place,) = (killed / "set-aside").iterdir()
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} <= {0o600, 0o700}
    assert files_below(place) == {"note", log.name, "files/40", "files/999"}, (
        "files of items that were dropped are kept too"
    )


def test_a_report_lasts_until_the_folder_is_removed(killed: Path) -> None:
    change(log_of(killed), place_of(killed, 30), bytes(512))
    opened(killed).close()
    for read_only in (False, True):
        folder = opened(killed, read_only=read_only)
        assert len(folder.dropped) == 1
        folder.close()
    folder = opened(killed)
    fill(folder.engine, range(500, 900))
    folder.close()
    folder = opened(killed)
    assert items(folder) == [*range(30), *range(500, 900)]
    assert len(folder.dropped) == 1, "it is reported once"
    folder.close()
    shutil.rmtree(killed / "set-aside")
    folder = opened(killed)
    assert folder.dropped == []
    folder.close()


def test_what_was_dropped_does_not_come_back_after_another_crash(
    killed: Path, tmp_path: Path
) -> None:
    change(log_of(killed), place_of(killed, 30), bytes(512))
    with child(WRITE, killed) as process:
        process.communicate(timeout=60)
    folder = opened(killed)
    assert items(folder) == list(range(COMMITS))
    assert len(folder.dropped) == 1
    folder.close()


def test_nothing_is_left_behind_the_end_for_a_later_recovery_to_stumble_upon(killed: Path) -> None:
    change(log_of(killed), place_of(killed, 30), bytes(512))
    for _ in range(2):
        Recovery(killed, None).prepare(closed=False, complete=True)
    assert len(Recovery(killed, None).notes) == 1
    assert not read_tail(killed / "environment", [1], Checksum()).logs


def test_a_log_that_was_cut_is_reported_where_the_commits_are_known(killed: Path) -> None:
    os.truncate(log_of(killed), place_of(killed, 30) + 100)
    _pass_for_the_original(killed)
    folder = opened(killed)
    assert items(folder) == list(range(30))
    assert "told of commits 31 to 60, which are not in the log" in folder.dropped[0]
    folder.close()
    assert list((killed / "set-aside").glob("*/log.*")), "half a record is kept as well"


def test_a_copy_that_was_made_while_the_store_was_in_use_is_not_taken_for_damaged(
    killed: Path,
) -> None:
    os.truncate(log_of(killed), place_of(killed, 30) + 100)
    folder = opened(killed)
    assert items(folder) == list(range(30))
    assert folder.dropped == []
    folder.close()
    assert not (killed / "set-aside").exists()


def _pass_for_the_original(store: Path) -> None:
    """The note of who has the store says which folder that was; a copy is another one."""
    import json

    note = json.loads((store / "owner").read_text())
    note["folder"] = store.stat().st_ino
    (store / "owner").write_text(json.dumps(note))


def test_half_a_record_at_the_end_is_what_a_crash_leaves(killed: Path) -> None:
    log = log_of(killed)
    end = read_tail(log.parent, [1], Checksum()).end.offset
    change(log, end, struct.pack("=III", end, 5000, 1) + os.urandom(300))
    folder = opened(killed)
    assert items(folder) == list(range(COMMITS))
    assert folder.dropped == []
    folder.close()
    assert not (killed / "set-aside").exists()


def test_tables_that_are_ahead_of_a_damaged_log_are_left_alone(killed: Path) -> None:
    """Berkeley DB would go on, and mix pages of several moments."""
    folder = opened(killed)
    place = place_of(killed, 30)
    folder.close()
    change(log_of(killed), place, bytes(512))
    before = {path: path.read_bytes() for path in (killed / "environment").iterdir()}
    for _ in range(2):
        with pytest.raises(DamagedStore, match=r"page \d+ of .* is newer than that: .*salvage"):
            opened(killed)
    assert {path: path.read_bytes() for path in (killed / "environment").iterdir()} == before
    folder = opened(killed, read_only=True)
    assert items(folder) == list(range(COMMITS)), "reading needs no log"
    folder.close()


@pytest.mark.parametrize("number", [2, 99])
def test_a_log_from_elsewhere_is_refused(killed: Path, number: int) -> None:
    foreign = killed / "environment" / f"log.{number:010}"
    shutil.copyfile(log_of(killed), foreign)
    with pytest.raises(DamagedStore, match=rf"{foreign.name} does not .*move it away"):
        opened(killed)
    foreign.unlink()
    folder = opened(killed)
    assert items(folder) == list(range(COMMITS))
    folder.close()


def test_a_log_of_a_newer_berkeley_db_is_refused(killed: Path) -> None:
    header = bytearray(log_of(killed).read_bytes()[:28])
    header[16:20] = struct.pack("=I", 23)
    header[8:12] = struct.pack("=I", torek(bytes(header[12:])) ^ 28)
    change(log_of(killed), 0, bytes(header))
    with pytest.raises(NewerFormat, match=r"log\.0000000001 is a log of version 23"):
        opened(killed)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_not_taken_for_a_log(
    killed: Path, make: Callable[[Path], object]
) -> None:
    make(killed / "environment" / "log.0000000002")
    with pytest.raises((DamagedStore, NotAStore), match=r"log\.0000000002 is .*move"):
        opened(killed)


def test_another_thing_called_set_aside_is_refused(killed: Path) -> None:
    (killed / "set-aside").write_text("mine")
    with pytest.raises(NotAStore, match="set-aside is not a folder"):
        opened(killed)


def test_the_end_of_the_log_is_found_wherever_it_is_damaged(made: Path, tmp_path: Path) -> None:
    """A byte is mended or what lies behind it is counted: nothing goes unseen."""
    dice = random.Random(4)
    data = log_of(made).read_bytes()
    used = len(data.rstrip(b"\0"))
    folder = tmp_path / "environment"
    folder.mkdir()
    log = folder / "log.0000000001"
    shutil.copyfile(log_of(made), log)
    whole = read_tail(folder, [1], Checksum())
    mended = 0
    for _ in range(ROUNDS):
        at = dice.randrange(28, used - 2000)
        change(log, at, bytes([data[at] ^ 1 << dice.randrange(8)]))
        tail = read_tail(folder, check_logs(folder, Checksum()), Checksum())
        assert tail.records, f"damage at {at} is not seen"
        found = mend(log.read_bytes(), tail.end.offset)
        assert found is None or found == (at, data[at]), f"{at} is mended wrongly"
        mended += found is not None
        change(log, at, data[at : at + 1])
    assert read_tail(folder, [1], Checksum()) == whole
    assert mended >= ROUNDS / 2


def test_the_log_of_an_encrypted_environment_is_read_with_its_password(tmp_path: Path) -> None:
    handle = db.DBEnv()
    handle.set_encrypt("secret", db.DB_ENCRYPT_AES)
    access = db.DB_CREATE | db.DB_PRIVATE | db.DB_INIT_LOG | db.DB_INIT_TXN | db.DB_INIT_MPOOL
    handle.open(str(tmp_path), access, 0o600)
    table = db.DB(handle)
    table.open("table", dbtype=db.DB_BTREE, flags=db.DB_CREATE | db.DB_AUTO_COMMIT)
    for number in range(50):
        table.put(b"%d" % number, b"value")
    table.close()
    handle.close()
    checksum = Checksum("secret")
    assert read_tail(tmp_path, check_logs(tmp_path, checksum), checksum, "secret").records == 0
    log = tmp_path / "log.0000000001"
    place = len(log.read_bytes().rstrip(b"\0")) * 2 // 3
    change(log, place, b"\xff" * 9)
    tail = read_tail(tmp_path, check_logs(tmp_path, checksum), checksum, "secret")
    assert place - 1000 < tail.end.offset <= place
    assert tail.records == 1, "whether there are any is all that is asked"
    with pytest.raises(DamagedStore):
        check_logs(tmp_path, Checksum("guess"))


def test_the_hash_is_berkeley_dbs() -> None:
    dice = random.Random(1)
    for size in [*range(20), 511, 512, 4096]:
        data = dice.randbytes(size)
        slow = 0
        for byte in data:
            slow = (slow * 33 + byte) % (1 << 32)
        assert torek(data) == slow


# Pages


FLIP = """
import os, random, sys
from pathlib import Path
from atop.errors import DamagedStore
from tests.engine.test_damage import change, flips_of_a_first_page
print(*flips_of_a_first_page(Path(sys.argv[1]), [int(each) for each in sys.argv[2].split(",")]))
"""


def flips_of_a_first_page(store: Path, bits: list[int]) -> list[str]:
    """Each bit of the first page flipped, in a child each: which of these died or read wrongly."""
    bad = []
    for table in firstlook.ALL_TABLES:
        path = store / "environment" / table
        for bit in bits:
            byte = path.read_bytes()[bit // 8]
            change(path, bit // 8, bytes([byte ^ 1 << bit % 8]))
            pid = os.fork()
            if pid == 0:
                os._exit(_reads(store))
            status = os.waitpid(pid, 0)[1]
            if status:
                bad.append(f"{table}:{bit}:{status}")
            change(path, bit // 8, bytes([byte]))
    return bad


def _reads(store: Path) -> int:
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    signal.alarm(20)
    try:
        folder = opened(store, read_only=True)
    except DamagedStore:
        return 0
    return 0 if items(folder) == list(range(COMMITS)) else 1


def test_no_bit_of_a_first_page_kills_whoever_opens_the_store(killed: Path) -> None:
    opened(killed).close()
    dice = random.Random(7)
    bits = [*dice.sample(range(512 * 8), 10), *dice.sample(range(512 * 8, 4096 * 8), 4)]
    with child(FLIP, killed, ",".join(map(str, bits))) as process:
        out, problems = process.communicate(timeout=120)
    assert process.returncode == 0, problems
    assert out.split() == []


def test_each_bit_of_a_first_page_that_berkeley_db_reads_is_looked_at(killed: Path) -> None:
    opened(killed).close()
    path = killed / "environment" / "index"
    page = path.read_bytes()[:512]
    for at in range(512):
        for other in {page[at] ^ 1 << bit for bit in range(8)} | {0} - {page[at]}:
            change(path, at, bytes([other]))
            with pytest.raises(DamagedStore, match="index does not begin like a table"):
                firstlook.check_first_pages(path.parent, complete=True)
        change(path, at, page[at : at + 1])
    firstlook.check_first_pages(path.parent, complete=True)


@pytest.mark.parametrize("table", ["items", "commits"])
def test_a_zeroed_page_is_found_after_recovery_and_before_anybody_reads_it(
    killed: Path, table: str
) -> None:
    opened(killed).close()
    (killed / "owner").write_text('{"pid": 1}')
    change(killed / "environment" / table, 2 * 4096, bytes(4096))
    for _ in range(2):
        with pytest.raises(DamagedStore, match=f"page 2 of .*/{table} is zeroed"):
            opened(killed)


def test_a_page_in_the_place_of_another_is_found(killed: Path) -> None:
    opened(killed).close()
    path = killed / "environment" / "items"
    change(path, 2 * 4096, path.read_bytes()[3 * 4096 : 4 * 4096])
    os.utime(path, (path.stat().st_mtime + 5,) * 2)
    with pytest.raises(DamagedStore, match=r"page 2 of .*/items says that it is page 3"):
        opened(killed)


def test_exchanged_tables_are_found(killed: Path) -> None:
    folder = killed / "environment"
    (folder / "items").rename(folder / "aside")
    (folder / "commits").rename(folder / "items")
    (folder / "aside").rename(folder / "commits")
    with pytest.raises(DamagedStore, match="is not the table that the logs belong to"):
        opened(killed)


@pytest.mark.parametrize("table", ["index", "commits", "items"])
def test_a_damaged_first_page_is_told_with_the_repair_that_makes_it_anew(
    killed: Path, table: str
) -> None:
    opened(killed).close()
    change(killed / "environment" / table, 0, bytes(4096))
    with pytest.raises(DamagedStore, match=r"page 0.*: run `atopdb verify --repair`.* else run"):
        opened(killed)


def test_a_lost_page_of_items_is_told_with_salvage_since_no_repair_brings_it_back(
    killed: Path,
) -> None:
    opened(killed).close()
    (killed / "owner").write_text('{"pid": 1}')
    change(killed / "environment" / "items", 2 * 4096, bytes(4096))
    with pytest.raises(DamagedStore, match=r"page 2 of .*: run `atopdb salvage`"):
        opened(killed)
