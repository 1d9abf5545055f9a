"""No key and no token is told: by no log, no error with all that its frames know, no ``repr``, no
list of processes and no file, as it is or as hex or base64.

What is within a key, and its fellows, is looked for too: see also tests/test_encryption.py.
"""

from __future__ import annotations

import base64
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from atop import Item, Store
from atop.engine import keyring
from atop.errors import AtopError
from atop.repair import repair
from atop.salvage import salvage
from tests.conftest import ROOT
from tests.sharing.serving import Command, Here, Keys
from tests.web.browsing import Browsing

NEW, WRONG = "Öpen-Sesame-Words-1", "Open-Sesame-Words-2"
RAW = bytes(range(200, 240))
TOKEN, UNKNOWN = "sEcReT-token-of-the-laptop-4711", "sEcReT-token-of-nobody-at-all-0815"
_ATOP = str(ROOT / "atop") + os.sep


def forms(secret: str | bytes) -> set[bytes]:
    """The bytes of a secret as one may meet them in a text or a file."""
    raw = secret.encode() if isinstance(secret, str) else bytes(secret)
    found = {raw, repr(raw)[2:-1].encode(), raw.hex().encode(), raw.hex().upper().encode(),
             quote(raw).encode(), raw.decode("latin-1").encode(), raw[::-1],
             raw.decode("latin-1").encode("utf-16-le")}  # fmt: skip
    for shift in range(3):
        cut = raw[shift : shift + (len(raw) - shift) // 3 * 3]
        found |= {base64.b64encode(cut), base64.urlsafe_b64encode(cut)}
    return found


class Told:
    """All that was told, and to whom."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, bytes]] = []

    def hear(self, where: str, text: Any) -> None:
        shown = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")
        self.texts.append((where, shown))

    def hear_error(self, error: BaseException | None) -> None:
        """Also what has caused it, and what the frames of Atop had in their hands."""
        while error is not None:
            self.hear("an error", f"{error} {error!r} {vars(error)}")
            for frame, line in traceback.walk_tb(error.__traceback__):
                if frame.f_code.co_filename.startswith(_ATOP):
                    self.hear(f"{frame.f_code.co_filename}:{line}", _locals(frame.f_locals))
            error = error.__cause__ or error.__context__

    def hear_folder(self, folder: Path) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                self.hear(str(path), path.name.encode() + b" " + path.read_bytes())

    def check(self, *secrets: str | bytes) -> None:
        wanted = set().union(*map(forms, secrets))
        assert len(self.texts) > 3
        for where, text in self.texts:
            assert not [each for each in wanted if each in text], where

    def failing(self, call: Callable[[], Any]) -> None:
        """It has to fail, and tells so."""
        try:
            call()
        except AtopError as error:
            self.hear_error(error)
        else:
            pytest.fail("there was no error")


def _locals(names: dict[str, Any]) -> str:
    return " ".join(f"{name}={_shown(value)}" for name, value in names.items())


def _shown(value: object) -> str:
    try:
        return repr(value)
    except AttributeError as error:  # of what was being made when it failed
        return repr(error)


@pytest.fixture
def told(capfd: pytest.CaptureFixture[str]) -> Iterator[Told]:
    """With everything that is logged, and written to the standard streams."""
    heard, log = Told(), StringIO()
    handler, root = logging.StreamHandler(log), logging.getLogger()
    handler.addFilter(lambda record: not record.name.startswith("http"))  # the test's own client
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield heard
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
    heard.hear("the log", log.getvalue())
    heard.hear("the standard streams", "".join(capfd.readouterr()))
    heard.check(NEW, WRONG, RAW, TOKEN, UNKNOWN)


def parts(thing: object) -> Iterator[object]:
    """What it is made of, as far as it is Atop's."""
    seen: set[int] = set()
    ahead = [thing]
    while ahead:
        each = ahead.pop()
        if id(each) in seen or not type(each).__module__.startswith("atop"):
            continue
        seen.add(id(each))
        yield each
        ahead += getattr(each, "__dict__", {}).values()


def open_and_tell(told: Told, *args: Any, **options: Any) -> None:
    with Store(*args, **options) as store:
        with store.transaction():
            store.add(Item(n=1))
        for each in parts(store):
            told.hear(f"a {type(each).__name__}", repr(each) + _shown_vars(each))
        told.hear("the store", store.stats())


def _shown_vars(thing: object) -> str:
    return _locals(getattr(thing, "__dict__", {}))


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A closed store with a key of bytes, which takes no time to open."""
    path = tmp_path / "s.atop"
    with Store(path, key=RAW) as store, store.transaction():
        store.pool("people", "name").addItem(Item(name="Bob"))
        with store.newFile("a") as file:
            file.write(b"bytes")
    return path


def test_a_key_is_told_by_nothing_that_has_it(told: Told, tmp_path: Path) -> None:
    path = tmp_path / "s.atop"
    open_and_tell(told, path, key=RAW)
    with Store(path, key=RAW) as store:
        told.failing(lambda: store.changeKey(b"short"))
        store.changeKey(NEW)
        store.backup(tmp_path / "copy")
        store.verify()
    for wrong in (RAW, WRONG, None):
        told.failing(lambda wrong=wrong: Store(path, key=wrong))  # type: ignore[misc]
    told.failing(lambda: Store(key=NEW))
    told.failing(lambda: Store("atop://localhost:1", key=NEW))
    Store(tmp_path / "plain.atop").close()
    told.failing(lambda: Store(tmp_path / "plain.atop", key=NEW))
    told.hear_folder(tmp_path)
    unlocked = keyring.unlock(path, keyring.Secret(NEW))
    assert unlocked is not None
    told.check(unlocked.password, unlocked.files, unlocked._master)


@pytest.mark.parametrize("harmed", ["KEY", "environment/items", "environment/log.0000000001"])
def test_no_key_is_told_when_its_store_is_damaged(
    told: Told, locked: Path, tmp_path: Path, harmed: str
) -> None:
    unlocked = keyring.unlock(locked, keyring.Secret(RAW))
    assert unlocked is not None
    content = bytearray((locked / harmed).read_bytes())
    content[len(content) // 2] ^= 0xFF
    content[30:40] = bytes(10)
    (locked / harmed).write_bytes(content)
    attempts: list[Callable[[], object]] = [
        lambda: open_and_tell(told, locked, key=RAW),
        lambda: repair(locked, key=RAW),
        lambda: told.hear("salvage", salvage(locked, tmp_path / "new", key=RAW)),
    ]
    for number, mend in enumerate(attempts):
        try:
            mend()
        except AtopError as error:
            told.hear_error(error)
        told.hear(f"attempt {number}", "made")
    told.hear_folder(tmp_path)
    told.check(unlocked.password, unlocked.files, unlocked._master)


@contextmanager
def watched(told: Told, least: int = 1) -> Iterator[None]:
    """Whatever processes this one starts meanwhile are looked at, as everybody can."""
    done, seen = threading.Event(), set()

    def look() -> None:
        while not done.is_set():
            done.wait(0.01)
            for pid in below(os.getpid()):
                for name in ("cmdline", "environ", "comm"):
                    try:
                        text = Path(f"/proc/{pid}/{name}").read_bytes()
                    except OSError:
                        continue
                    seen.add(pid)
                    if (name, text) not in known:
                        known.add((name, text))
                        told.hear(f"{name} of a child", text)

    known: set[tuple[str, bytes]] = set()
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    assert len(seen) >= least, "no process was seen"


def below(pid: int) -> list[int]:
    """The processes that `pid` and its threads have started, and those that these have."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue
    return found + [each for child in found for each in below(child)]


linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@linux
def test_no_key_is_in_a_list_of_processes(told: Told, locked: Path, tmp_path: Path) -> None:
    unlocked = keyring.unlock(locked, keyring.Secret(RAW))
    assert unlocked is not None
    with watched(told):
        with Store(locked, key=RAW) as store:
            store.backup(tmp_path / "copy")
            assert store.verify()
        salvage(locked, tmp_path / "saved", key=RAW)
    told.check(unlocked.password, unlocked.files, unlocked._master)


@linux
def test_commands_tell_no_key(told: Told, locked: Path, tmp_path: Path) -> None:
    for file, key in (("old", RAW), ("new", NEW.encode()), ("wrong", RAW[::-1])):
        (tmp_path / file).write_bytes(key)
    calls: list[tuple[object, ...]] = [
        ("wrong", "info", locked), ("old", "encrypt", locked, tmp_path / "copy.atop"),
        ("old", "key", locked), ("new", "salvage", locked, tmp_path / "saved.atop"),
        ("nothing", "info", locked),
    ]  # fmt: skip
    codes = []
    with watched(told):
        for name, *words in calls:
            done = subprocess.run(
                [sys.executable, "-m", "atop", *map(str, words)], capture_output=True, cwd=ROOT,
                stdin=subprocess.DEVNULL, check=False, env={
                    **os.environ, "ATOP_KEY_FILE": str(tmp_path / str(name)),
                    "ATOP_NEW_KEY_FILE": str(tmp_path / "new")},
            )  # fmt: skip
            told.hear(f"atopdb {words[0]}", done.stdout + done.stderr)
            codes.append(done.returncode)
    assert codes == [1, 0, 0, 0, 1], told.texts
    for file in ("old", "new", "wrong"):
        (tmp_path / file).unlink()
    told.hear_folder(tmp_path)


@linux
def test_a_server_tells_no_key_and_no_token(told: Told, locked: Path, tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.know(TOKEN)
    (tmp_path / "key").write_bytes(RAW)
    with watched(told), Command(
        locked, *keys.options, "--listen", "127.0.0.1:0", "--log-level", "debug",
        ATOP_KEY_FILE=str(tmp_path / "key"),
    ) as server:  # fmt: skip
        open_and_tell(told, server.url, token=TOKEN, ca=keys.ca)
        told.failing(lambda: Store(server.url, token=UNKNOWN, ca=keys.ca))
        told.failing(lambda: Store(server.url, token=TOKEN))
        keys.tokens.write_text(f"{TOKEN}\n")
        server.signal(signal.SIGHUP)
        server.await_line("tokens")
        lost = Store(server.url, token=TOKEN, ca=keys.ca, timeout=0.2)
        server.kill()
        told.failing(lambda: lost.getItemByID(1))
        lost.close()
    told.hear("the server's log", "\n".join(server.log))
    assert any("token" in line for line in server.log)
    told.hear_folder(locked)


def test_no_token_is_told_when_nobody_answers_or_somebody_else(
    told: Told, tmp_path: Path
) -> None:
    keys = Keys(tmp_path)
    keys.know(TOKEN)
    told.failing(lambda: Store("atop://127.0.0.1:1", token=TOKEN, insecure=True, timeout=0.1))
    with pytest.raises(AtopError) as caught:
        Store(f"atop://{UNKNOWN}@localhost", token=TOKEN)
    told.hear("an address", f"{caught.value} {caught.value!r}")
    told.failing(lambda: Store(tmp_path / "s.atop", token=TOKEN))
    with Here(tmp_path / "s.atop") as here:
        told.failing(lambda: Store(here.url, token=TOKEN, ca=keys.ca, timeout=0.5))
    with Here(tmp_path / "s.atop", keys.admission()) as here:
        told.failing(lambda: Store(here.url, token=TOKEN, insecure=True, timeout=0.5))
        told.failing(lambda: Store(here.url, token=UNKNOWN, ca=keys.ca))
        for each in (here.admission, here.server):
            told.hear("the server", "".join(repr(part) + _shown_vars(part) for part in parts(each)))


def test_no_key_of_a_certificate_is_told(told: Told, tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    cert, key = keys.issue("client")
    lines = key.read_text().splitlines()
    told.failing(lambda: Store("atop://127.0.0.1:1", ca=keys.ca, cert=cert, certKey=keys.key))
    told.failing(lambda: Store("atop://127.0.0.1:1", ca=keys.ca, cert=cert, certKey=key,
                               timeout=0.1))
    key.write_text("\n".join(lines[1:]))
    told.failing(lambda: Store("atop://127.0.0.1:1", ca=keys.ca, cert=cert, certKey=key))
    told.failing(lambda: Store("atop://127.0.0.1:1", ca=keys.ca, cert=key, certKey=key))
    told.check(*lines[1:-1], *keys.key.read_text().splitlines()[1:-1])


@linux
def test_the_browser_tells_its_token_in_its_link_alone(told: Told, tmp_path: Path) -> None:
    Store(tmp_path / "s.atop").close()
    with Browsing(tmp_path / "s.atop", ATOP_BROWSE_TOKEN=TOKEN) as browsing:
        assert browsing.link.endswith(f"?token={TOKEN}")
        told.hear("cmdline", Path(f"/proc/{browsing.process.pid}/cmdline").read_bytes())
        for answer in (browsing.get(""), browsing.client.get("?token=wrong"),
                       browsing.client.get("nowhere")):  # fmt: skip
            told.hear("a page", f"{answer.text} {answer.headers}")
        browsing.end()
    told.hear("what was printed", "\n".join(
        line for line in browsing.output if "?token=" not in line))
    told.hear_folder(tmp_path / "s.atop")
    shutil.rmtree(tmp_path / "s.atop")
