"""References, both ways: what an item refers to, and what refers to it.

Nothing in a store lists what refers to an item, so all of it is looked through, in bounded time.
Most records are passed over by their bytes: they do not have the number.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from atop.engine.base import ITEMS, Range
from atop.records import PROTOCOL
from atop.web.moment import Moment, Reference, Seen

STEP_SECONDS = 0.2
MOST = 200
_BLOCK = 500
_FRAME = 2  # what a pickle begins with before it comes to a small number


@dataclass(frozen=True, slots=True)
class Referrers:
    """Items that refer to one, each with the names of the attributes that do.

    ``looked`` is how many items were looked at in this step, ``after`` the id of the last of them,
    or ``None`` if there are no more.
    """

    found: tuple[tuple[Seen, tuple[str, ...]], ...]
    looked: int
    after: int | None


def referrers(moment: Moment, ident: int, after: int = -1) -> Referrers:
    """What refers to the item `ident`, among ids after `after`, as far as a step goes."""
    mark, end = _mark(ident), time.monotonic() + STEP_SECONDS
    found: list[tuple[Seen, tuple[str, ...]]] = []
    looked = 0
    rest = Range(low=(after + 1).to_bytes(8, "big"), limit=_BLOCK)
    while rows := moment.view.scan(ITEMS, rest):
        for key, record in rows:
            if mark in record:
                seen = moment.decode(key, record)
                names = tuple(name for name, value in seen.state.items()
                              if any(each.id == ident for each in within(value)))
                if names:
                    found.append((seen, names))
        looked += len(rows)
        if time.monotonic() > end or len(found) >= MOST:
            return Referrers(tuple(found), looked, int.from_bytes(rows[-1][0], "big"))
        rest = rest.after(rows[-1][0])
    return Referrers(tuple(found), looked, None)


def within(value: Any) -> Iterator[Reference]:
    """The references in a value, at any depth; each container is looked into once."""
    left, known = [value], set[int]()
    while left:
        each = left.pop()
        if isinstance(each, Reference):
            yield each
        elif isinstance(each, list | tuple | set | frozenset | dict) and id(each) not in known:
            known.add(id(each))
            left += reversed([*each, *(each.values() if isinstance(each, dict) else ())])


def _mark(ident: int) -> bytes:
    """The bytes that every pickle with that number has."""
    return pickle.dumps(ident, PROTOCOL)[_FRAME:-1]
