"""Certificates and tokens, a server in this process, and one as a real command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atop import Store
from tests.checking import check_store
from tests.sharing.processes import Other
from tests.sharing.serving import Here, Keys


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def secure(tmp_path: Path, keys: Keys) -> Iterator[Here]:
    """A server with TLS that asks for tokens; the store is verified afterwards."""
    path = tmp_path / "s.atop"
    with Here(path, keys.admission()) as server:
        yield server
    with Store(path) as again:
        check_store(again)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store of this test is."""
    return tmp_path / "shared.atop"


@pytest.fixture
def other(path: Path) -> Iterator[Callable[..., Other]]:
    """A function that starts another process with the store; it is verified in the end."""
    started: list[Other] = []

    def start(**options: Any) -> Other:
        started.append(Other(path, **options))
        return started[-1]

    yield start
    for each in started:
        each.end()
    with Store(path) as store:
        check_store(store)
