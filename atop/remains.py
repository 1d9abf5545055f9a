"""What the tables of a damaged store still hold, told in items, pools and classes.

Nothing is imported for it, and no state is kept: of each item where its record is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from atop.classes import PREFIX as CLASSES
from atop.engine import history
from atop.engine.base import CATALOG, ID_BYTES, INDEX, ITEMS, State
from atop.engine.environment import COMMITS
from atop.engine.leaves import Leaves, Place
from atop.engine.wreck import Wreck
from atop.errors import AtopError, DamagedStore
from atop.objects import number
from atop.pool import POOLS
from atop.records import decode_entries


class Found(NamedTuple):
    """Where a record was found; `doubtful` on a page that is not as it was written."""

    leaves: Leaves
    place: Place
    doubtful: bool = False

    def record(self) -> bytes:
        """Its bytes.

        :raises DamagedStore: when they cannot be read.
        """
        return self.leaves.value(self.place)


class Remains:
    """The rows of a wreck.

    ``items`` has the latest version of each record by id, ``doubtful`` those of the damaged pages
    that have no other; ``classes`` are names by number, ``pools`` ids by name. ``state`` is what
    the last commit left, where that is known. ``mentioned`` has what the index says of ids that
    have no record, ``older`` the commit and the record before it of those looked back for.
    """

    def __init__(self, wreck: Wreck) -> None:
        self._wreck = wreck
        self.classes: dict[int, str] = {}
        self.pools: dict[str, int] = {}
        self.items: dict[int, Found] = {}
        self.doubtful: dict[int, Found] = {}
        self.mentioned: dict[int, bytes] = {}
        self.older: dict[int, tuple[int, bytes]] = {}
        self.index_rows = 0
        self._commits = dict(self._rows(COMMITS))
        self.state = self._last_state()
        self._catalog()
        self._items()
        self._index()
        self._see_deletions()

    def _rows(self, table: str, *, doubtful: bool = False) -> Iterator[tuple[bytes, Found]]:
        """The latest version of each row of a table, or those on its damaged pages."""
        leaves = self._wreck.original(table) if doubtful else self._wreck.tables.get(table)
        if leaves is None:
            return
        latest: dict[bytes, Place] = {}
        for key, place in leaves.doubtful() if doubtful else leaves.places():
            known = latest.get(key)
            if known is None or place.lsn > known.lsn:
                latest[key] = place
        for key, place in latest.items():
            yield key, Found(leaves, place, doubtful)

    def _values(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        for key, found in self._rows(table):
            try:
                yield key, found.record()
            except DamagedStore:
                continue

    def _last_state(self) -> State | None:
        for key in sorted(self._commits, reverse=True):
            try:
                return history.decode_state(number(key), self._commits[key].record())[0]
            except DamagedStore:
                continue
        return None

    def _catalog(self) -> None:
        for key, value in self._values(CATALOG):
            if key.startswith(CLASSES) and len(key) == len(CLASSES) + 4:
                self.classes[number(key[len(CLASSES) :])] = value.decode("utf-8", "replace")
            elif key.startswith(POOLS) and len(value) == ID_BYTES:
                name = key[len(POOLS) :].decode("utf-8", "surrogatepass")
                self.pools[name] = number(value)

    def _items(self) -> None:
        for doubtful, found in ((False, self.items), (True, self.doubtful)):
            for key, place in self._rows(ITEMS, doubtful=doubtful):
                if len(key) == ID_BYTES and number(key) not in self.items:
                    found[number(key)] = place

    def _index(self) -> None:
        """Which items the index speaks of that are not there."""
        for row, _ in self._rows(INDEX):
            self.index_rows += 1
            ident = number(row[-ID_BYTES:])
            if ident not in self.items:
                self.mentioned.setdefault(ident, row[:-ID_BYTES])

    def look_back(self, idents: set[int]) -> None:
        """Find in ``older`` what items were before the last commit that changed them."""
        left = set(idents)
        for key in sorted(self._commits, reverse=True) if left else ():
            for ident, before, _ in self._changed(key):
                if ident in left:
                    left.discard(ident)
                    if before is not None:
                        self.older[ident] = (number(key), before)

    def _see_deletions(self) -> None:
        """Which items the commits say are deleted, which is for good, or should be there."""
        deleted: set[int] = set()
        for key in sorted(self._commits, reverse=True):
            for ident, _, exists in self._changed(key):
                if not exists:
                    deleted.add(ident)
                    for known in (self.items, self.mentioned, self.doubtful):
                        known.pop(ident, None)
                elif ident not in self.items and ident not in deleted:
                    self.mentioned.setdefault(ident, b"")

    def _changed(self, key: bytes) -> Iterable[tuple[int, bytes | None, bool]]:
        try:
            delta = history.decode_delta(number(key), self._commits[key].record())
        except AtopError:
            return
        for ident, before, exists in (delta.before or {}).get(ITEMS, ()):
            if len(ident) == ID_BYTES:
                yield number(ident), before, exists


def entries_of(record: bytes) -> frozenset[bytes]:
    """The index entries in a record, each of which names a pool and an index.

    :raises DamagedStore: when that is not what they are.
    """
    entries = decode_entries(record)
    for entry in entries:
        split(entry)
    return entries


def split(entry: bytes) -> tuple[int, int, bytes]:
    """The pool, the number of the index, and the key, in an index entry.

    :raises DamagedStore: when there is no such thing.
    """
    first = 1 + entry[0] if entry else 0
    second = first + 1 + entry[first] if first < len(entry) else 0
    if not 1 < first < second < len(entry) or first > 9 or second - first > 9:
        raise DamagedStore("an index entry is damaged")
    return number(entry[1:first]), number(entry[first + 1 : second]), entry[second:]
