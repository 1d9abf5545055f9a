"""Values as people and JSON have them."""

from __future__ import annotations

import json
import math
from datetime import date, time
from typing import Any

from atop.item import Item


def shown(value: Any) -> str:
    """A value in one line for people."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, date | time):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Item):
        return repr(value)
    if isinstance(value, list | tuple | set | frozenset | dict):
        return json.dumps(plain(value), ensure_ascii=False)
    return str(value)


def plain(value: Any, above: frozenset[int] = frozenset()) -> Any:
    """A value as JSON has it; what JSON lacks becomes a string, and so does what is in itself.

    `above` are the ids of the values that it is in.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if not isinstance(value, dict | list | tuple | set | frozenset):
        return shown(value)
    if id(value) in above:
        return "{...}" if isinstance(value, dict) else "[...]"
    above |= {id(value)}
    if isinstance(value, dict):
        return {key if isinstance(key, str) else shown(key): plain(each, above)
                for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, above) for each in value]
    return sorted((plain(each, above) for each in value), key=repr)
