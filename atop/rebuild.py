"""A store made anew of what remains of one: same ids, and all that follows from the items.

Index entries are those that records carry, so no class is needed. A pool or an index that cannot be
made whole again is made such that a program which asks for it by ``store.pool`` completes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from atop.census import FILE, POOL, Census, FoundPool, bytes_of
from atop.classes import PREFIX as CLASSES
from atop.engine.base import CATALOG, INDEX, ITEMS, Commit, State, Turn, next_state
from atop.engine.progress import Progress
from atop.index import compact
from atop.keys import encode
from atop.pool import pool_row
from atop.records import decode_header, encode_record
from atop.remains import Remains, entries_of, split
from atop.report import Loss
from atop.savedfiles import SavedFiles

_BATCH = 1000
_NONE = encode(None)


class Rebuild:
    """The items of `remains`, looked at one by one, and then written.

    `classes` are names of classes by number, which count more than those found; with `doubtful`,
    what stands on damaged pages is taken where there is nothing else. `serial` is of a commit that
    is known to have been. ``losses`` and ``notes`` tell what the new store lacks, the counts what
    it has.
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
        self._serial = serial
        self._found = Census(remains, files.idents, classes, doubtful)
        self._dropped: set[tuple[int, int]] = set()
        self._by_id: dict[int, bytes] = {}
        self._unique: set[tuple[int, int]] = set()
        self._taken: dict[bytes, int] = {}
        self._made: dict[int, bytes] = {}
        self.losses = self._found.losses
        self.notes: list[str] = []
        self.items = self.entries = self.files = 0

    @property
    def pools(self) -> int:
        """How many pools there are."""
        return len(self._found.pools)

    @property
    def planned(self) -> int:
        """How many items there will be."""
        return len(self.kept)

    @property
    def kept(self) -> set[int]:
        """The ids of the items that there will be."""
        return {*self._found.sources, *self._made}

    def plan(self, progress: Progress) -> None:
        """Look at every record, and find out what the new store is to have."""
        self._found.take(progress)
        self._found_files()
        self._settle_names()
        for ident in {*self._found.members, *self._found.pools}:
            self._settle_pool(ident)
        self._name_classes()

    def write(self, turn: Turn, progress: Progress) -> None:
        """Write all of it in the `turn` on an empty store."""
        batch: dict[str, list[tuple[bytes, bytes | None, bool]]] = {ITEMS: [], INDEX: []}
        for done, ident in enumerate(sorted({*self._found.sources, *self._made})):
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
                progress("items", done, len(self._found.sources))
        catalog = sorted(self._catalog())
        changes = {name: sorted(rows) for name, rows in batch.items() if rows}
        changes[CATALOG] = [(key, value, False) for key, value in catalog]
        turn.apply(Commit(self._state(len(catalog)), changes, "salvaged"), durable=True)
        progress("items", len(self._found.sources), len(self._found.sources))

    # What is to be

    def _found_files(self) -> None:
        """Bytes of files whose items are lost become files again, without their names."""
        for ident in sorted(self._files.idents - self._found.sources.keys()):
            if ident in self._found.failed:
                state = {"name": f"salvaged {ident}", **self._files.measure(ident)}
                self._made[ident] = self._made_record(FILE, state)
                self._found.file_items.add(ident)
                self._lose("name", ident, f"the name of file {ident} is lost, its bytes are saved "
                                          f"as {state['name']!r}")
            else:
                self.notes.append(f"files/{ident} has no item, and was left out")

    def _settle_names(self) -> None:
        """A name leads to one pool: the one to which it led, or else the last one made."""
        named, found = self._remains.pools, self._found
        for name, ident in named.items():
            if ident not in found.pools and (found.members[ident] or ident not in found.sources):
                self._lose("pool", ident, f"what pool {name!r} was sorted by is lost; it has its "
                           "items, and gets its indexes when a program opens it with them")
                self._made_up(ident, name)
        for ident in set(found.members) - found.pools.keys():
            self._lose("pool", ident, f"pool {ident} is lost with its name and its indexes; its "
                                      "items are in a pool without a name")
            self._made_up(ident, None)
        taken: set[str | None] = set()
        for ident in sorted(found.pools, key=lambda each: (each in named.values(), each))[::-1]:
            state = found.pools[ident].state
            called = state.get("_name")
            if called is None or called not in taken:
                taken.add(called)
                continue
            self._lose("pool", ident, f"pool {ident} was called {called!r}, as another one is")
            state["_name"] = None
            self._made[ident] = b""

    def _made_up(self, ident: int, name: str | None) -> None:
        state = {"_name": name, "_definitions": (), "_last": 0}
        self._found.pools[ident] = FoundPool(self._number_of(POOL), 1, state, True)
        self._made[ident] = b""
        self._found.sources.pop(ident, None)

    def _settle_pool(self, ident: int) -> None:
        """Keep the indexes that have an entry for each item; make sure that there is one."""
        pool = self._found.pools[ident]
        kept = []
        members = self._found.members[ident]
        for definition in pool.state["_definitions"]:
            number, name, _, unique, multiple = definition
            place = ident, number
            standing = self._found.stand[place]
            if multiple or (standing == members and place not in self._found.repeat):
                kept.append(definition)
                if unique:
                    self._unique.add(place)
            else:
                lacking = members - standing
                self._lose("index", ident, f"index {name!r} of {self._called(ident)} was left out: "
                           f"{lacking:,} of its items have no entry; it is made when a program "
                           "opens the pool with it")
        known = {number for number, *_ in kept}
        stood = {number for each, number in self._found.stand if each == ident}
        self._dropped.update((ident, number) for number in stood - known)
        if all(multiple for *_, multiple in kept):
            last = max([pool.state["_last"], *stood]) + 1
            kept.append((last, "id", "id", False, False))
            pool.state["_last"] = last
            self._by_id[ident] = compact(ident) + compact(last)
        if tuple(kept) != pool.state["_definitions"] or self._made.get(ident) == b"":
            pool.state["_definitions"] = tuple(kept)
            own = self._found.sources.get(ident)
            entries = frozenset[bytes]() if own is None else entries_of(bytes_of(own))
            pickled = self._found.states.dump(pool.state)
            self._made[ident] = encode_record(pool.number, pool.version, pickled, sorted(entries))

    def _called(self, ident: int) -> str:
        name = self._found.pools[ident].state.get("_name")
        return f"pool {ident}" if name is None else f"pool {name!r}"

    def _name_classes(self) -> None:
        for number in sorted(self._found.used - self._found.classes.keys()):
            self._found.classes[number] = f"lost:Class{number}"
            self._lose("class", number, f"the name of class {number} is lost: its items keep their "
                       f"bytes; salvage again with its name, --class {number}=module:Class")

    def _number_of(self, name: str) -> int:
        """The number of a class, which it gets if it has none."""
        for number, each in self._found.classes.items():
            if each == name:
                return number
        number = max([0, *self._found.classes, *self._found.used]) + 1
        self._found.classes[number] = name
        return number

    def _made_record(self, name: str, state: dict[str, Any]) -> bytes:
        return encode_record(self._number_of(name), 1, self._found.states.dump(state), ())

    # What is written

    def _record(self, ident: int) -> bytes | None:
        record = self._made.get(ident) or bytes_of(self._found.sources[ident])
        if ident in self._found.file_items:
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
        peeked = self._found.states.peek(record[at:])
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
        pickled = self._found.states.dump({**state, **measured})
        return encode_record(number, version, pickled, sorted(entries_of(record)))

    def _catalog(self) -> Iterator[tuple[bytes, bytes]]:
        for number, name in self._found.classes.items():
            yield CLASSES + number.to_bytes(4, "big"), name.encode()
        for ident, pool in self._found.pools.items():
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


