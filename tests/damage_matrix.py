"""Every kind of file in a store's folder, damaged in every way: what the user gets is counted.

``python -m tests.damage_matrix [CASES]`` prints the table, of all cases or of so many drawn by lot,
and fails if any outcome is bad. Each case is a copy of a store, damaged, then opened, read whole
and compared with what was committed, in a process of its own that has twenty seconds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from atop import File, Item, Store
from atop.errors import AtopError

LIMIT = 20
LAST = 240
FLIPS = 12
TABLES = ("items", "index", "catalog", "commits")
GOOD = ("whole", "mended", "refused", "found", "reported")
BAD = ("SILENT", "CRASH", "HANG", "BARE", "UNNAMED")
OUTCOMES = {
    "whole": "opens and has all that was committed",
    "mended": "the same, after a wrong byte was put right, which is reported",
    "refused": "not opened: a clear error names the file",
    "found": "opens; reading what is damaged raises a clear error, and verify finds it",
    "reported": "opens with the commits before the damage, the others are set aside and reported",
    "SILENT": "other than what was committed, and nobody says so",
    "CRASH": "the process died",
    "HANG": f"no answer in {LIMIT} s",
    "BARE": "an error that is not Atop's",
    "UNNAMED": "an error that does not name the file",
}
MAKE = """
import os, sys
from atop.engine import environment
environment._LOG_FILE_BYTES, environment._LOG_BUFFER = 256 << 10, 64 << 10
from tests.damage_matrix import make
make(sys.argv[1], sys.argv[2])
if sys.argv[3] == "killed":
    os.kill(os.getpid(), 9)
"""


class Case(NamedTuple):
    """A file's kind and name in the folder, what is done to it, and the state of the store."""

    kind: str
    name: str
    fault: str
    state: str
    seed: int


Fault = Callable[[Path, Path, random.Random], None]


def make(path: str, word: str) -> None:
    """Commit `n` adds an item, and changes one; some have files. A checkpoint comes in between."""
    store = Store(path, durable=False)
    with store.transaction():
        head = Item(n=0, text=word)
        store.pool("all", "n", "text").addItem(head)
    for number in range(store.engine.state.serial + 1, LAST + 1):
        with store.transaction():
            item = Item(n=number, text=text(word, number))
            if not number % 80:
                with store.newFile(f"{number}") as file:
                    file.write(text(word, number).encode() * 20)
                item.file = file
            store.pool("all").addItem(item)
            head.count = number
        if number == 70:
            store.checkpoint()
    aside = Path(path) / "set-aside" / "2026-01-01T00-00-00"
    aside.mkdir(parents=True)
    (aside / "note").write_text("something that happened once\n")
    if "closed" in path:
        store.close()
    else:
        MADE.append(store)  # until the process is killed


MADE: list[Store] = []


def text(word: str, number: int) -> str:
    return f"{word} {number} " + hashlib.sha256(f"{word}{number}".encode()).hexdigest() * 40


# What is done to a file


def _size(path: Path) -> int:
    return path.stat().st_size


def _write(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def _zero(path: Path, dice: random.Random, unit: int) -> None:
    """One unit of the part that is in use becomes zeros."""
    used = len(path.read_bytes().rstrip(b"\0"))
    at = dice.randrange(0, max(1, used), unit) if used > unit else 0
    _write(path, at, bytes(min(unit, _size(path) - at)))


def _flip(path: Path, dice: random.Random) -> None:
    data = path.read_bytes()
    used = len(data.rstrip(b"\0"))
    if used:
        at = dice.randrange(used)
        _write(path, at, bytes([data[at] ^ 1 << dice.randrange(8)]))


def _exchange(path: Path, other: Path) -> None:
    aside = path.with_name("aside")
    path.rename(aside)
    other.rename(path)
    aside.rename(other)


def _swap(path: Path, other: Path, dice: random.Random) -> None:
    """With another file of its folder, of its kind; else with the one of another store."""
    alike = [
        each for each in path.parent.iterdir()
        if each != path and each.is_file() and each.name[:3].isalpha() == path.name[:3].isalpha()
        and each.name.startswith("log.") == path.name.startswith("log.")
    ] if path.parent.name in ("environment", "files") else []
    if alike:
        _exchange(path, dice.choice(sorted(alike)))
    else:
        _replace(path, other, dice)


def _replace(path: Path, other: Path, dice: random.Random) -> None:
    remove(path)
    if other.is_dir():
        shutil.copytree(other, path)
    elif other.is_file():
        shutil.copyfile(other, path)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _with(make_it: Callable[[Path], object]) -> Fault:
    def fault(path: Path, other: Path, dice: random.Random) -> None:
        remove(path)
        make_it(path)

    return fault


def _symlink(path: Path, other: Path, dice: random.Random) -> None:
    """To the same content elsewhere."""
    store = next(each for each in path.parents if each.name == "store.atop")
    away = store.with_name("away")
    path.rename(away)
    path.symlink_to(away)


def _append(path: Path, dice: random.Random) -> None:
    with path.open("ab") as file:
        file.write(dice.randbytes(5000))


ANYTHING: dict[str, Fault] = {
    "deleted": lambda path, other, dice: remove(path),
    "a folder": _with(lambda path: path.mkdir()),
    "a symlink": _symlink,
    "a dangling link": _with(lambda path: path.symlink_to("nowhere")),
    "a fifo": _with(os.mkfifo),
}
FILES: dict[str, Fault] = {
    "cut to nothing": lambda path, other, dice: os.truncate(path, 0),
    "cut to half": lambda path, other, dice: os.truncate(path, _size(path) // 2),
    "cut by a page": lambda path, other, dice: os.truncate(path, max(0, _size(path) - 4096)),
    "zeroed": lambda path, other, dice: _write(path, 0, bytes(_size(path))),
    "first page zeroed": lambda path, other, dice: _write(path, 0, bytes(min(4096, _size(path)))),
    "a page zeroed": lambda path, other, dice: _zero(path, dice, 4096),
    "a sector zeroed": lambda path, other, dice: _zero(path, dice, 512),
    "swapped": _swap,
    "another store's": _replace,
    "garbage appended": lambda path, other, dice: _append(path, dice),
    "a bit flipped": lambda path, other, dice: _flip(path, dice),
}
FAULTS = ANYTHING | FILES
REPEATED = {"a page zeroed": 6, "a sector zeroed": 6, "a bit flipped": FLIPS, "swapped": 2}


def cases(stores: Path) -> Iterator[Case]:
    """All of them; faults at random places come several times."""
    for state in ("closed", "closed, read only", "killed"):
        folder = stores / state.split(",")[0]
        logs = sorted(path.name for path in (folder / "environment").glob("log.*"))
        numbers = sorted(path.name for path in (folder / "files").iterdir())
        kinds = [(f"table {name}", f"environment/{name}") for name in TABLES]
        kinds += [("first log", f"environment/{logs[0]}"), ("last log", f"environment/{logs[-1]}")]
        kinds += [(name, name) for name in ("FORMAT", "owner", "serial", "socket", "wanted")]
        kinds += [("a file", f"files/{numbers[0]}")]
        for kind, name in kinds:
            faults = ANYTHING if kind == "socket" else FAULTS
            for fault in faults:
                for seed in range(REPEATED.get(fault, 1)):
                    yield Case(kind, name, fault, state, seed)
        for name in ("environment", "files", "set-aside"):
            for fault in ANYTHING:
                yield Case(f"folder {name}", name, fault, state, 0)


# What comes of it


def damaged(case: Case, stores: Path, place: Path) -> Path:
    """A copy of a store, damaged."""
    path = place / "store.atop"
    shutil.copytree(stores / case.state.split(",")[0], path, copy_function=shutil.copy2,
                    ignore=lambda folder, names: {"socket"} & set(names))
    note = json.loads((path / "owner").read_text())
    if "folder" in note:  # it is to pass for the folder in which the owner was killed
        note["folder"] = path.stat().st_ino
        times = (path / "owner").stat()
        (path / "owner").write_text(json.dumps(note) + "\n")
        os.utime(path / "owner", ns=(times.st_atime_ns, times.st_mtime_ns))
    target = path / case.name
    if not target.exists():
        target.write_bytes(b"")
    FAULTS[case.fault](target, stores / "other" / case.name, random.Random(repr(case)))
    return path


def try_out(case: Case, path: Path) -> str:
    """In the child: open, read, compare; answers an outcome and what was said."""
    try:
        store = Store(path, readOnly="read only" in case.state, timeout=5)
    except AtopError as error:
        return _told("refused", case, path, error)
    try:
        return _compared(case, path, store)
    finally:
        store.close()


def _compared(case: Case, path: Path, store: Store) -> str:
    notes = store.folder.dropped[1:] if store.folder is not None else []
    try:
        serial = read_whole(store)
    except AtopError as error:
        return _found(case, path, error)
    except AssertionError as error:
        return _found(case, path, error)
    if serial == LAST:
        return "mended" if any("mended" in note for note in notes) else "whole"
    if any("dropped" in note or "not in the log" in note for note in notes):
        return f"reported {notes[-1]}"
    return f"SILENT it ends at commit {serial}"


def _found(case: Case, path: Path, error: Exception) -> str:
    """Something is wrong: verify, in a store that is opened for it, has to find it."""
    try:
        with Store(path, readOnly=True, timeout=5) as store:
            problems = store.verify().problems
    except AtopError as again:
        return _told("found", case, path, again)
    if not problems:
        return f"SILENT {error}" if isinstance(error, AssertionError) else f"SILENT verify: {error}"
    if isinstance(error, AssertionError):
        return f"found by verify only: {problems[0].damage}"
    return _told("found", case, path, error)


def _told(outcome: str, case: Case, path: Path, error: Exception) -> str:
    named = Path(case.name).name in str(error) or str(path / Path(case.name).parent) in str(error)
    return f"{outcome if named else 'UNNAMED'} {type(error).__name__} {error}"


def read_whole(store: Store) -> int:
    """The serial; every item, index entry and file is as it was at that commit."""
    serial = store.stats().serial
    pool = store.pool("all")
    items = {item.n: item for item in store.items() if type(item) is Item}
    assert sorted(items) == [0, *range(2, serial + 1)], "items are lost"
    word = items[0].text
    for number, item in items.items():
        assert number == 0 or item.text == text(word, number), f"item {number} is another one"
        assert store.getItemByID(item.id) is item
        assert item in pool
        file = vars(item).get("file")
        if file is not None:
            with file.open() as source:
                assert source.read() == item.text.encode() * 20, f"file {number} differs"
    assert items[0].count == serial or serial < 2, "a change is lost"
    by_number = [item.id for item in pool.queryIndex("n")]
    assert by_number == [items[n].id for n in sorted(items)], "the index n differs"
    by_text = [item.n for item in pool.queryIndex("text", backwards=True)]
    assert by_text == sorted(items, key=lambda n: str(items[n].text), reverse=True)
    assert len(pool) == len(pool.queryIndex("text")) == len(items), "counts differ"
    assert pool.queryIndex("n").position(serial) == len(items) - 1
    assert len(list(store.items(File))) == serial // 80, "files are lost"
    return serial


def outcome_of(case: Case, stores: Path) -> str:
    """Fork a child for the case and wait for what it says."""
    place = Path(tempfile.mkdtemp(prefix="case-", dir=stores))
    try:
        path = damaged(case, stores, place)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            _be_child(case, path, writing)
        os.close(writing)
        return _answer(pid, reading)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _be_child(case: Case, path: Path, writing: int) -> None:
    os.setsid()
    logging.disable()
    devnull = os.open(os.devnull, os.O_RDWR)
    os.dup2(devnull, 2)
    try:
        said = try_out(case, path)
    except BaseException as error:
        said = f"BARE {type(error).__name__} {error}"
    os.write(writing, said.encode("utf-8", "replace")[:4000])
    os._exit(0)


def _answer(pid: int, reading: int) -> str:
    limit = time.monotonic() + LIMIT
    said = b""
    with os.fdopen(reading, "rb", buffering=0) as source:
        while select.select([source], [], [], max(0, limit - time.monotonic()))[0]:
            chunk = source.read(65536)
            if not chunk:
                break
            said += chunk
        else:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "HANG"
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return f"CRASH signal {os.WTERMSIG(status)}"
    return said.decode() or "CRASH it said nothing"


def run(count: int | None = None, seed: int = 0, show: bool = False) -> dict[Case, str]:
    """The outcomes of all cases, or of so many drawn by lot."""
    with tempfile.TemporaryDirectory(prefix="damage-") as folder:
        stores = Path(folder)
        for name, word, end in (("closed", "one", "closed"), ("killed", "two", "killed"),
                                ("other", "three", "closed")):
            path = stores / name
            subprocess.run([sys.executable, "-c", MAKE, str(path), word, end], check=False)
            assert (path / "FORMAT").exists()
        drawn = list(cases(stores))
        if count is not None:
            drawn = random.Random(seed).sample(drawn, count)
        found = {}
        for case in drawn:
            found[case] = outcome_of(case, stores)
            if show and found[case].split()[0] in BAD:
                print(f"{case}: {found[case]}", flush=True)
    return found


def table(found: dict[Case, str]) -> str:
    """Kinds of file by outcomes, in reStructuredText."""
    counts: dict[str, Counter[str]] = {}
    for case, said in found.items():
        counts.setdefault(case.kind, Counter())[said.split()[0]] += 1
    columns = ["cases", *GOOD, *[each for each in BAD if any(row[each] for row in counts.values())]]
    rows = [[kind, str(row.total()), *(str(row[each] or "") for each in columns[1:])]
            for kind, row in counts.items()]  # fmt: skip
    total = sum(counts.values(), Counter())
    rows.append(["all", *(str(total[each] or "") if each != "cases" else str(total.total())
                          for each in columns)])  # fmt: skip
    line = "  ".join(["=" * 16, *("=" * 8 for _ in columns)])
    lines = ["  ".join([f"{row[0]:16}", *(f"{each:8}" for each in row[1:])]).rstrip()
             for row in [["", *columns], *rows]]  # fmt: skip
    return "\n".join([line, lines[0], line, *lines[1:], line])


def main() -> int:
    began = time.monotonic()
    found = run(int(sys.argv[1]) if len(sys.argv) > 1 else None, show=True)
    print(table(found))
    for name in (*GOOD, *BAD):
        if any(said.startswith(name) for said in found.values()):
            print(f"{name}: {OUTCOMES[name]}")
    print(f"{time.monotonic() - began:.0f} s")
    return int(any(said.split()[0] in BAD for said in found.values()))


if __name__ == "__main__":
    sys.exit(main())
