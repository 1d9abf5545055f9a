"""A store to look at, and the command."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from atop import Index, Item, Store
from atop.cli.app import cli

ROOT = Path(__file__).parents[2]
Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """A function that runs a command line in this process."""

    def call(*words: object) -> Result:
        return CliRunner().invoke(cli, [str(word) for word in words], prog_name="atopdb")

    return call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with people and a file."""
    with Store(tmp_path / "pim.atop") as store, store.transaction():
        people = store.pool("people", "name", "born", "height", "salary", "seen", "woken", "nap",
                            "uid", "digest", ("pair"), Index("email", unique=True))
        for number, name in enumerate(["Ann", "Bob", "Carl", "Dora", "Eve\x1b[31m"]):
            people.addItem(Item(
                name=name, born=date(1970 + number, 1, 2), height=number + 0.5,
                salary=Decimal(number) + Decimal("0.1"), seen=datetime(2024, 1, 1 + number, 12),
                woken=datetime(2024, 1, 1 + number, tzinfo=UTC), nap=timedelta(minutes=number),
                uid=UUID(int=number), digest=bytes([number, 255]), pair=(name[0], number),
                email=f"{number}@example.org", tags=["a", number], boss=people,
            ))  # fmt: skip
        people.addItem(Item(nothing=True))
        with store.newFile("photo\x07.jpg") as file:
            file.write(b"pixels")
    return tmp_path / "pim.atop"


def command(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the real command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "atop", *map(str, words)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, **environment},
    )  # fmt: skip


def digest(folder: Path) -> dict[str, tuple[str, int]]:
    """All files below a folder: digests and times of the last change."""
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
