"""Which items a damaged store still has: the best version of each, and what it tells of others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from atop.engine.progress import Progress
from atop.errors import DamagedStore
from atop.keys import decode
from atop.records import decode_header
from atop.remains import Found, Remains, entries_of, split
from atop.report import Loss
from atop.unclassed import Peeked, States

_BATCH = 1000
POOL, FILE = "atop.pool:Pool", "atop.files:File"


class FoundPool(NamedTuple):
    """A pool: its record's header and state; the state of a lost one is made up."""

    number: int
    version: int
    state: dict[str, Any]
    whole: bool


class Census:
    """The items of `remains`, looked at one by one; `saved` are the ids of files with bytes.

    `classes` are names of classes by number, which count more than those found; with `doubtful`,
    what stands on damaged pages is taken where there is nothing else.

    ``sources`` are records by id, or where they are; ``failed`` tells what is wrong with those of
    which there is none. ``classes`` are names by number, of which ``used`` are. ``members`` counts
    the items of each pool, ``stand`` those that have an entry in each index, which are in
    ``repeat`` if an item has more than one there.
    """

    def __init__(
        self, remains: Remains, saved: set[int], classes: Mapping[int, str] | None, doubtful: bool
    ) -> None:
        self._remains = remains
        self._saved = saved
        self._doubtful = doubtful
        self.states = States()
        self.sources: dict[int, Found | bytes] = {}
        self.failed: dict[int, str] = {}
        self.classes: dict[int, str] = {**remains.classes, **(classes or {})}
        self.used: set[int] = set()
        self.pools: dict[int, FoundPool] = {}
        self.file_items: set[int] = set()
        self.members: Counter[int] = Counter()
        self.stand: Counter[tuple[int, int]] = Counter()
        self.repeat: set[tuple[int, int]] = set()
        self.losses: list[Loss] = []

    def take(self, progress: Progress) -> None:
        """Look at every record that is there, or was."""
        wanted = {*self._remains.items, *self._remains.mentioned}
        if self._doubtful:
            wanted |= self._remains.doubtful.keys()
        for done, ident in enumerate(sorted(wanted)):
            problem = self._look_at(ident)
            if problem is not None:
                self.failed[ident] = problem
            if not done % _BATCH:
                progress("records", done, len(wanted))
        self._look_back()
        progress("records", len(wanted), len(wanted))

    def lose(self, kind: str, ident: int, what: str) -> None:
        """Something is lost."""
        self.losses.append(Loss(kind, ident, what))

    def _look_back(self) -> None:
        """Take older versions of items that are lost, or tell that there is none."""
        self._remains.look_back(set(self.failed))
        for ident, problem in self.failed.items():
            older = ident in self._remains.older and self._look_at(ident) is None
            if not older and ident not in self._saved:
                told = f": {problem}" if problem else ""
                self.lose("item", ident, f"item {ident}{self._known_of(ident)} is lost{told}")

    def _look_at(self, ident: int) -> str | None:
        """Take the best version that there is of an item; if there is none, what is wrong."""
        problem = ""
        for kind, source in self._candidates(ident):
            try:
                record = bytes_of(source)
                entries = entries_of(record)
                number, version, at = decode_header(record)
                peeked = self.states.peek(record[at:])
            except DamagedStore as error:
                problem = str(error).partition(": run ")[0]
                continue
            self.sources[ident] = source
            self._note(ident, number, version, peeked, entries)
            if kind:
                self.lose(kind, ident, self._told(ident, kind))
            return None
        return problem

    def _candidates(self, ident: int) -> Iterator[tuple[str, Found | bytes]]:
        if ident in self._remains.items:
            yield "", self._remains.items[ident]
        if self._doubtful and ident in self._remains.doubtful:
            yield "doubtful", self._remains.doubtful[ident]
        if ident in self._remains.older:
            yield "older", self._remains.older[ident][1]

    def _told(self, ident: int, kind: str) -> str:
        if kind == "older":
            serial = self._remains.older[ident][0]
            return f"item {ident} is as it was before commit {serial}: what changed since is lost"
        return f"item {ident} stood on a damaged page: look whether it is right"

    def _known_of(self, ident: int) -> str:
        """What the index says of an item that is lost."""
        try:
            pool, _, key = split(self._remains.mentioned.get(ident, b""))
            value = decode(key, 0)[0]
        except Exception:
            return " (a record of it stands on a damaged page)" if (
                ident in self._remains.doubtful) else ""
        name = next((name for name, each in self._remains.pools.items() if each == pool), pool)
        return f", which is in pool {name!r} with the key {value!r},"

    def _note(
        self, ident: int, number: int, version: int, peeked: Peeked, entries: frozenset[bytes]
    ) -> None:
        state = peeked.state
        self.used.add(number)
        self.used.update(other for _, other in peeked.references)
        if isinstance(state.get("_definitions"), tuple) and isinstance(state.get("_last"), int):
            self.pools[ident] = FoundPool(number, version, state, peeked.whole)
            self.classes.setdefault(number, POOL)
        elif self._is_file(ident, number, state):
            self.file_items.add(ident)
            self.classes.setdefault(number, FILE)
        places = [split(entry)[:2] for entry in entries]
        self.stand.update(set(places))
        self.repeat.update(place for place in places if places.count(place) > 1)
        self.members.update({pool for pool, _ in places})

    def _is_file(self, ident: int, number: int, state: dict[str, Any]) -> bool:
        like = isinstance(state.get("size"), int) and isinstance(state.get("sha256"), str)
        return like and (self.classes.get(number) == FILE or ident in self._saved)


def bytes_of(source: Found | bytes) -> bytes:
    """The bytes of a record."""
    return source if isinstance(source, bytes) else source.record()
