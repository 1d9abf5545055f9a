"""Index keys, and other simple values, as people type them and as Python has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import zip_longest
from typing import Any
from uuid import UUID

from atop.errors import ValueRefused

TYPES = ["str", "int", "float", "decimal", "date", "datetime", "timedelta", "uuid", "bytes",
         "tuple", "none", "bool", "time"]  # fmt: skip


def type_of(key: Any) -> str:
    """The name, one of `TYPES`, of the type of a key."""
    if isinstance(key, datetime):
        return "datetime"
    return "none" if key is None else type(key).__name__.lower()


def parse(text: str, kind: str, like: Any = None) -> Any:
    """The key that `text` stands for, in an index that has keys such as `like`.

    :raises ValueRefused: when it stands for none of that type.
    """
    try:
        if kind == "tuple":
            return _tuple(text, like)
        key = _PARSERS[kind](text)
    except (KeyError, ValueError, ArithmeticError) as error:
        raise ValueRefused(f"{text!r} is no {_NAMES.get(kind, kind)}", text) from error
    if isinstance(key, datetime):
        return _zoned(key, like)
    return key


def typed(value: Any) -> str:
    """What is typed for a value of one of `TYPES`."""
    if isinstance(value, timedelta):
        return str(value.total_seconds())
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return json.dumps([each if isinstance(each, bool | int | float | None) else typed(each)
                           for each in value], ensure_ascii=False)
    return "" if value is None else str(value)


def completed(text: str, kind: str) -> str:
    """The first date, or date and time, that begins with `text`."""
    return text + _FIRST[len(text) :] if kind in {"date", "datetime"} else text


def _bool(text: str) -> bool:
    return {"true": True, "false": False, "1": True, "0": False}[text.strip().casefold()]


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _none(text: str) -> None:
    if text not in {"", "None", "null"}:
        raise ValueError(text)


def _zoned(key: datetime, like: Any) -> datetime:
    """An aware key where the index has these: without an offset it is taken as UTC."""
    if not isinstance(like, datetime):
        return key
    if like.tzinfo is not None and key.tzinfo is None:
        return key.replace(tzinfo=UTC)
    if like.tzinfo is None and key.tzinfo is not None:
        raise ValueRefused(f"{key} has an offset, the keys of the index have none", key)
    return key


def _tuple(text: str, like: Any) -> tuple[Any, ...]:
    elements = json.loads(text)
    if not isinstance(elements, list):
        raise ValueError(text)
    likes = like if isinstance(like, tuple) else ()
    paired = zip_longest(elements, likes[: len(elements)])
    return tuple(_element(each, known) for each, known in paired)


def _element(value: Any, like: Any) -> Any:
    if isinstance(value, list):
        return _tuple(json.dumps(value), like)
    if isinstance(value, str) and like is not None:
        return parse(value, type_of(like), like)
    if isinstance(value, dict):
        raise ValueError(value)
    return value


_PARSERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": _number,
    "float": _number,
    "decimal": Decimal,
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "timedelta": lambda text: timedelta(seconds=float(text)),
    "uuid": UUID,
    "bytes": bytes.fromhex,
    "none": _none,
    "bool": _bool,
    "time": time.fromisoformat,
}
_FIRST = "0001-01-01"
_NAMES = {
    "int": "number",
    "float": "number",
    "bool": "true or false",
    "time": "time such as 23:59",
    "date": "date such as 2024-12-31",
    "datetime": "date and time such as 2024-12-31T23:59",
    "timedelta": "number of seconds",
    "bytes": "row of bytes in hexadecimal",
    "tuple": 'JSON list such as ["a", 1]',
}
