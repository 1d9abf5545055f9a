"""Values as JSON and as bytes, whatever they are.

A store may hold what neither has: lone surrogates, numbers of a million digits, lists that have
themselves in them. All of it is answered, in bounded time.
"""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import Response

from atop.plain import plain, shown
from atop.web.moment import Reference

CUT = "\u2026"
_NESTED = 200
_REPEATED = 10_000
_LONG_BITS = 10_000
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTAINERS = (dict, list, tuple, set, frozenset)


def jsonable(value: Any) -> Any:
    """All of a value as JSON has it; a reference is ``{"item": id}``.

    What is nested more than 200 times, and what has the same parts over and over, has an ellipsis.
    """
    return value if type(value) in {str, bool, type(None)} else _Jsonable().of(value, 0)


def dumped(value: Any) -> str:
    """The text of what :func:`jsonable` gave."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(value, separators=(",", ":")) if _SURROGATE.search(text) else text


def utf8(text: str) -> bytes:
    """`text` as bytes; half a character pair, which has none, becomes a replacement character."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text).encode("utf-8")


def answer(content: Any, status: int = 200) -> Response:
    """JSON as an answer."""
    return Response(dumped(content).encode("utf-8"), status, media_type="application/json")


def scalar(value: Any) -> str:
    """A value that is not made of parts, in one line, whatever it is."""
    if isinstance(value, int) and value.bit_length() > _LONG_BITS:
        return hex(value)
    try:
        return shown(value)
    except Exception as error:
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"


class _Jsonable:
    """Goes through one value, and counts the parts that come again."""

    def __init__(self) -> None:
        self._left = _REPEATED
        self._known: set[int] = set()

    def of(self, value: Any, depth: int) -> Any:
        if isinstance(value, Reference):
            return {"item": value.id}
        if isinstance(value, _CONTAINERS):
            return self._container(value, depth + 1)
        if isinstance(value, int | float | str) or value is None:
            long = isinstance(value, int) and value.bit_length() > _LONG_BITS
            return scalar(value) if long else plain(value)
        return scalar(value)

    def _container(self, value: Any, depth: int) -> Any:
        if id(value) in self._known:
            self._left -= 1 + len(value)
        self._known.add(id(value))
        if depth > _NESTED or self._left < 0:
            return CUT
        if isinstance(value, dict):
            return {self._key(key): self.of(each, depth) for key, each in value.items()}
        parts = [self.of(each, depth) for each in value]
        return sorted(parts, key=repr) if isinstance(value, set | frozenset) else parts

    def _key(self, key: Any) -> str:
        if isinstance(key, str):
            return key
        return dumped(self.of(key, 0)) if isinstance(key, _CONTAINERS) else scalar(key)
