"""Who may write in a store's folder may spoil the store, but not the program that opens it.

Each threat of doc/security.rst has its test here, or is named there with the file that has it.
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atop import File, Item, Store
from atop.care import restore
from atop.cli.app import cli
from atop.engine.base import ITEMS
from atop.errors import (
    AtopError,
    DamagedStore,
    NotAStore,
    NotLoadable,
    NotStorable,
    StorePermission,
)
from atop.plain import plain, shown
from atop.records import Allowed, decode_header, dump_state, loader
from atop.salvage import salvage
from tests.conftest import run_child, stored
from tests.test_verify import change


class Playlist(Item):
    """An item with methods that a record must not reach."""

    called: bool = False

    def extend(self, *songs: Any) -> None:
        Playlist.called = True

    append = add = __call__ = __setitem__ = extend


class Price:
    """For ``allow``."""

    built = 0

    def __setstate__(self, state: Any) -> None:
        Price.built += 1


def text(*words: str) -> bytes:
    return b"".join(b"\x8c" + bytes([len(each)]) + each.encode() + b"\x94" for each in words)


def named(module: str, name: str) -> bytes:
    return text(module, name) + b"\x93\x94"


def state(value: bytes) -> bytes:
    """The pickle of a state with one attribute."""
    return b"\x80\x05}\x94" + text("x") + value + b"s."


def load(pickled: bytes, *allow: type) -> dict[str, Any]:
    def dereference(reference: tuple[int, int]) -> Item:
        return Playlist()

    return loader(Allowed(allow), dereference)(pickled)


def known(number: int) -> bytes:
    """What has that number in the memo."""
    return b"j" + number.to_bytes(4, "little")


def doubled(first: int) -> bytes:
    """A tuple of the same tuple twice, and so on; the `first` has that number in the memo."""
    return b")\x94" + b"".join(b"0" + known(n) * 2 + b"\x86\x94" for n in range(first, first + 99))


def shared(
    begin: bytes, end: bytes, between: bytes = b"", beside: bytes = b"", first: int = 3
) -> bytes:
    """Containers in a list: each holds the one before it twice; the `first` has that number."""
    each = [begin + b"h%c" % number + between + b"h%c" % number + end
            for number in range(first, first + 60)]
    return b"]\x94(" + beside + b"]\x94" + b"".join(each) + b"e"


ITEM = b"K\x01K\x01\x86\x94Q"

EXHAUSTING = {
    "a memo number of four bytes": b"Nr\xff\xff\xff\x07",
    "a memo number in words": b"Np99999999\n",
    "a memo number behind what reads like text": text("first") + b"riend",
    "a bytearray by its size": named("builtins", "bytearray") + b"J\0\0\0\x70\x85\x94R",
    "bytes by their size": named("builtins", "bytes") + b"J\0\0\0\x70\x85\x94R",
    "a list of a range": named("builtins", "list") + named("builtins", "range")
    + b"J\xff\xff\xff\x70\x85\x94R\x94\x85\x94R",
    "a deque of a range": named("collections", "deque") + named("builtins", "range")
    + b"J\xff\xff\xff\x70\x85\x94R\x94\x85\x94R",
    "a fraction with an exponent": named("fractions", "Fraction") + text("1e999999999")
    + b"\x85\x94R",
    "a length beyond the end": b"B\xff\xff\xff\x7f",
    "a length of eight bytes": b"\x96\xff\xff\xff\xff\xff\0\0\0",
    "a long int beyond the end": b"\x8b\xff\xff\xff\x7f",
    "tuples in tuples, hashed": b"}\x94)" + b"\x85" * 10**5 + b"Ns",
    "tuples in tuples": b")" + b"\x85" * 10**5,
    "slices in slices": named("builtins", "slice") + b"NNN\x87R\x94"
    + b"".join(b"0h\x04" + known(n) + b"\x85R\x94" for n in range(5, 1000)),
    "tuples that double": doubled(2),
    "tuples that double as a key": b"}\x94" + doubled(3) + b"Ns",
    "lists in lists": b"]\x94(" * 10**5 + b"e" * 10**5,
    "lists that double": shared(b"]\x94(", b"e"),
    "lists that double beside a long string": shared(
        b"]\x94(", b"e", beside=b"X\0\x10\0\0" + b"x" * 4096 + b"\x94", first=4),
    "dicts that double": shared(b"}\x94(K\x01", b"u", b"K\x02"),
    "deques that double": named("collections", "deque") + b"0" + shared(
        b"h\x04)R\x94(", b"e", first=6),
    "lists that are filled when others have them": b"]\x94" + b"".join(
        b"h%c(]\x94h%ce0" % (number, number + 1) for number in range(2, 60)),
}  # fmt: skip

_LIMITED = """
import resource
from tests.test_security import EXHAUSTING, load, state
from atop.errors import DamagedStore
load(state(b"N"))
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (400 << 20),) * 2)
for name, value in EXHAUSTING.items():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load(state(value))
    except DamagedStore as error:
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before << 10
        print(name, "|", int(grown > 256 * len(value) + (16 << 20)), error, flush=True)
    else:
        print(name, "| loaded", flush=True)
"""


def test_no_record_takes_more_memory_or_stack_than_its_length_allows() -> None:
    told = run_child(_LIMITED).splitlines()
    assert [line.split(" | ")[0] for line in told] == list(EXHAUSTING), "one of them has killed it"
    for line in told:
        assert " | 0 a record" in line, line


def doubling(times: int) -> list[Any]:
    """A list with the same list twice, and so on."""
    value: list[Any] = [1]
    for _ in range(times):
        value = [value, value]
    return value


def acquainted(count: int) -> list[Any]:
    """Lists of which each holds all others."""
    lists: list[Any] = [[] for _ in range(count)]
    for each in lists:
        each.extend(other for other in lists if other is not each)
    return lists


@pytest.mark.parametrize("value", [doubling(20), acquainted(12), (doubling(15),) * 64])
def test_what_takes_for_ever_to_print_is_not_stored(tmp_path: Path, value: Any) -> None:
    with Store(tmp_path / "s.atop", durable=False) as store:
        with pytest.raises(NotStorable, match="never end"), store.transaction():
            store.add(Item(x=value))
        assert len(store) == 0


def test_what_is_shared_or_within_itself_is_stored_and_printed(tmp_path: Path) -> None:
    tree: dict[str, Any] = {"within": []}
    tree["within"] += [{"above": tree, "n": n} for n in range(500)]
    same = ["home"] * 300
    with Store(tmp_path / "s.atop", durable=False) as store:
        with store.transaction():
            item = store.add(Item(tree=tree, twice=doubling(15), same=[same] * 100,
                                  graph=acquainted(6), rows=[(n, "a") for n in range(500)]))
        told = stored(item)
    assert told["same"][0] is told["same"][99]
    assert told["tree"]["within"][499]["above"] is told["tree"]
    assert plain(told["tree"]["within"][:1])[0]["above"]["within"][0] == "{...}"
    assert shown(told["graph"][0]).count("[...]") > 100
    assert len(shown(told["twice"])) > 2**15


class Graph:
    """Lists that hold each other as somebody says, and what their pickle is."""

    def __init__(self, edges: list[tuple[int, int]]) -> None:
        lists: list[list[Any]] = [[number] for number in range(12)]
        for one, other in edges:
            lists[one].append(lists[other])
        self.pickled = pickle.dumps({"x": lists[0]}, 5)


def printed(value: Any, above: tuple[int, ...], left: int) -> int:
    """How many of `left` values may still be printed after this one."""
    if left > 0 and isinstance(value, list) and id(value) not in above:
        for each in value:
            left = printed(each, (*above, id(value)), left)
    return left - 1


@settings(max_examples=60, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30))
def test_lists_that_hold_each_other_are_printed_or_refused(edges: list[tuple[int, int]]) -> None:
    pickled = Graph(edges).pickled
    try:
        value = load(pickled)
    except DamagedStore:
        assert printed(pickle.loads(pickled)["x"], (), 10**5) <= 0
    else:
        assert printed(value["x"], (), 10**6) > 0


@pytest.mark.parametrize("value", [
    ITEM + b"(Ne", ITEM + b"(NNu", ITEM + b"(N\x90", ITEM + b"Na", ITEM + b"NNs",
    ITEM + b")R", ITEM + b"}b", ITEM + b"N}\x94\x86\x94b",
    b"]\x94(" + ITEM + b"NNse", ITEM + b"\x94h\x04C\x04\0\0\1\1\x94\x85\x94R",
], ids=repr)  # fmt: skip
def test_a_record_calls_and_changes_no_item(value: bytes) -> None:
    Playlist.called = False
    with pytest.raises(DamagedStore, match=r"a record.*verify"):
        load(state(value))
    assert not Playlist.called


@pytest.mark.parametrize(("module", "name"), [
    ("uuid", "UUID"), ("fractions", "Fraction"), ("ipaddress", "IPv4Address"),
    ("collections", "Counter"), ("pathlib", "PurePosixPath"), ("tests.test_security", "Price"),
])  # fmt: skip
def test_a_record_changes_no_class(module: str, name: str) -> None:
    before = dict(vars(getattr(sys.modules[module], name)))
    for more in (b"N}\x94" + text("evil") + b"Ns\x86\x94b", b"}\x94b", b"(Ne", b"NNs"):
        with pytest.raises(DamagedStore, match="a change to what it has not made"):
            load(state(named(module, name) + more), Price)
    assert dict(vars(getattr(sys.modules[module], name))) == before


def test_a_record_has_no_opcode_that_is_not_written() -> None:
    written = set(b"NKMJG]}\x8f)\x80\x95\x85\x86\x87hj(t\x91aesu\x90R\x81\x92\x94\x0001\x93bQ."
                  b"\x8cX\x8dCB\x8e\x96\x8a\x8b\x88\x89")
    for code in set(range(256)) - written:
        with pytest.raises(DamagedStore, match=f"opcode {code:#04x}"):
            load(state(bytes([code]) + b"os\nsystem\n"))


def test_an_object_of_an_allowed_class_is_made_in_its_own_way() -> None:
    loaded = load(dump_state({"x": Price()}, Allowed([Price]), lambda item: (1, 1)), Price)
    assert type(loaded["x"]) is Price
    with pytest.raises(NotLoadable, match="allow"):
        load(dump_state({"x": Price()}, Allowed([Price]), lambda item: (1, 1)))


@pytest.mark.parametrize("key", ["../../../etc/passwd", "/etc/passwd", "a\0b", "os", "x/../.."])
def test_a_time_zone_is_no_path(key: str) -> None:
    with pytest.raises(DamagedStore, match="cannot be unpickled"):
        load(state(named("zoneinfo", "ZoneInfo") + text(key) + b"\x85\x94R"))


def test_a_hostile_record_is_an_error_and_all_others_are_read(tmp_path: Path) -> None:
    with Store(tmp_path / "s.atop", durable=False) as store:
        with store.transaction():
            bad, good = store.add(Playlist(n=1)), store.add(Playlist(n=2))
        key = bad.id.to_bytes(8, "big")
        record = store.engine.get(ITEMS, key)[1]
        assert record is not None
        head = record[: decode_header(record)[2]]
        change(store, ITEMS, key, head + state(EXHAUSTING["a memo number of four bytes"]))
        ids = bad.id, good.id
    with Store(tmp_path / "s.atop") as store:
        with pytest.raises(DamagedStore, match="verify"):
            store.getItemByID(ids[0]).attributes()
        assert store.getItemByID(ids[1]).attributes() == {"n": 2}
        report = store.verify()
        assert not report.ok
        assert str(ids[0]) in str(report.problems)


class Deep:
    """For ``allow``: as deep as somebody likes."""

    def __init__(self, depth: int) -> None:
        self.inner = Deep(depth - 1) if depth else None


def test_what_is_nested_too_deeply_to_be_loaded_is_not_stored(tmp_path: Path) -> None:
    with Store(tmp_path / "s.atop", durable=False, allow=[Deep]) as store:
        with pytest.raises(NotStorable, match="nested deeper than 400"), store.transaction():
            store.add(Item(x=Deep(210)))
        with store.transaction():
            kept = store.add(Item(x=Deep(150)))
        assert stored(kept)["x"].inner.inner is not None


# Names of files


@pytest.mark.parametrize("name", [
    "../../evil", "/etc/passwd", "a\0b", "CON", "nul.txt", "..", ".", "", "\x1b[2J", "a/b",
    "\ud800",
])  # fmt: skip
def test_the_name_of_a_file_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    with Store(tmp_path / "s.atop", durable=False) as store:
        with store.transaction(), store.newFile(name) as file:
            file.write(b"bytes")
        assert file.name == name
        assert file.path == tmp_path / "s.atop" / "files" / str(file.id)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["s.atop"]
        assert [each.name for each in (tmp_path / "s.atop" / "files").iterdir()] == [str(file.id)]


# Links that others have put into the folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with a file."""
    with Store(tmp_path / "s.atop") as store, store.transaction():
        with store.newFile("a") as file:
            file.write(b"bytes")
    return tmp_path / "s.atop"


@pytest.mark.parametrize("name", [
    "FORMAT", "FORMAT.new", "owner", "serial", "socket", "wanted", "files", "environment",
    "environment/items", "environment/index", "environment/log.0000000001",
    "environment/log.0000000002", "environment/DB_CONFIG", "environment/__db.001",
])  # fmt: skip
@pytest.mark.parametrize("reading", [False, True])
def test_a_link_in_the_folder_is_refused_and_never_written(
    path: Path, tmp_path: Path, name: str, reading: bool
) -> None:
    link, target = path / name, tmp_path / "target"
    if link.exists():
        link.rename(target)
    else:
        target.write_bytes(b"keep me")
    before = contents(target)
    link.symlink_to(target)
    with pytest.raises(NotAStore, match=rf"{name} is a symbolic link") as caught:
        Store(path, readOnly=reading)
    assert str(link) in str(caught.value)
    assert contents(target) == before


def contents(path: Path) -> dict[str, bytes]:
    files = path.rglob("*") if path.is_dir() else [path]
    return {str(each): each.read_bytes() for each in files if each.is_file()}


@pytest.mark.parametrize("name", [
    "owner", "serial", "wanted", "FORMAT.new", "environment/items", "environment/log.0000000001",
    "environment/log.0000000002",
])  # fmt: skip
@pytest.mark.parametrize("reading", [False, True])
def test_a_file_that_has_another_name_elsewhere_is_never_written(
    path: Path, tmp_path: Path, name: str, reading: bool
) -> None:
    target = tmp_path / "target"
    if (path / name).exists():
        (path / name).rename(target)
    else:
        target.write_bytes(b"keep me")
    before = target.read_bytes()
    (path / name).hardlink_to(target)
    with pytest.raises(NotAStore, match=rf"{name} is a hard link.*cp -R"):
        Store(path, readOnly=reading)
    assert target.read_bytes() == before


def test_a_snapshot_of_hard_links_is_copied_and_then_opened(path: Path, tmp_path: Path) -> None:
    """As ``cp -al`` makes it, and tools for backups do among their own copies."""
    snapshot, copy = tmp_path / "snapshot", tmp_path / "copy"
    shutil.copytree(path, snapshot, copy_function=os.link)
    before = contents(snapshot)
    for each in (path, snapshot):
        with pytest.raises(NotAStore, match="hard link"):
            Store(each)
    shutil.copytree(snapshot, copy)
    with Store(copy) as store:
        with store.transaction():
            store.add(Item(n=1))
        assert store.verify().ok
    restore(snapshot, tmp_path / "restored")
    salvage(snapshot, tmp_path / "salvaged")
    for name in ("restored", "salvaged"):
        with Store(tmp_path / name) as store:
            (file,) = store.items(File)
            with file.open() as opened:
                assert opened.read() == b"bytes"
    assert contents(snapshot) == before


def test_external_files_may_have_other_names(path: Path, tmp_path: Path) -> None:
    """They are written once: who replaces equal files by links does no harm."""
    for each in ("files/1", "FORMAT"):
        (tmp_path / each.replace("/", "-")).hardlink_to(path / each)
    with Store(path) as store:
        (file,) = store.items(File)
        assert file.path.stat().st_nlink == 2
        with store.transaction():
            store.delete(file)
        assert len(store) == 0
    assert (tmp_path / "files-1").read_bytes() == b"bytes"


def test_a_link_in_place_of_a_file_is_not_read(path: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"bytes")
    with Store(path) as store:
        (file,) = store.items(File)
        file.path.unlink()
        file.path.symlink_to(tmp_path / "secret")
        with pytest.raises(DamagedStore, match="symbolic link"):
            file.open()
        with store.transaction():
            store.delete(file)
    assert (tmp_path / "secret").read_bytes() == b"bytes"


def test_what_recovery_sweeps_is_never_outside(path: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "precious").write_bytes(b"keep me")
    (path / "files" / "new-link").symlink_to(tmp_path / "kept" / "precious")
    (path / "files" / "99").symlink_to(tmp_path / "kept")
    (path / "files" / "folder").mkdir()
    (path / "owner").unlink()
    with Store(path) as store:
        assert store.verify()
    assert not os.path.lexists(path / "files" / "new-link")
    assert (tmp_path / "kept" / "precious").read_bytes() == b"keep me"


def test_the_folder_itself_may_be_a_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    with Store(tmp_path / "link") as store:
        assert len(store) == 1


# Modes


@pytest.mark.parametrize("name", ["", "files", "environment"])
def test_a_folder_that_everybody_may_write_in_is_refused(path: Path, name: str) -> None:
    (path / name).chmod(0o777)
    with pytest.raises(StorePermission, match=r"mode 777.*chmod 700"):
        Store(path)
    (path / name).chmod(0o1777)
    with pytest.raises(StorePermission, match="mode 1777"):
        Store(path, readOnly=True)
    (path / name).chmod(0o700)
    Store(path).close()


_WITH_UMASK = """
import os, stat, sys
from pathlib import Path
os.umask(int(sys.argv[2]))
from atop import Item, Store
path = Path(sys.argv[1])
def look():
    for file in [path, *path.rglob("*")]:
        mode = stat.S_IMODE(file.stat().st_mode)
        print(oct(mode), file.is_dir(), file.name)
with Store(path) as store:
    with store.transaction():
        file = store.newFile("a")
        file.write(b"x")
        look()
        file.close()
    with store.transaction():
        store.add(Item(n=1))
    look()
    store.backup(path.parent / "copy")
look()
path = path.parent / "copy"
look()
"""


@pytest.mark.parametrize("umask", [0, 0o027, 0o077])
def test_nobody_else_can_read_anything_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    told = run_child(_WITH_UMASK, str(tmp_path / "s.atop"), str(umask)).splitlines()
    assert any(line.split()[-1].startswith("new-") for line in told)
    assert {tuple(line.split()[:2]) for line in told} == {("0o700", "True"), ("0o600", "False")}


# Secrets


def test_a_token_is_in_no_error_and_no_repr() -> None:
    secret = "sEcReT-" + "x" * 36
    with pytest.raises(AtopError) as caught:
        Store("atop://127.0.0.1:1", token=secret, insecure=True, timeout=0.1)
    chain: list[BaseException | None] = [caught.value]
    while chain[-1] is not None:
        assert secret not in str(chain[-1]) + repr(chain[-1]) + repr(vars(chain[-1]))
        chain.append(chain[-1].__cause__ or chain[-1].__context__)


def test_no_verb_that_opens_a_store_takes_a_secret_on_its_command_line() -> None:
    """The token of ``browse`` is for a link that is shown; its help tells the better way."""
    names = {
        option for name, verb in cli.commands.items() if name != "browse"
        for parameter in verb.params for option in parameter.opts
    }
    assert not names & {"--password", "--secret", "--passphrase"}
    assert "--token" not in names
