"""A disk that hangs: whoever waits for its owner is told which process that is, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atop import Store
from atop.errors import CommitInDoubt, StoreBusy
from tests.faults import failing
from tests.sharing.processes import Other, Thing

HANGS = "inject=fdatasync:delay_enter=30s"
SOON = 20.0


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Other]:
    why = failing.missing()
    if why:
        pytest.skip(why)
    other = Other(tmp_path / "s.atop", durable=True)
    other.do("with store.transaction(): store.add(Thing(n=0))")
    yield other
    other.end()


def test_an_owner_whose_disk_hangs_is_named_in_bounded_time_and_all_goes_on_afterwards(
    owner: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atop.engine.lasting._LEAST_PATIENCE", 1.0)
    monkeypatch.setattr("atop.engine.sending._PATIENCE", 1.0)
    with Store(owner.path, timeout=1) as store:
        thing = store.getItemByID(1)
        assert thing.n == 0
        strace = failing.Strace(owner.pid, "-e", "trace=fdatasync", "-e", HANGS)
        try:
            began = time.monotonic()
            with pytest.raises(CommitInDoubt, match=f"process {owner.pid} "):
                with store.transaction():
                    store.add(Thing(n=1))
            for use in (store.begin, lambda: len(store)):
                with pytest.raises(StoreBusy, match=f"process {owner.pid} "):
                    use()
            assert thing.n == 0, "what is in memory can be read"
            assert time.monotonic() - began < SOON
        finally:
            strace.stop()
    with Store(owner.path, timeout=20) as store:
        with store.transaction():
            store.add(Thing(n=2))
        assert [thing.n for thing in store.items()] in ([0, 1, 2], [0, 2])
