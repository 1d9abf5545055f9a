"""External files of a client, which asks the owner for their names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atop.engine.localfiles import LocalFiles
from atop.errors import ProtocolError, TransactionLost


class Owners:
    """Owners of which each is killed after it has made a file, and the next one sweeps it."""

    def __init__(self, folder: Path, killed: int) -> None:
        self._folder = folder
        self._killed = killed
        self.asked = 0

    def new_file(self) -> str:
        name = f"new-{self.asked}"
        self.asked += 1
        if self.asked > self._killed:
            (self._folder / name).touch()
        return name

    def drop_file(self, name: str) -> None:
        pass


def test_a_file_that_a_killed_owner_made_is_made_by_the_next_one(tmp_path: Path) -> None:
    owners = Owners(tmp_path, killed=2)
    descriptor, path = LocalFiles(tmp_path, owners).create()
    os.write(descriptor, b"here")
    os.close(descriptor)
    assert path.read_bytes() == b"here"
    assert owners.asked == 3


def test_a_transaction_is_lost_where_no_new_file_stays(tmp_path: Path) -> None:
    owners = Owners(tmp_path, killed=1 << 30)
    with pytest.raises(TransactionLost, match="begin the transaction anew"):
        LocalFiles(tmp_path, owners).create()
    assert owners.asked < 100


def test_an_owner_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    owners = Owners(tmp_path, killed=0)
    owners.new_file = lambda: "../new-1"  # type: ignore[method-assign]
    with pytest.raises(ProtocolError, match="calls a new file"):
        LocalFiles(tmp_path, owners).create()
