"""Values as cells of a page: a bounded text, and what kind of value it is.

What comes from a store can hold anything, so nothing here depends on how large a value is, and
marks that would turn or hide text are written out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from atop.web.asjson import scalar
from atop.web.moment import Moment, Reference

SHORT = 200
_DEEP = 6
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e"
                     "\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Cell:
    """``text`` is all of the value if ``whole``; ``item`` is the id of an item referred to."""

    text: str
    kind: str
    whole: bool = True
    item: int | None = None

    @property
    def is_number(self) -> bool:
        return self.kind in {"int", "float", "Decimal"}


EMPTY = Cell("", "missing")


def cell(value: Any, moment: Moment, limit: int = SHORT) -> Cell:
    """The value as a cell of at most about `limit` characters."""
    kind = kind_of(value)
    if isinstance(value, Reference):
        return Cell(f"{moment.class_name(value.class_number)} {value.id}", kind, True, value.id)
    text, whole = _Text(moment, limit).of(value)
    return Cell(visible(text), kind, whole)


def kind_of(value: Any) -> str:
    """The name of the type of a value, for people."""
    if value is None:
        return "None"
    return "item" if isinstance(value, Reference) else type(value).__name__


def visible(text: str) -> str:
    """`text` with all that has no look of its own, or turns what follows, written out."""
    return _HIDDEN.sub(lambda mark: f"\u2039U+{ord(mark[0]):04X}\u203a", text)


class _Text:
    """A text in one line that stops when it is long enough."""

    def __init__(self, moment: Moment, limit: int) -> None:
        self._moment = moment
        self._left = limit
        self._whole = True

    def of(self, value: Any) -> tuple[str, bool]:
        text = "" if value is None else "".join(self._parts(value, 0))
        return text, self._whole

    def _cut(self, text: str) -> str:
        if len(text) > self._left:
            self._whole = False
            text = text[: max(self._left, 0)] + "\u2026"
        self._left -= len(text)
        return text

    def _parts(self, value: Any, depth: int) -> Iterator[str]:
        if isinstance(value, Reference):
            yield self._cut(f"{self._moment.class_name(value.class_number)} {value.id}")
        elif isinstance(value, str):
            yield self._cut(value if depth == 0 else f'"{value[: self._left + 1]}"')
        elif isinstance(value, bytes | bytearray):
            some = value[: max(self._left, 0) // 2 + 1].hex(" ")
            yield self._cut(some)
            self._whole = self._whole and 3 * len(value) <= len(some) + 1
        elif isinstance(value, dict):
            yield from self._joined(self._pairs(value, depth), "{", "}", depth)
        elif isinstance(value, list | tuple | set | frozenset):
            parts = ("".join(self._parts(each, depth + 1)) for each in value)
            yield from self._joined(parts, "[" if depth else "", "]" if depth else "", depth)
        else:
            yield self._cut(_scalar(value))

    def _pairs(self, value: dict[Any, Any], depth: int) -> Iterator[str]:
        for key, each in value.items():
            named = "".join(self._parts(key, depth + 1))
            yield f"{named}: {''.join(self._parts(each, depth + 1))}"

    def _joined(self, parts: Iterable[str], begin: str, end: str, depth: int) -> Iterator[str]:
        yield begin
        between = ""
        for part in parts if depth < _DEEP else ("\u2026",):
            yield between + part
            between = ", "
            self._left -= 2
            if self._left <= 0:
                self._whole = False
                yield ", \u2026"
                break
        yield end


def _scalar(value: Any) -> str:
    """What is neither text nor made of parts; a huge number is not written out."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 10_000:
        return f"an integer of {value.bit_length():,} bits"
    if isinstance(value, date | time | int | float):
        return str(value)
    return scalar(value)
