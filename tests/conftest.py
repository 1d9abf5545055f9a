"""Fixtures: each test on memory and on a folder, and the store verified whole after each."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from atop import Store
from tests.accounts import fill
from tests.checking import check_store
from tests.partner import TOKEN, Partner

ROOT = Path(__file__).parent.parent
served: dict[str, Path] = {}


def pytest_configure(config: pytest.Config) -> None:
    try:
        from hypothesis import settings
    except ImportError:
        return
    settings.register_profile("atop", deadline=None, database=None)
    settings.load_profile("atop")


@pytest.fixture(scope="session")
def partner() -> Iterator[Partner]:
    """A process beside the tests."""
    process = Partner()
    yield process
    process.close()


@contextmanager
def beside(
    request: pytest.FixtureRequest, path: Path, kind: str
) -> Iterator[Callable[..., Store]]:
    """Another process has the store in `path`, writes in it or does nothing, as the kind says.

    What the context gives opens the store.
    """
    verb = {"client": "own", "server": "serve", "mixture": "meddle"}.get(kind)
    if verb is None:
        yield partial(Store, path)
        return
    process: Partner = request.getfixturevalue("partner")
    told = process.tell(verb, path)
    try:
        if kind == "server":
            url, ca = told.split(" ", 1)
            served[url] = path
            yield partial(Store, url, token=TOKEN, ca=ca)
        else:
            yield partial(Store, path)
    finally:
        process.tell("end")


@pytest.fixture(params=["memory", "folder", "client", "server", "mixture"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store with a short patience, verified after the test; a folder is opened anew for it.

    As a ``client`` we have a store that another process owns, which a ``server`` lets us have over
    TCP with TLS. In a ``mixture`` another process writes in ours all the time.
    """
    if request.param == "memory":
        with Store(timeout=0.1) as opened:
            yield opened
            if opened._shut.alive:
                elsewhere(check_store, opened)
        return
    path = tmp_path / "store.atop"
    if request.param == "mixture":
        Store(path).close()
    with ExitStack() as stack:
        opening: Callable[..., Store] = partial(Store, path)
        if request.param in ("client", "server"):
            opening = stack.enter_context(beside(request, path, request.param))
        opened = opening(timeout=0.1, durable=False)
        if request.param == "mixture":
            stack.enter_context(beside(request, path, request.param))
        assert (opened.folder is None) == (request.param in ("client", "server"))
        yield opened
        if request.param in ("client", "server"):
            opened.close()
    allow = [each for each in opened.allowed.names.values() if isinstance(each, type)]
    opened.close()
    with Store(path, allow=allow) as again:
        check_store(again, pages=request.param == "folder")


@pytest.fixture
def memory() -> Iterator[Store]:
    """A store in memory, for tests with very many cases."""
    with Store(timeout=0.1) as opened:
        yield opened
        elsewhere(check_store, opened)


@pytest.fixture(params=["folder", "client", "server"])
def open_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., Store]]:
    """A function that opens the one store of this test; verified at the end."""
    path = tmp_path / "store.atop"
    opened: list[Store] = []

    with beside(request, path, request.param) as opening:

        def open_it(**options: Any) -> Store:
            opened.append(opening(**{"timeout": 0.1, "durable": False, **options}))
            return opened[-1]

        yield open_it
        for each in opened:
            each.close()
    if path.exists():
        with Store(path) as again:
            check_store(again)


@pytest.fixture
def pair(open_store: Callable[..., Store]) -> tuple[Store, Store]:
    """A store with accounts, opened twice: two optimistic programs, each with its own objects."""
    one, two = (open_store(optimistic=True, timeout=5) for _ in range(2))
    fill(one)
    return one, two


def bytes_folder(store: Store) -> Path:
    """Where the bytes of the store's files are, also when we are not told."""
    if store.url is None:
        return Path(store.files.folder)
    assert store.engine.state  # by then the server has done what it was told before
    return served[store.url] / "files"


def elsewhere(call: Callable[..., Any], *args: Any) -> Any:
    """What `call` returns in a new thread, which has loaded nothing yet."""
    got: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            got.append(call(*args))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return got[0]


def stored(item: Any) -> dict[str, Any]:
    """The attributes of `item` as somebody reads them who has loaded nothing yet."""
    ident, store = item.id, item.store
    return dict(elsewhere(lambda: vars(store.getItemByID(ident))))


def start_child(code: str, *args: str) -> subprocess.Popen[str]:
    """A Python process that runs `code`, with pipes for its input and output."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def run_child(code: str, *args: str) -> str:
    """What a Python process that runs `code` prints; it has to end well."""
    child = start_child(code, *args)
    output, errors = child.communicate(timeout=30)
    assert child.returncode == 0, errors
    return output
