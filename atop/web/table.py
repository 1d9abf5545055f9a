"""A page of a pool's table: rows of an index, and what its columns show of each.

The rows come from a range of one index, so a page costs the same wherever it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from atop.engine.base import ID_BYTES, INDEX, Range, Row
from atop.errors import ValueRefused
from atop.index import Plan, key_of
from atop.keytext import parse, type_of
from atop.query import Bounds
from atop.web.asked import Asked
from atop.web.cells import EMPTY, Cell, cell
from atop.web.moment import Moment, PoolSeen, Seen


class Rows:
    """The rows of an index in a range of keys, in order."""

    def __init__(self, moment: Moment, bounds: Bounds, backwards: bool) -> None:
        self._view = moment.view
        self._bounds = bounds
        self._backwards = backwards

    def __len__(self) -> int:
        return self._view.count(self._bounds.low, self._bounds.high)

    def page(self, first: int, limit: int) -> list[Row]:
        """At most `limit` rows from the row `first`, counted from 0, on."""
        bounds = self._bounds
        return self._view.scan(INDEX, Range(bounds.low, bounds.high, limit, first, self._backwards))

    def position(self, key: Any, *, beginning: bool = False) -> int:
        """How many rows stand before those with `key`, or with what begins with it."""
        bounds = Bounds(self._bounds.plan)
        if beginning:
            bounds.beginning(key)
        else:
            bounds.at_least(key)
            bounds.at_most(key)
        clip = self._bounds.clip
        if self._backwards:
            return self._view.count(clip(bounds.high), self._bounds.high)
        return self._view.count(self._bounds.low, clip(bounds.low))


@dataclass(frozen=True, slots=True)
class Line:
    """One row: its number, counted from 1, the key it stands at, and its item."""

    number: int
    id: int
    key: Any
    seen: Seen | None

    def value(self, name: str, pool: PoolSeen) -> Any:
        """What the item has for a column; ``EMPTY`` if nothing."""
        return EMPTY if self.seen is None else value_of(self.seen, name, pool)

    def cell(self, name: str, pool: PoolSeen, moment: Moment) -> Cell:
        """The same as a cell."""
        value = self.value(name, pool)
        return value if isinstance(value, Cell) else cell(value, moment)


@dataclass(frozen=True, slots=True)
class Page:
    """What is shown of a table.

    ``total`` is how many rows the range has, ``found`` which columns there are. Where rows had to
    be looked at, ``looked`` is how many of them were, from the beginning of the range.
    """

    asked: Asked
    pool: PoolSeen
    plan: Plan
    lines: Sequence[Line]
    total: int
    columns: Sequence[str]
    found: Sequence[str]
    serial: int
    looked: int | None = None

    @property
    def first(self) -> int:
        return self.asked.row

    @property
    def last(self) -> int:
        return self.asked.row + len(self.lines) - 1


def bounds_of(moment: Moment, plan: Plan, asked: Asked) -> Bounds:
    """The range of keys that is asked for, the keys read as the index has them.

    :raises ValueRefused: for a key that the index cannot have.
    """
    bounds = Bounds(plan)
    low, high = (asked.high, asked.low) if asked.backwards else (asked.low, asked.high)
    if low is not None:
        bounds.at_least(typed_key(moment, plan, low))
    if high is not None:
        bounds.at_most(typed_key(moment, plan, high))
    if asked.prefix is not None:
        bounds.beginning(prefix_key(moment, plan, asked.prefix))
    return bounds


def typed_key(moment: Moment, plan: Plan, text: str) -> Any:
    """The key that `text` stands for, in an index that has keys such as its first one.

    :raises ValueRefused: when it stands for none.
    """
    like = sample_key(moment, plan)
    try:
        return parse(text, type_of("" if like is None else like), like)
    except ValueRefused as error:
        raise ValueRefused(f"index {plan.index.name!r}: {error}", text) from error


def prefix_key(moment: Moment, plan: Plan, text: str) -> Any:
    """What `text` stands for as the beginning of a key.

    :raises ValueRefused: where keys have no beginning.
    """
    like = sample_key(moment, plan)
    if like is None or isinstance(like, str):
        return text
    if isinstance(like, bytes | tuple):
        return typed_key(moment, plan, text)
    raise ValueRefused(
        f"keys of index {plan.index.name!r} are numbers or times, which do not begin with "
        "anything: use from and to", text
    )


def sample_key(moment: Moment, plan: Plan) -> Any:
    """The first key that is not ``None``; or ``None``."""
    after_none = Bounds(plan)
    after_none.at_most(None)
    everything = Bounds(plan)
    rows = moment.view.scan(INDEX, Range(after_none.high, everything.high, 1))
    return row_key(rows[0], plan) if rows else None


def row_key(row: Row, plan: Plan) -> Any:
    """The key of a row of the index."""
    return key_of(row[0][:-ID_BYTES], plan.prefix)


def make_lines(moment: Moment, plan: Plan, rows: Sequence[Row], number: int) -> list[Line]:
    """Lines for rows of the index; the first has that `number`."""
    keys = [row[0][-ID_BYTES:] for row in rows]
    return [
        Line(number + at, int.from_bytes(keys[at], "big"), row_key(rows[at], plan), seen)
        for at, seen in enumerate(moment.items(keys))
    ]


def find_columns(plan: Plan, seen: Iterable[Seen | None]) -> list[str]:
    """Names for columns: the id, what is sorted by, then the attributes as they come."""
    items = [each for each in seen if each is not None]
    names = dict.fromkeys(name for item in items for name in item.state)
    several = len({item.kind.name for item in items}) > 1
    by = plan.index.name
    keys = plan.index.paths if set(plan.index.paths) <= names.keys() or by == "id" else (by,)
    ordered = dict.fromkeys(("id", *(("class",) if several else ()), *keys, *names))
    return [name for name in ordered if not name.startswith("_")]


def value_of(seen: Seen, name: str, pool: PoolSeen) -> Any:
    """An attribute, what a dotted path leads to, or the key in the index of that name."""
    if name in seen.state:
        return seen.state[name]
    if name == "id":
        return seen.id
    if name == "class":
        return seen.class_label
    value = _follow(seen.state, name)
    if value is EMPTY:
        for plan in pool.plans:
            if plan.index.name == name:
                keys = keys_of(seen, plan)
                return keys if plan.index.multiple else keys[0] if keys else EMPTY
    return value


def keys_of(seen: Seen, plan: Plan) -> list[Any]:
    """The keys that an item has in an index."""
    return [key_of(entry, plan.prefix) for entry in sorted(seen.entries)
            if entry.startswith(plan.prefix)]


def _follow(state: dict[str, Any], name: str) -> Any:
    value: Any = state
    for part in name.split("."):
        value = value.get(part, EMPTY) if isinstance(value, dict) else EMPTY
    return value
