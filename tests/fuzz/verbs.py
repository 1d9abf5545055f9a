"""What is fuzzed of ``atopdb``: whatever words follow a verb, it ends, and tells what is wrong.

All of it is in this process, in folders that are emptied each time. What would serve for ever is
told to end, so none stays behind; names of hosts are looked up nowhere.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner, Result

from atop import Index, Item, Store
from atop.cli.app import cli
from atop.errors import AtopError

KEY = "correct horse battery staple"
_OF_THEIR_OWN = frozenset({"serve", "shell", "browse", "key", "encrypt", "salvage"})
_PATIENCE = 20.0
_AGAIN = 2.0
_SCHEME = re.compile(r"(?:atop://|atop\+unix://|https?://)?")


def arguments(data: bytes) -> None:
    """Whatever words follow ``atopdb``: an answer, or an error in the user's words."""
    words = _words(data)
    if not words or words[0] not in cli.commands or words[0] in _OF_THEIR_OWN:
        verbs = sorted(set(cli.commands) - _OF_THEIR_OWN)
        words.insert(0, verbs[len(data) % len(verbs)])
    _run(words)


def serve(data: bytes) -> None:
    """A server begins and ends in order, or tells what is wrong."""
    with _ending(), patch("socket.getaddrinfo", _of_this_machine):
        _run(["serve", *_words(data)])


def browse(data: bytes) -> None:
    """The same of the browser, which opens no window."""
    with _ending(), patch("socket.getaddrinfo", _of_this_machine):
        _run(["browse", "--no-open", *_words(data)])


def shell(data: bytes) -> None:
    """A script in the console comes to its end, and changes what it may."""
    _run(["shell", *_words(data)], "len(store), list(pools)")


def key(data: bytes) -> None:
    """A key is changed, here to itself, or it is told why not."""
    _run(["key", *_words(data)])


def encrypt(data: bytes) -> None:
    """A copy with a key, or without, or an error."""
    _run(["encrypt", *_words(data)])


def salvage(data: bytes) -> None:
    """All there is, or an error."""
    _run(["salvage", *_words(data)])


def _words(data: bytes) -> list[str]:
    """One a line; none leads out of the folder that is the current one."""
    text = data.replace(b"\0", b"").decode("utf-8", "surrogateescape")  # none in argv
    known = {"STORE": _store, "LOCKED": _locked}
    return [str(known[word]()) if word in known else _inside(word) for word in text.split("\n")]


def _inside(word: str) -> str:
    scheme = _SCHEME.match(word)
    assert scheme is not None
    return scheme[0] + word[scheme.end() :].replace("/", "").replace("..", "")


def _run(words: list[str], script: str = "") -> Result:
    folder = _emptied()
    (folder / "tokens").write_text("")
    (folder / "key").write_text(KEY + "\n")
    (folder / "startup.py").write_text("begun = True\n")
    environment = {"ATOP_KEY_FILE": str(folder / "key"), "ATOP_NEW_KEY_FILE": str(folder / "key")}
    threads, here = set(threading.enumerate()), os.getcwd()
    os.chdir(folder)
    try:
        result = CliRunner().invoke(cli, words, script, environment, prog_name="atopdb")
    finally:
        os.chdir(here)
    failed = result.exception
    if failed is not None and not isinstance(failed, SystemExit | AtopError):
        raise failed
    assert result.exit_code in (0, 1, 2)
    assert KEY not in result.output
    for each in set(threading.enumerate()) - threads:
        each.join(_PATIENCE)
        assert not each.is_alive(), f"{each.name} is left behind"
    return result


@contextmanager
def _ending() -> Iterator[None]:
    """What goes on in this process is asked to end, as soon as it heeds that."""
    done = threading.Event()
    deaf = (signal.SIG_IGN, signal.default_int_handler)

    def ask() -> None:
        while not done.wait(0.02):
            if signal.getsignal(signal.SIGTERM) not in deaf:
                os.kill(os.getpid(), signal.SIGTERM)
                done.wait(_AGAIN)

    asking = threading.Thread(target=ask)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    asking.start()
    try:
        yield
    finally:
        done.set()
        asking.join()
        signal.signal(signal.SIGTERM, before)


def _of_this_machine(host: Any, *args: Any, look_up: Callable[..., Any] = socket.getaddrinfo,
                     **options: Any) -> Any:  # fmt: skip
    if host not in ("localhost", "127.0.0.1", "::1", b"localhost", b"127.0.0.1", b"::1"):
        raise socket.gaierror(socket.EAI_NONAME, "no such name here")
    return look_up(host, *args, **options)


@cache
def folder() -> Path:
    """A folder that is there until this process ends."""
    made = Path(tempfile.mkdtemp(prefix="atop-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _emptied() -> Path:
    empty = folder() / "here"
    shutil.rmtree(empty, ignore_errors=True)
    empty.mkdir()
    return empty


@cache
def _made(name: str, key: str | None) -> Path:
    path = folder() / name
    with Store(path, durable=False, key=key) as store, store.transaction():
        people = store.pool("people", "name", Index("email", unique=True))
        people.addItem(Item(name="Ann", email="a@example.org", born=date(1970, 1, 2)))
    return path


_store = partial(_made, "s.atop", None)
_locked = partial(_made, "locked.atop", KEY)

SEEDS = {
    "arguments": [b"info\nSTORE", b"query\nSTORE\npeople\nname\n--format\njson", b"get\nSTORE\n3",
                  b"pools\nSTORE", b"verify\nSTORE", b"files\nSTORE\n--format\ncsv"],
    "serve": [b"STORE", b"STORE\n--listen\nlocalhost:0\n--insecure-loopback\n--timeout\n1",
              b"STORE\n--socket\nsock\n--read-only\n--pid-file\npid\n--log-level\ndebug",
              b"new.atop\n--max-clients\n7\n--cache-size\n1\n--tokens\ntokens",
              b"LOCKED\n--tls-cert\nkey\n--tls-key\nkey\n--client-ca\nkey\n--listen\n127.0.0.1:0",
              b"--upstream\natop://localhost:1\n--timeout\n0.1", b"--status\nSTORE\n--format\njson",
              b"--stop\natop+unix://sock"],
    "browse": [b"STORE\n--port\n0", b"STORE\n--port\n0\n--read-only\n--token\nabc",
               b"LOCKED\n--port\n0\n--url-prefix\nhttps://example.org/data\n--host\n127.0.0.1",
               b"STORE\n--port\n0\n--host\n\n--token\n"],
    "shell": [b"STORE", b"STORE\n--read-only\n--startup\nstartup.py", b"LOCKED", b"atop+unix://sock"],
    "key": [b"LOCKED", b"STORE", b"nowhere"],
    "encrypt": [b"STORE\nnew.atop", b"LOCKED\nnew.atop\n--plain", b"STORE\nSTORE"],
    "salvage": [b"STORE\nnew.atop", b"STORE\nnew.atop\n--doubtful\n--json\n--class\n3=pim:Person",
                b"LOCKED\nnew.atop"],
}  # fmt: skip
TARGETS = {each.__name__: each for each in (arguments, serve, browse, shell, key, encrypt, salvage)}
