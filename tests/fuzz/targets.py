"""What is fuzzed. A target takes any bytes, and raises only if Atop has an error."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from atop import Item
from atop.cli.output import clean
from atop.engine import keyfile, wire
from atop.engine.folder import check_format
from atop.engine.owner import Owner
from atop.engine.tokens import Tokens, line_for
from atop.errors import (
    DamagedStore,
    NotLoadable,
    ProtocolError,
    StoreError,
)
from atop.keys import decode, encode
from atop.plain import plain, shown
from atop.records import Allowed, decode_entries, decode_header, encode_record, loader
from tests.engine.vectors import VECTORS
from tests.fuzz import verbs

Target = Callable[[bytes], None]


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
    folder = verbs.folder()
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
    keyfile.read(folder)


_STATES: list[dict[str, Any]] = [
    {"name": "Bob", "n": 1, "tags": ["a", "b"], "born": date(1970, 1, 2)},
    {"at": datetime(2020, 1, 2), "price": Decimal("1.2"), "uid": UUID(int=7), "t": (1, (2, 3))},
    {"map": {"a": {"b": [1.5, None, True]}}, "set": {1, 2}, "frozen": frozenset({1}), "b": b"x"},
    {"body": "long " * 100, "big": 10**40},
]
_NOTE = {"pid": 4711, "command": "python3", "host": "attic", "since": "2026-11-21 04:25:47"}

TARGETS: dict[str, Target] = {
    "records": records, "dumps": dumps, "keys": keys, "frames": frames, "lines": lines,
    **verbs.TARGETS,
}
SEEDS: dict[str, list[bytes]] = {
    "records": [encode_record(1, 1, pickle.dumps(each, 5), [b"entry"]) for each in _STATES],
    "dumps": [pickle.dumps(each, 5) for each in _STATES],
    "keys": [encode(value) * 2 for value in (1, "a", b"\0", ("a", 1), 1.5, UUID(int=1))],
    "frames": [frame[4:] for _, frame in VECTORS],
    "lines": [b"atop 1 berkeleydb\n", json.dumps(_NOTE).encode(),
              json.dumps({"closed": {"items": 8192}}).encode(), line_for("a", "t", True).encode()],
} | verbs.SEEDS  # fmt: skip
