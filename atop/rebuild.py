"""A store made anew of what remains of one: same ids, and all that follows from the items.

Index entries are those that records carry, so no class is needed. A pool or an index that cannot be
made whole again is made such that a program which asks for it by ``store.pool`` completes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from atop.classes import PREFIX as CLASSES
from atop.engine.base import CATALOG, INDEX, ITEMS, Commit, State, Turn, next_state
from atop.engine.progress import Progress
from atop.errors import DamagedStore
from atop.index import compact
from atop.keys import decode, encode
from atop.pool import pool_row
from atop.records import decode_header, encode_record
from atop.remains import Found, Remains, entries_of, split
from atop.report import Loss
from atop.savedfiles import SavedFiles
from atop.unclassed import Peeked, States

_BATCH = 1000
_POOL, _FILE = "atop.pool:Pool", "atop.files:File"
_NONE = encode(None)


class _Pool(NamedTuple):
    """A pool: its record's header and state; the state of a lost one is made up."""

    number: int
    version: int
    state: dict[str, Any]
    whole: bool


class Rebuild:
    """The items of `remains`, looked at one by one, and then written.

    `classes` are names of classes by number, which count more than those found; with `doubtful`,
    what stands on damaged pages is taken where there is nothing else. `serial` is of a commit that
    is known to have been. ``losses`` and ``notes`` tell
    what the new store lacks, the counts what it has.
    """

    def __init__(
        self,
        remains: Remains,
        files: SavedFiles,
        *,
        classes: Mapping[int, str] | None = None,
        doubtful: bool = False,
        serial: int = 0,
    ) -> None:
        self._remains = remains
        self._files = files
        self._doubtful = doubtful
        self._serial = serial
        self._states = States()
        self._sources: dict[int, Found | bytes] = {}
        self._classes: dict[int, str] = {**remains.classes, **(classes or {})}
        self._used: set[int] = set()
        self._pools: dict[int, _Pool] = {}
        self._file_items: set[int] = set()
        self._members: Counter[int] = Counter()
        self._stand: Counter[tuple[int, int]] = Counter()
        self._repeat: set[tuple[int, int]] = set()
        self._dropped: set[tuple[int, int]] = set()
        self._by_id: dict[int, bytes] = {}
        self._unique: set[tuple[int, int]] = set()
        self._taken: dict[bytes, int] = {}
        self._made: dict[int, bytes] = {}
        self.losses: list[Loss] = []
        self.notes: list[str] = []
        self.items = self.entries = self.files = 0

    @property
    def pools(self) -> int:
        """How many pools there are."""
        return len(self._pools)

    @property
    def planned(self) -> int:
        """How many items there will be."""
        return len(self.kept)

    @property
    def kept(self) -> set[int]:
        """The ids of the items that there will be."""
        return {*self._sources, *self._made}

    def plan(self, progress: Progress) -> None:
        """Look at every record, and find out what the new store is to have."""
        wanted = {*self._remains.items, *self._remains.mentioned}
        if self._doubtful:
            wanted |= self._remains.doubtful.keys()
        failed = {}
        for done, ident in enumerate(sorted(wanted)):
            problem = self._look_at(ident)
            if problem is not None:
                failed[ident] = problem
            if not done % _BATCH:
                progress("records", done, len(wanted))
        self._look_back(failed)
        progress("records", len(wanted), len(wanted))
        self._found_files(failed)
        self._settle_names()
        for ident in {*self._members, *self._pools}:
            self._settle_pool(ident)
        self._name_classes()

    def write(self, turn: Turn, progress: Progress) -> None:
        """Write all of it in the `turn` on an empty store."""
        batch: dict[str, list[tuple[bytes, bytes | None, bool]]] = {ITEMS: [], INDEX: []}
        for done, ident in enumerate(sorted({*self._sources, *self._made})):
            record = self._record(ident)
            if record is None:
                continue
            self.items += 1
            key = ident.to_bytes(8, "big")
            batch[ITEMS].append((key, record, False))
            rows = sorted(entry + key for entry in entries_of(record))
            self.entries += len(rows)
            batch[INDEX] += [(row, b"", False) for row in rows]
            if len(batch[ITEMS]) == _BATCH:
                turn.spill({name: sorted(rows) for name, rows in batch.items()})
                batch = {ITEMS: [], INDEX: []}
                progress("items", done, len(self._sources))
        catalog = sorted(self._catalog())
        changes = {name: sorted(rows) for name, rows in batch.items() if rows}
        changes[CATALOG] = [(key, value, False) for key, value in catalog]
        turn.apply(Commit(self._state(len(catalog)), changes, "salvaged"), durable=True)
        progress("items", len(self._sources), len(self._sources))

    # What there is

    def _look_back(self, failed: Mapping[int, str]) -> None:
        """Take older versions of items that are lost, or tell that there is none."""
        self._remains.look_back(set(failed))
        for ident, problem in failed.items():
            older = ident in self._remains.older and self._look_at(ident) is None
            if not older and ident not in self._files.idents:
                told = f": {problem}" if problem else ""
                self._lose("item", ident, f"item {ident}{self._known_of(ident)} is lost{told}")

    def _look_at(self, ident: int) -> str | None:
        """Take the best version that there is of an item; if there is none, what is wrong."""
        problem = ""
        for kind, source in self._candidates(ident):
            try:
                record = _bytes(source)
                entries = entries_of(record)
                number, version, at = decode_header(record)
                peeked = self._states.peek(record[at:])
            except DamagedStore as error:
                problem = str(error).partition(": run ")[0]
                continue
            self._sources[ident] = source
            self._note(ident, number, version, peeked, entries)
            if kind:
                self._lose(kind, ident, self._told(ident, kind))
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
        self._used.add(number)
        self._used.update(other for _, other in peeked.references)
        if isinstance(state.get("_definitions"), tuple) and isinstance(state.get("_last"), int):
            self._pools[ident] = _Pool(number, version, state, peeked.whole)
            self._classes.setdefault(number, _POOL)
        elif self._is_file(ident, number, state):
            self._file_items.add(ident)
            self._classes.setdefault(number, _FILE)
        places = [split(entry)[:2] for entry in entries]
        self._stand.update(set(places))
        self._repeat.update(place for place in places if places.count(place) > 1)
        self._members.update({pool for pool, _ in places})

    def _is_file(self, ident: int, number: int, state: dict[str, Any]) -> bool:
        like = isinstance(state.get("size"), int) and isinstance(state.get("sha256"), str)
        return like and (self._classes.get(number) == _FILE or ident in self._files.idents)

    # What is to be

    def _found_files(self, failed: Mapping[int, str]) -> None:
        """Bytes of files whose items are lost become files again, without their names."""
        for ident in sorted(self._files.idents - self._sources.keys()):
            if ident in failed:
                state = {"name": f"salvaged {ident}", **self._files.measure(ident)}
                self._made[ident] = self._made_record(_FILE, state)
                self._file_items.add(ident)
                self._lose("name", ident, f"the name of file {ident} is lost, its bytes are saved "
                                          f"as {state['name']!r}")
            else:
                self.notes.append(f"files/{ident} has no item, and was left out")

    def _settle_names(self) -> None:
        """A name leads to one pool: the one to which it led, or else the last one made."""
        named = self._remains.pools
        for name, ident in named.items():
            if ident not in self._pools and (self._members[ident] or ident not in self._sources):
                self._lose("pool", ident, f"what pool {name!r} was sorted by is lost; it has its "
                           "items, and gets its indexes when a program opens it with them")
                self._made_up(ident, name)
        for ident in set(self._members) - self._pools.keys():
            self._lose("pool", ident, f"pool {ident} is lost with its name and its indexes; its "
                                      "items are in a pool without a name")
            self._made_up(ident, None)
        taken: set[str | None] = set()
        for ident in sorted(self._pools, key=lambda each: (each in named.values(), each))[::-1]:
            state = self._pools[ident].state
            called = state.get("_name")
            if called is None or called not in taken:
                taken.add(called)
                continue
            self._lose("pool", ident, f"pool {ident} was called {called!r}, as another one is")
            state["_name"] = None
            self._made[ident] = b""

    def _made_up(self, ident: int, name: str | None) -> None:
        state = {"_name": name, "_definitions": (), "_last": 0}
        self._pools[ident] = _Pool(self._number_of(_POOL), 1, state, True)
        self._made[ident] = b""
        self._sources.pop(ident, None)

    def _settle_pool(self, ident: int) -> None:
        """Keep the indexes that have an entry for each item; make sure that there is one."""
        pool = self._pools[ident]
        kept = []
        members = self._members[ident]
        for definition in pool.state["_definitions"]:
            number, name, _, unique, multiple = definition
            place = ident, number
            if multiple or (self._stand[place] == members and place not in self._repeat):
                kept.append(definition)
                if unique:
                    self._unique.add(place)
            else:
                lacking = members - self._stand[place]
                self._lose("index", ident, f"index {name!r} of {self._called(ident)} was left out: "
                           f"{lacking:,} of its items have no entry; it is made when a program "
                           "opens the pool with it")
        known = {number for number, *_ in kept}
        stood = {number for each, number in self._stand if each == ident}
        self._dropped.update((ident, number) for number in stood - known)
        if all(multiple for *_, multiple in kept):
            last = max([pool.state["_last"], *stood]) + 1
            kept.append((last, "id", "id", False, False))
            pool.state["_last"] = last
            self._by_id[ident] = compact(ident) + compact(last)
        if tuple(kept) != pool.state["_definitions"] or self._made.get(ident) == b"":
            pool.state["_definitions"] = tuple(kept)
            own = self._sources.get(ident)
            entries = frozenset[bytes]() if own is None else entries_of(_bytes(own))
            pickled = self._states.dump(pool.state)
            self._made[ident] = encode_record(pool.number, pool.version, pickled, sorted(entries))

    def _called(self, ident: int) -> str:
        name = self._pools[ident].state.get("_name")
        return f"pool {ident}" if name is None else f"pool {name!r}"

    def _name_classes(self) -> None:
        for number in sorted(self._used - self._classes.keys()):
            self._classes[number] = f"lost:Class{number}"
            self._lose("class", number, f"the name of class {number} is lost: its items keep their "
                       f"bytes; salvage again with its name, --class {number}=module:Class")

    def _number_of(self, name: str) -> int:
        """The number of a class, which it gets if it has none."""
        for number, each in self._classes.items():
            if each == name:
                return number
        number = max([0, *self._classes, *self._used]) + 1
        self._classes[number] = name
        return number

    def _made_record(self, name: str, state: dict[str, Any]) -> bytes:
        return encode_record(self._number_of(name), 1, self._states.dump(state), ())

    # What is written

    def _record(self, ident: int) -> bytes | None:
        record = self._made.get(ident) or _bytes(self._sources[ident])
        if ident in self._file_items:
            kept = self._with_bytes(ident, record)
            if kept is None:
                return None
            record = kept
        entries = entries_of(record)
        wanted = self._entries(ident, entries)
        if wanted == entries:
            return record
        number, version, at = decode_header(record)
        return encode_record(number, version, record[at:], sorted(wanted))

    def _entries(self, ident: int, entries: frozenset[bytes]) -> set[bytes]:
        """The entries that an item is to have."""
        wanted = set()
        pools = set()
        for entry in entries:
            pool, number, _ = split(entry)
            pools.add(pool)
            if (pool, number) not in self._dropped:
                wanted.add(entry)
        wanted |= {self._by_id[pool] + encode(ident) for pool in pools if pool in self._by_id}
        for pool in self._colliding(ident, wanted):
            wanted = {entry for entry in wanted if split(entry)[0] != pool}
        return wanted

    def _colliding(self, ident: int, entries: set[bytes]) -> set[int]:
        """The pools that have another item with the same key in a unique index."""
        found = set()
        for entry in entries:
            pool, number, key = split(entry)
            if (pool, number) in self._unique and key != _NONE:
                other = self._taken.setdefault(entry, ident)
                if other != ident:
                    found.add(pool)
                    self._lose("key", ident, f"item {ident} has the same key as item {other} in a "
                               f"unique index of {self._called(pool)}, and was left out of it")
        return found

    def _with_bytes(self, ident: int, record: bytes) -> bytes | None:
        """The record of a file, with what is true of the bytes that were saved."""
        number, version, at = decode_header(record)
        peeked = self._states.peek(record[at:])
        state = peeked.state
        measured, problem = self._files.save(ident, state["size"], state["sha256"])
        if not problem:
            self.files += 1
            return record
        if not peeked.whole:
            self._lose("item", ident, f"item {ident}, a file: {problem}")
            return None
        self.files += 1
        self._lose("file", ident, f"file {ident}, {state.get('name')!r}: {problem}")
        pickled = self._states.dump({**state, **measured})
        return encode_record(number, version, pickled, sorted(entries_of(record)))

    def _catalog(self) -> Iterator[tuple[bytes, bytes]]:
        for number, name in self._classes.items():
            yield CLASSES + number.to_bytes(4, "big"), name.encode()
        for ident, pool in self._pools.items():
            called = pool.state.get("_name")
            if called is not None:
                yield pool_row(called), ident.to_bytes(8, "big")

    def _state(self, catalog: int) -> State:
        before = self._remains.state or State()
        before = replace(before, serial=max(before.serial, self._serial))
        seen = (*self._remains.items, *self._remains.mentioned, *self._remains.doubtful,
                *self._made, *self._files.idents)
        next_id = max([before.next_id, *(ident + 1 for ident in seen)])
        counts = {ITEMS: self.items, INDEX: self.entries, CATALOG: catalog}
        return next_state(before, next_id, counts)

    def _lose(self, kind: str, ident: int, what: str) -> None:
        self.losses.append(Loss(kind, ident, what))


def _bytes(source: Found | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.record()
