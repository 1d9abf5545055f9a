"""What the engine tests do over and over: write, read all, run a child process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from atop.engine.base import INDEX, ITEMS, Commit, Engine, Range, Row, State, Turn, next_state
from atop.engine.folder import Folder, open_folder
from atop.engine.overlay import Overlay
from atop.engine.present import Present

ROOT = Path(__file__).parents[2]
CACHE = 8 << 20

Puts = dict[tuple[str, bytes], bytes]
Keys = Iterable[tuple[str, bytes]]


def ident(number: int) -> bytes:
    return number.to_bytes(8, "big")


def index_key(text: str, number: int) -> bytes:
    return text.encode() + ident(number)


def opened(path: Path, *, read_only: bool = False, cache_bytes: int = CACHE) -> Folder:
    return open_folder(path, read_only=read_only, cache_bytes=cache_bytes)


def changed(engine: Engine, puts: Puts, deletes: Keys = ()) -> Overlay:
    """An overlay on the present with these changes."""
    overlay = Overlay(Present(engine, engine.serial))
    for table, key in deletes:
        overlay.delete(table, key)
    for (table, key), value in puts.items():
        overlay.put(table, key, value, overlay.get(table, key) is not None)
    return overlay


def commit_of(state: State, overlay: Overlay, next_id: int | None = None) -> Commit:
    counts = {name: state.counts[name] + more for name, more in overlay.totals().items()}
    return Commit(next_state(state, next_id or state.next_id, counts), overlay.changes())


def apply(turn: Turn, overlay: Overlay, *, durable: bool = False) -> Commit:
    commit = commit_of(turn.state, overlay)
    turn.apply(commit, durable)
    return commit


def put(engine: Engine, puts: Puts, deletes: Keys = (), *, durable: bool = False) -> Commit:
    """One transaction from beginning to end."""
    turn = engine.writer(30)
    try:
        return apply(turn, changed(engine, puts, deletes), durable=durable)
    finally:
        turn.release()


def fill(engine: Engine, numbers: Iterable[int]) -> None:
    """Items with one index row each, in one transaction."""
    puts: Puts = {}
    for number in numbers:
        puts[ITEMS, ident(number)] = b"item %d" % number
        puts[INDEX, index_key(f"k{number:06}", number)] = b""
    put(engine, puts)


def rows(engine: Engine, table: str = INDEX) -> list[Row]:
    return engine.scan(table, Range())[1]


def in_thread(call: Callable[[], object]) -> object:
    """What `call` returns or raises, called in another thread."""
    answers: list[object] = []

    def run() -> None:
        try:
            answers.append(call())
        except BaseException as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert answers, "the other thread hangs"
    return answers[0]


def child(code: str, *args: object) -> subprocess.Popen[str]:
    """A child process that runs `code`, with its input and output as pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(code: str, *args: object) -> str:
    """What a child process that runs `code` prints; it must end well."""
    with child(code, *args) as process:
        out, problems = process.communicate(timeout=60)
    assert process.returncode == 0, f"the child ended with {process.returncode}: {problems}"
    return out.strip()
