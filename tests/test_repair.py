"""All that follows from the items of a store is made anew in its place, or nothing is touched."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from pathlib import Path

import pytest

from atop import Item, Store
from atop.engine.base import CATALOG, INDEX, Commit, Range, next_state
from atop.errors import DamagedStore, NotAStore, StoreBusy
from atop.repair import repair
from tests import wrecks
from tests.conftest import start_child
from tests.wrecks import (
    PEOPLE,
    TABLES,
    contents,
    flipped,
    gone,
    halved,
    write_on_and_die,
    zeroed,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store."""
    return wrecks.make(tmp_path / "store.atop")


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*") if path.is_file()
    }


REPAIRABLE = {
    "index lost": gone("environment/index"),
    "index cut": halved("index"),
    "commits lost": gone("environment/commits"),
    "logs lost": gone("environment/log.*"),
    "FORMAT lost": gone("FORMAT"),
    **{f"first page of {table}": zeroed(table, 0) for table in TABLES},
    **{f"a bit of {table}": flipped(table, 4096 + 100) for table in TABLES},
}


@pytest.mark.parametrize("what", REPAIRABLE)
def test_what_follows_from_the_items_is_made_anew(path: Path, what: str) -> None:
    before = contents(path)
    REPAIRABLE[what](path)
    harmed = digests(path / "environment")
    done = repair(path)
    assert contents(path) == before
    assert digests(done.aside / "environment") == harmed, "what was there is not kept as it was"
    with Store(path) as store, store.transaction():
        assert store.add(Item()).id > PEOPLE + 3


def break_rows(store: Store) -> None:
    """Lose a row of the index, put one in that is nobody's, and a pool's name elsewhere."""
    lost, _ = store.engine.scan(INDEX, Range())[1][40]
    extra = lost[:-8] + (9).to_bytes(8, "big")
    turn = store.engine.writer(1)
    state = next_state(turn.state, 5, {**turn.state.counts, CATALOG: 99})
    rows = sorted([(lost, None, True), (extra, b"", False)])
    name = (b"pool/people", (7).to_bytes(8, "big"), True)
    turn.apply(Commit(state, {CATALOG: [name], INDEX: rows}), True)


def test_rows_counts_names_and_the_next_id_are_put_right(path: Path) -> None:
    before = contents(path)
    with Store(path) as store:
        break_rows(store)
        serial = store.engine.state.serial
        told = store.verify()
        assert len(told.problems) >= 4
        assert all(f"verify --repair {path}" in problem.remedy for problem in told.problems)
    repair(path)
    assert contents(path) == before
    with Store(path) as store:
        assert store.engine.state.serial > serial, "clients would take old answers for new ones"


def test_stray_files_are_set_aside_not_removed(path: Path) -> None:
    for name in ("4711", "new-draft"):
        (path / "files" / name).write_bytes(b"stray")
    done = repair(path)
    assert sorted(done.strays) == ["4711", "new-draft"]
    assert (done.aside / "files" / "4711").read_bytes() == b"stray"
    with Store(path) as store:
        assert store.verify().ok


def test_commits_that_only_the_log_has_are_kept(path: Path) -> None:
    write_on_and_die(path)
    zeroed("index", 1)(path)
    repair(path)
    with Store(path) as store:
        people = store.pool("people")
        assert len(people.queryIndex("name", key="Late")) == 10
        assert people.getIndexItem("email", "7@example.org").padding == "changed 9"
        assert store.verify().ok


@pytest.mark.parametrize("what", ["page", "table", "logs"])
def test_where_anything_would_be_lost_nothing_is_touched(path: Path, what: str) -> None:
    if what == "logs":
        write_on_and_die(path)
    {"page": zeroed("items", 3), "table": gone("environment/items"),
     "logs": gone("environment/log.*")}[what](path)
    before = digests(path)
    with pytest.raises(DamagedStore, match=f"atopdb salvage {path} NEW"):
        repair(path)
    assert digests(path) == before
    assert not (path / "set-aside").exists()


def test_bytes_of_a_file_that_are_lost_are_told_and_the_rest_repaired(path: Path) -> None:
    gone("files/*")(path)
    gone("environment/index")(path)
    done = repair(path)
    (told,) = done.left
    assert "'photo.jpg': its bytes are lost" in told
    with Store(path) as store:
        (problem,) = store.verify().problems
        assert "photo.jpg" in problem.damage


def test_a_store_that_is_open_is_not_repaired(path: Path, tmp_path: Path) -> None:
    with Store(path), pytest.raises(StoreBusy):
        repair(path)
    with pytest.raises(NotAStore):
        repair(tmp_path / "nowhere")


KILLED = """if True:
    import os, signal, sys
    from pathlib import Path
    from atop.repair import repair
    left = int(sys.argv[2])
    def dying(done):
        def call(*args, **kwargs):
            global left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return done(*args, **kwargs)
        return call
    for name in ("rename", "unlink", "rmdir", "touch"):
        setattr(Path, name, dying(getattr(Path, name)))
    os.replace = dying(os.replace)
    repair(sys.argv[1])
"""


def test_a_repair_that_is_killed_at_any_step_loses_nothing_and_is_finished_by_the_next(
    path: Path, tmp_path: Path
) -> None:
    before = contents(path)
    gone("environment/index")(path)
    for step in range(1, 40):
        copy = tmp_path / f"copy {step}"
        shutil.copytree(path, copy)
        child = start_child(KILLED, str(copy), str(step))
        _, errors = child.communicate(timeout=60)
        if child.returncode != -signal.SIGKILL:
            assert child.returncode == 0, errors
            break
        try:
            with Store(copy, readOnly=True) as store:
                assert store.verify().ok, "half of a repair is taken for a store"
        except DamagedStore:
            pass
        repair(copy)
        assert contents(copy) == before
        shutil.rmtree(copy)
    assert 5 < step < 39, "not every step was killed"


def test_an_encrypted_store_is_repaired_with_its_key(tmp_path: Path) -> None:
    path, key = tmp_path / "store.atop", os.urandom(32)
    wrecks.make(path, key=key)
    before = contents(path, key=key)
    zeroed("index", 1)(path)
    repair(path, key=key)
    assert contents(path, key=key) == before
