"""Query: a lazy sequence over a key range of an index.

Nothing is read before it is asked for, and then a page at a time. Where a page stands in the index
makes no difference to what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, overload

from atop.engine.base import Range
from atop.errors import IndexKeyError
from atop.index import Plan, keys_of
from atop.keys import Key, encode, encode_prefix
from atop.native import decode_ids

if TYPE_CHECKING:
    from atop.session import Session

FIRST_PAGE = 50
PAGE = 1000
MAX_ROWS = 2**31  # more than Berkeley DB numbers
_AFTER = b"\xff"
_LAST_ID = b"\xff" * 9


class Bounds:
    """A range of an index, half open: ``low`` and ``high`` are what rows are compared with."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.low = plan.prefix
        self.high = plan.prefix + _AFTER

    def at_least(self, key: object) -> None:
        """Leave out what is before `key`."""
        self.low = max(self.low, self.plan.prefix + self._encode(key))

    def at_most(self, key: object) -> None:
        """Leave out what is after `key`."""
        self.high = min(self.high, self.plan.prefix + self._encode(key) + _LAST_ID)

    def beginning(self, prefix: str | bytes | tuple[Key, ...]) -> None:
        """Leave out what does not begin with `prefix`."""
        try:
            low = self.plan.prefix + encode_prefix(prefix)
        except IndexKeyError as error:
            raise self._named(error) from error
        self.low, self.high = max(self.low, low), min(self.high, low + _AFTER)

    def clip(self, row: bytes) -> bytes:
        """`row`, or the end of the range that it lies beyond."""
        return min(max(row, self.low), max(self.low, self.high))

    def before(self, key: object) -> bytes:
        """Where `key` begins in the range."""
        return self.clip(self.plan.prefix + self._encode(key))

    def after(self, key: object) -> bytes:
        """Where `key` ends in the range."""
        return self.clip(self.plan.prefix + self._encode(key) + _LAST_ID)

    def _encode(self, key: object) -> bytes:
        try:
            return encode(key)
        except IndexKeyError as error:
            raise self._named(error) from error

    def _named(self, error: IndexKeyError) -> IndexKeyError:
        name = self.plan.index.name
        return IndexKeyError(f"index {name!r}: {error}", error.value, None, name)


class Query(Sequence[Any]):
    """What a pool's index has in a range of keys, in order: items, unless told otherwise.

    A slice is a query too, and costs the same anywhere. In a transaction or snapshot all that is
    read is of one moment; outside, each page is, and a walk goes on after the last key it saw.
    """

    def __init__(
        self,
        session: Callable[[], Session],
        bounds: Bounds,
        backwards: bool,
        start: int = 0,
        stop: int | None = None,
        shows: str = "items",
    ) -> None:
        self._session = session
        self._bounds = bounds
        self._backwards = backwards
        self._start = start
        self._stop = stop
        self._shows = shows

    def keys(self) -> Query:
        """The same with keys instead of items, which are then not loaded."""
        return self._with(shows="keys")

    def ids(self) -> Query:
        """The same with the items' ids."""
        return self._with(shows="ids")

    def pairs(self) -> Query:
        """The same with pairs of key and id."""
        return self._with(shows="pairs")

    def first(self, default: Any = None) -> Any:
        """The first one, or `default` if there is none."""
        return next(iter(self[:1]), default)

    def position(self, key: object) -> int:
        """How many stand before those with `key`: the row in which they are, or would be."""
        bounds = self._bounds
        if self._backwards:
            counted = self._session().count(bounds.after(key), bounds.high)
        else:
            counted = self._session().count(bounds.low, bounds.before(key))
        return self._inside(counted)

    def __len__(self) -> int:
        return self._inside(self._session().count(self._bounds.low, self._bounds.high))

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> Query: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return self._slice(at)
        place = at if at >= 0 else at + len(self)
        limited = self._stop is not None and self._start + place >= self._stop
        found = [] if place < 0 or limited else self._rows(self._range(self._start + place, 1))[1]
        if not found:
            raise IndexError(f"row {at} of a query that has {len(self)}")
        return found[0]

    def __iter__(self) -> Iterator[Any]:
        left = MAX_ROWS if self._stop is None else self._stop - self._start
        seen = self._seen()
        if left <= FIRST_PAGE and seen is None:
            return iter(self._rows(self._range(self._start, left))[1])
        return chain.from_iterable(self._pages(left, seen))

    def _pages(self, left: int, seen: set[bytes] | None) -> Iterator[Iterable[Any]]:
        rest = self._range(self._start, min(FIRST_PAGE, left))
        while left > 0:
            rows, page = self._rows(rest)
            left -= len(rows)
            if len(rows) < rest.limit:
                left = 0
            if left:
                (last,) = self._keys(rows[-1:])
                rest = rest.after(last)._replace(limit=min(2 * rest.limit, PAGE, left))
                self._session().foresee(rest, records=self._shows == "items")
            yield page if seen is None else _unseen(self._keys(rows), page, seen)

    def __reversed__(self) -> Iterator[Any]:
        return iter(self._slice(slice(None, None, -1)))

    def __contains__(self, value: object) -> bool:
        return any(shown is value or shown == value for shown in self)

    def __repr__(self) -> str:
        index = self._bounds.plan.index.name
        way = " backwards" if self._backwards else ""
        return f"<Query of index {index!r}{way}: {self._shows}>"

    def _seen(self) -> set[bytes] | None:
        """In a transaction, whose changes move items in the index, a walk meets each once."""
        multiple = self._bounds.plan.index.multiple
        return None if multiple or self._session().transaction is None else set()

    def _slice(self, at: slice) -> Query:
        start, stop, step = at.start or 0, at.stop, at.step
        if step not in (None, 1, -1):
            raise ValueError(f"a query has slices of step 1 and -1, not {step}: list it first")
        open_end = stop is None and self._stop is None
        if step == -1 or start < 0 or not (open_end or (stop is not None and stop >= 0)):
            start, stop, step = at.indices(len(self))
            if step < 0:
                return self._turned(stop + 1, max(stop, start) + 1)
        end = None if stop is None else self._end(self._start + max(start, stop))
        return Query(
            self._session, self._bounds, self._backwards, self._start + start, end, self._shows
        )

    def _turned(self, start: int, stop: int) -> Query:
        """The rows from `start` to `stop`, in the opposite order."""
        everything = self._session().count(self._bounds.low, self._bounds.high)
        return self._with(
            backwards=not self._backwards,
            start=everything - self._start - stop,
            stop=everything - self._start - start,
        )

    def _end(self, stop: int) -> int:
        return stop if self._stop is None else min(stop, self._stop)

    def _inside(self, count: int) -> int:
        """`count` rows of the whole range, as rows of this query."""
        return max(0, min(count, count if self._stop is None else self._stop) - self._start)

    def _range(self, skip: int, limit: int) -> Range:
        return Range(self._bounds.low, self._bounds.high, limit, skip, self._backwards)

    def _rows(self, within: Range) -> tuple[Sequence[Any], list[Any]]:
        """Rows of the table, joined with items if these are shown; and what is shown for them."""
        session = self._session()
        if within.empty or within.skip > MAX_ROWS:
            return [], []
        if self._shows == "items":
            return session.page(within)
        rows = session.index_keys(within)
        prefix = self._bounds.plan.prefix
        if self._shows == "ids":
            return rows, decode_ids(rows)
        if self._shows == "keys":
            return rows, keys_of(rows, prefix)
        return rows, list(zip(keys_of(rows, prefix), decode_ids(rows), strict=True))

    def _keys(self, rows: Sequence[Any]) -> Sequence[bytes]:
        return [key for key, _ in rows] if self._shows == "items" else rows

    def _with(self, **changes: Any) -> Query:
        now: dict[str, Any] = {
            "backwards": self._backwards,
            "start": self._start,
            "stop": self._stop,
            "shows": self._shows,
        }
        return Query(self._session, self._bounds, **(now | changes))


def _unseen(keys: Sequence[bytes], page: list[Any], seen: set[bytes]) -> Iterator[Any]:
    for key, shown in zip(keys, page, strict=True):
        if key[-8:] not in seen:
            seen.add(key[-8:])
            yield shown
