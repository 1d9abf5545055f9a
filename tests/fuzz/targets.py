"""What is fuzzed. A target takes any bytes, and raises only if Atop has an error."""

from __future__ import annotations

import atexit
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from click.testing import CliRunner

from atop import Index, Item, Store
from atop.cli.app import cli
from atop.cli.output import clean
from atop.engine import keyring, wire
from atop.engine.folder import check_format
from atop.engine.owner import Owner
from atop.engine.tokens import Tokens, line_for
from atop.errors import (
    AtopError,
    DamagedStore,
    NotLoadable,
    ProtocolError,
    StoreError,
)
from atop.keys import decode, encode
from atop.plain import plain, shown
from atop.records import Allowed, decode_entries, decode_header, encode_record, loader
from tests.engine.vectors import VECTORS

Target = Callable[[bytes], None]
_LEFT_OUT = frozenset({"serve", "shell", "browse", "key", "encrypt"})


class Guarded(Item):
    """An item that no record may touch."""

    def __call__(self, *args: Any) -> None:
        raise AssertionError("a record has called an item")

    append = extend = add = __setitem__ = __call__


_load = loader(Allowed(), lambda reference: Guarded())


def _state(data: bytes) -> dict[str, Any]:
    try:
        return _load(data)
    except (DamagedStore, NotLoadable):
        return {}


def records(data: bytes) -> None:
    """A record is one, or damaged; loading it calls and changes nothing else."""
    try:
        _, _, at = decode_header(data)
        decode_entries(data)
    except DamagedStore:
        at = 0
    _state(data[at:])


def dumps(data: bytes) -> None:
    """Whatever a record holds: it is printed, and no terminal obeys it."""
    state = _state(data)
    json.dumps(plain(state))
    for value in state.values():
        assert all(each.isprintable() or each.isspace() for each in clean(shown(value)))


def keys(data: bytes) -> None:
    """A key decodes or is refused; what it decodes to has one encoding, in the same order."""
    half = len(data) // 2
    one, two = _key(data[:half]), _key(data[half:])
    if one is not None and two is not None and type(one[0]) is type(two[0]):
        (first, before), (second, after) = one, two
        if isinstance(first, str | bytes | int | UUID):
            assert (first < second) == (before < after)


def _key(data: bytes) -> tuple[Any, bytes] | None:
    try:
        value, _ = decode(data)
    except DamagedStore:
        return None
    encoded = encode(value)
    again, end = decode(encoded)
    assert end == len(encoded)
    assert encode(again) == encoded
    return value, encoded


def frames(data: bytes) -> None:
    """A frame is a message, or a ProtocolError."""
    for understand in (wire.request, wire.answer):
        with suppress(ProtocolError):
            understand(data)


def lines(data: bytes) -> None:
    """FORMAT, the owner's note, KEY and a file of tokens: each is understood or refused."""
    folder = _folder()
    for name in ("FORMAT", "owner", "KEY", "tokens"):
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    for read in (check_format, _owner, _keyring, lambda path: Tokens(path / "tokens")):
        with suppress(StoreError):
            read(folder)


def _owner(folder: Path) -> None:
    owner = Owner(folder)
    try:
        assert owner.closed_files is None or all(
            "/" not in name for name in owner.closed_files
        )
        owner._busy()
    finally:
        owner.release()


def _keyring(folder: Path) -> None:
    keyring._read(folder)


def arguments(data: bytes) -> None:
    """Whatever words follow ``atopdb``: an answer, or an error in the user's words."""
    text = data.replace(b"\0", b"").decode("utf-8", "surrogateescape")  # none in argv
    words = [str(_store()) if word == "STORE" else word.replace("/", "").replace("..", "")
             for word in text.split("\n")]  # fmt: skip
    if not words or words[0] not in cli.commands or words[0] in _LEFT_OUT:
        verbs = sorted(set(cli.commands) - _LEFT_OUT)
        words.insert(0, verbs[len(data) % len(verbs)])
    here = os.getcwd()
    os.chdir(_folder())
    try:
        result = CliRunner().invoke(cli, words, prog_name="atopdb")
    finally:
        os.chdir(here)
    failed = result.exception
    if failed is not None and not isinstance(failed, SystemExit | AtopError):
        raise failed
    assert result.exit_code in (0, 1, 2)


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="atop-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _store() -> Path:
    path = _folder() / "s.atop"
    with Store(path, durable=False) as store, store.transaction():
        people = store.pool("people", "name", Index("email", unique=True))
        people.addItem(Item(name="Ann", email="a@example.org", born=date(1970, 1, 2)))
    return path


_STATES: list[dict[str, Any]] = [
    {"name": "Bob", "n": 1, "tags": ["a", "b"], "born": date(1970, 1, 2)},
    {"at": datetime(2020, 1, 2), "price": Decimal("1.2"), "uid": UUID(int=7), "t": (1, (2, 3))},
    {"map": {"a": {"b": [1.5, None, True]}}, "set": {1, 2}, "frozen": frozenset({1}), "b": b"x"},
    {"body": "long " * 100, "big": 10**40},
]
_NOTE = {"pid": 4711, "command": "python3", "host": "attic", "since": "2026-11-21 04:25:47"}

TARGETS: dict[str, Target] = {
    each.__name__: each for each in (records, dumps, keys, frames, lines, arguments)
}
SEEDS: dict[str, list[bytes]] = {
    "records": [encode_record(1, 1, pickle.dumps(each, 5), [b"entry"]) for each in _STATES],
    "dumps": [pickle.dumps(each, 5) for each in _STATES],
    "keys": [encode(value) * 2 for value in (1, "a", b"\0", ("a", 1), 1.5, UUID(int=1))],
    "frames": [frame[4:] for _, frame in VECTORS],
    "lines": [b"atop 1 berkeleydb\n", json.dumps(_NOTE).encode(),
              json.dumps({"closed": {"items": 8192}}).encode(), line_for("a", "t", True).encode()],
    "arguments": [b"info\nSTORE", b"query\nSTORE\npeople\nname\n--format\njson", b"get\nSTORE\n3",
                  b"pools\nSTORE", b"verify\nSTORE", b"files\nSTORE\n--format\ncsv"],
}  # fmt: skip
