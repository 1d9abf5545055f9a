"""Opens what a power cut left, and compares it with the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from atop import Item, Store
from atop.engine.base import CATALOG, INDEX, ITEMS, TABLES, Commit, Range, next_state
from atop.engine.environment import COMMITS
from atop.engine.folder import Folder, open_folder
from atop.engine.setaside import SetAside
from tests.checking import check_store
from tests.powercuts.ledger import NOTES, file_hash, row_hash, total
from tests.powercuts.trace import Event

CACHE = 512 << 10
_RANKS = 3


State = tuple[int, int, int]


@dataclass
class Promise:
    """What may be found after a cut: one of ``states``, not before ``synced``.

    States are by token: serial, sum of rows, sum of files. ``rows`` are of the table of commits.
    """

    base: int = 0
    synced: int = 0
    states: dict[str, State] = field(default_factory=lambda: {bytes(16).hex(): (0, 0, 0)})
    rows: dict[int, int] = field(default_factory=dict)

    def read(self, data: bytes) -> None:
        """Take a line of the ledger into account."""
        note = json.loads(data)
        if "commit" in note:
            self.states[note["token"]] = note["commit"], note["rows"], note["files"]
        elif "row" in note:
            self.rows[note["row"]] = note["hash"]
        elif "synced" in note:
            self.synced = max(self.synced, note["synced"])


class Promises:
    """The ledger's lines in a recording, step by step."""

    def __init__(self, events: Iterable[Event]) -> None:
        handles = set()
        self.lines: list[tuple[int, bytes]] = []
        self.now = Promise()
        for step, event in enumerate(events, 1):
            if event.kind == "o" and event.data == NOTES.encode():
                handles.add(event.handle)
            elif event.kind == "w" and event.handle in handles:
                self.lines.append((step, event.data))
        for _, line in self.lines:
            note = json.loads(line)
            if "base" in note:
                self.now.base = self.now.synced = note["base"]
                self.now.states = {note["token"]: (note["base"], note["rows"], note["files"])}
            elif "row" in note:
                self.now.read(line)

    def until(self, step: int) -> Promise:
        """What holds for a cut after `step`; steps come in order."""
        while self.lines and self.lines[0][0] <= step:
            self.now.read(self.lines.pop(0)[1])
        return self.now


class Wrong(Exception):
    """What was found is not what was promised."""


def start_anew(path: Path) -> None:
    """The system has come to an end: the note of who had the store in `path` is of a run before."""
    owner = path / "owner"
    with suppress(OSError, ValueError):
        note = json.loads(owner.read_bytes())
        if "boot" in note:
            note |= {"boot": "the run of the system before", "folder": path.stat().st_ino}
            owner.write_text(json.dumps(note))


def check(path: Path, promise: Promise, chance: Random) -> str:
    """Recover the store in `path`, and compare it; answers how what was set aside is reported.

    :raises Wrong: when it is another state than one that was promised.
    :raises AtopError: when it does not open.
    """
    known = len(SetAside(path).notes(losses=True))  # of the life that this one has gone on with
    folder = open_folder(path, read_only=False, cache_bytes=CACHE)
    try:
        _compare(folder, promise)
        serial = folder.engine.serial
        reported = "quietly" if folder.dropped else ""
        if len(SetAside(path).notes(losses=True)) > known:
            reported = "as a loss"
        token = folder.engine.last.token.hex()
        again = chance.random() < 0.1
        if again:
            _commit(folder)
    finally:
        folder.close()
    if again:
        folder = open_folder(path, read_only=False, cache_bytes=CACHE)
        with closing(folder):
            if folder.engine.serial != serial + 1 or folder.recovered:
                raise Wrong("a commit after the recovery is lost")
            _undo(folder)
            _compare_content(folder, promise.states[token])
    return reported


def check_all(path: Path) -> None:
    """Open the store as programs do, and verify all of it, objects and pages."""
    with Store(path) as store:
        check_store(store)
        with store.transaction():
            item = store.add(Item(name="later"))
        assert store.getItemByID(item.id) is item


def _compare(folder: Folder, promise: Promise) -> None:
    state = folder.engine.state
    if state.token.hex() not in promise.states:
        raise Wrong(f"the last commit, {state.serial}, is none that was made")
    wanted = promise.states[state.token.hex()]
    serial = wanted[0]
    if serial != state.serial:
        raise Wrong(f"commit {serial} is found as {state.serial}")
    if serial < promise.synced:
        raise Wrong(f"commits were on disk up to {promise.synced}, now up to {serial}")
    _compare_content(folder, wanted)
    _compare_commits(folder, promise, serial)


def _compare_content(folder: Folder, wanted: State) -> None:
    engine = folder.engine
    tables = {name: engine.scan(name, Range())[1] for name in TABLES}
    if total(sum(row_hash(name, *row) for name in tables for row in tables[name])) != wanted[1]:
        raise Wrong(f"the rows are not those of commit {wanted[0]}")
    files = sorted(engine.files.folder.iterdir())
    if total(sum(file_hash(int(path.name), path.read_bytes()) for path in files)) != wanted[2]:
        names = [path.name for path in files]
        raise Wrong(f"the files are not those of commit {wanted[0]}: {names}")
    lengths = {name: len(rows) for name, rows in tables.items()}
    if lengths != engine.state.counts:
        raise Wrong(f"the rows are {lengths}, and counted as {engine.state.counts}")
    _compare_ranks(folder, [key for key, _ in tables[INDEX]])


def _compare_ranks(folder: Folder, keys: list[bytes]) -> None:
    engine = folder.engine
    if engine.count(None, None)[1] != len(keys):
        raise Wrong("the index counts other than it lists")
    for part in range(_RANKS if keys else 0):
        rank = part * (len(keys) - 1) // (_RANKS - 1)
        if engine.count(None, keys[rank])[1] != rank:
            raise Wrong(f"the index counts other than it lists before row {rank}")


def _compare_commits(folder: Folder, promise: Promise, serial: int) -> None:
    rows = folder.engine.scan(COMMITS, Range())[1]
    serials = [int.from_bytes(key, "big") for key, _ in rows]
    if serials != list(range(serial - len(rows) + 1, serial + 1)):
        raise Wrong(f"the commits kept are {serials}")
    for key, row in rows:
        known = promise.rows.get(int.from_bytes(key, "big"))
        if known is not None and known != row_hash(COMMITS, key, row):
            raise Wrong(f"the row of commit {int.from_bytes(key, 'big')} is another")


_KEY = b"\xff" * 8


def _commit(folder: Folder) -> None:
    """A commit of one row, in each table."""
    turn = folder.engine.writer(1)
    state = turn.state
    counts = {**state.counts, ITEMS: state.counts[ITEMS] + 1, CATALOG: state.counts[CATALOG] + 1}
    rows = [(_KEY, b"later" * 3000, False)]
    turn.apply(Commit(next_state(state, state.next_id, counts), {ITEMS: rows, CATALOG: rows}), True)


def _undo(folder: Folder) -> None:
    turn = folder.engine.writer(1)
    state = turn.state
    counts = {**state.counts, ITEMS: state.counts[ITEMS] - 1, CATALOG: state.counts[CATALOG] - 1}
    rows = [(_KEY, None, True)]
    turn.apply(Commit(next_state(state, state.next_id, counts), {ITEMS: rows, CATALOG: rows}), True)
