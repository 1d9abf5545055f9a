"""Moments: the store as it was after one commit, as the pages of one reader see it.

Items are read from their records, so that looking at a store makes no objects of its classes, runs
none of their code, and shows what is stored.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from atop.classes import Kind
from atop.engine.base import CATALOG, ITEMS, Range
from atop.engine.present import Snapshot
from atop.errors import (
    AtopError,
    DamagedStore,
    NoSuchIndex,
    NoSuchItem,
    NoSuchPool,
    NotFound,
    NotLoadable,
    SnapshotTooOld,
    ValueRefused,
)
from atop.files import File
from atop.index import Index, Plan, PoolPlan
from atop.pool import POOLS, Pool, pool_row
from atop.records import Entries, decode_entries, decode_header, loader
from atop.store import Store

KEPT = 8
IDLE_SECONDS = 600.0
_FIRST = 8
_MUCH = 1 << 20


class Reference(NamedTuple):
    """What stands in an item's state for another item."""

    id: int
    class_number: int


@dataclass(frozen=True, slots=True)
class Seen:
    """An item as its record tells: ``state`` has its attributes, ``size`` is in bytes.

    Where something is wrong with it ``problem`` says so, and the state is what is known. ``mark``
    tells this version from any other.
    """

    id: int
    kind: Kind
    version: int
    size: int
    state: dict[str, Any]
    entries: Entries = field(repr=False)
    problem: str = ""
    mark: str = ""

    @property
    def is_file(self) -> bool:
        return issubclass(self.kind.cls, File)

    @property
    def is_pool(self) -> bool:
        return issubclass(self.kind.cls, Pool)

    @property
    def class_label(self) -> str:
        """The name of the class alone, for people."""
        return self.kind.name.partition(":")[2] or self.kind.name


@dataclass(frozen=True, slots=True)
class PoolSeen:
    """A pool: its indexes, ready to be read."""

    id: int
    name: str
    plans: Sequence[Plan]

    def plan(self, name: str) -> Plan:
        """The index of that name.

        :raises NoSuchIndex: when there is none.
        """
        for plan in self.plans:
            if plan.index.name == name:
                return plan
        names = ", ".join(repr(plan.index.name) for plan in self.plans)
        raise NoSuchIndex(f"the pool {self.name!r} has no index {name!r}, only {names}", name)

    @property
    def once(self) -> Plan:
        """The first index in which each item stands once."""
        return next(plan for plan in self.plans if not plan.index.multiple)


class Moment:
    """The store after the commit ``serial``. One thread at a time may read it."""

    def __init__(self, store: Store, serial: int | None = None) -> None:
        self.view = Snapshot(store.engine, serial)
        self.serial = self.view.serial
        self._store = store
        self._load = loader(store.allowed, _reference)
        self.lock = threading.RLock()
        self.used = time.monotonic()

    @property
    def time(self) -> datetime | None:
        """When that commit was; ``None`` in a new store."""
        state = self.view.state
        return datetime.fromtimestamp(state.time, UTC) if state.serial else None

    def __len__(self) -> int:
        return self.view.state.counts[ITEMS]

    def pools(self) -> list[PoolSeen]:
        """The pools that have a name, sorted by it, as far as they can be read."""
        found = []
        for _, ident in self.view.scan(CATALOG, Range(POOLS, POOLS[:-1] + b"0")):
            seen = self._seen(ident)
            if seen is not None and seen.is_pool and not seen.problem:
                found.append(_pool(seen))
        return found

    def pool(self, name: str) -> PoolSeen:
        """The pool of that name.

        :raises NoSuchPool: when there is none.
        """
        ident = self.view.get(CATALOG, pool_row(name))
        seen = None if ident is None else self._seen(ident)
        if seen is None:
            raise NoSuchPool(f"{self._store.place} has no pool {name!r}", name)
        if seen.problem:
            raise DamagedStore(f"the pool {name!r} cannot be read: {seen.problem}")
        return _pool(seen)

    def pool_with(self, ident: int) -> PoolSeen | None:
        """The pool with that id, if there is one."""
        seen = self._seen(ident.to_bytes(8, "big"))
        return _pool(seen) if seen is not None and seen.is_pool and not seen.problem else None

    def item(self, ident: int) -> Seen:
        """The item with that id.

        :raises NoSuchItem: when there is none.
        """
        seen = self._seen(ident.to_bytes(8, "big")) if 0 <= ident < 1 << 63 else None
        if seen is None:
            raise NoSuchItem(f"no item has the id {ident}", ident)
        return seen

    def items(self, keys: Sequence[bytes]) -> Iterator[Seen | None]:
        """The items of these ids; ``None`` for what is gone. Large ones are read one by one."""
        at, many = 0, _FIRST
        while at < len(keys):
            some = keys[at : at + many]
            records = self.view.getmany(ITEMS, some)
            large = sum(len(record) for record in records if record) > _MUCH
            at, many = at + many, 1 if large else 2 * many
            for key, record in zip(some, records, strict=True):
                yield None if record is None else self.decode(key, record)

    def decode(self, key: bytes, record: bytes, *, marked: bool = False) -> Seen:
        """The item of that id whose record this is."""
        ident = int.from_bytes(key, "big")
        try:
            number, version, at = decode_header(record)
            entries = decode_entries(record)
            kind = self._store.classes.kind(number, self.view)
        except DamagedStore as error:
            return Seen(ident, _UNKNOWN, 0, len(record), {}, frozenset(), str(error))
        try:
            state, problem = self._load(record[at:]), kind.broken
        except (NotLoadable, DamagedStore) as error:
            state, problem = {}, str(error)
        mark = mark_of(record) if marked else ""
        return Seen(ident, kind, version, len(record), state, entries, problem, mark)

    def kind(self, number: int) -> Kind:
        """What is known of the class of that number."""
        try:
            return self._store.classes.kind(number, self.view)
        except DamagedStore as error:
            return Kind(f":class {number}", None, str(error))

    def class_name(self, number: int) -> str:
        """The class of that number, without its module."""
        return self.kind(number).name.partition(":")[2]

    def close(self) -> None:
        self.view.close()

    def _seen(self, key: bytes) -> Seen | None:
        record = self.view.get(ITEMS, key)
        return None if record is None else self.decode(key, record, marked=True)


class Moments:
    """The moments that readers look at, so that those who go on reading one find it again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Moment] = OrderedDict()

    @contextmanager
    def at(self, serial: int | None = None) -> Iterator[Moment]:
        """The moment after the commit `serial`, or after the last one.

        :raises SnapshotTooOld: when that is no longer kept.
        """
        moment = self._find(serial)
        with moment.lock:
            moment.used = time.monotonic()
            try:
                yield moment
            except (NotFound, ValueRefused):
                raise
            except AtopError:
                self._drop(moment)  # whatever went wrong, the next one may have more luck
                raise

    def close(self) -> None:
        """Let all of them go."""
        with self._lock:
            kept, self._kept = list(self._kept.values()), OrderedDict()
        for moment in kept:
            moment.close()

    def _find(self, serial: int | None) -> Moment:
        self._store.check_open()
        last = self._store.engine.serial
        wanted = last if serial is None else serial
        if wanted > last:
            raise SnapshotTooOld(f"there is no commit {wanted:,} yet, the last one is {last:,}")
        with self._lock:
            moment = self._kept.get(wanted)
            if moment is None:
                moment = Moment(self._store, wanted)
                moment = self._kept.setdefault(moment.serial, moment)
            self._kept.move_to_end(moment.serial)
            old = self._outdated()
        for each in old:
            each.close()
        return moment

    def _outdated(self) -> list[Moment]:
        limit = time.monotonic() - IDLE_SECONDS
        old = [each for each in self._kept.values() if each.used < limit]
        old += [each for each in list(self._kept.values())[:-KEPT] if each not in old]
        for each in old:
            del self._kept[each.serial]
        return old

    def _drop(self, moment: Moment) -> None:
        with self._lock:
            if self._kept.get(moment.serial) is moment:
                del self._kept[moment.serial]
        moment.close()


def mark_of(record: bytes | None) -> str:
    """What tells one version of an item, or that there is none, from another."""
    return "gone" if record is None else hashlib.sha256(record).hexdigest()


_UNKNOWN = Kind("", None, "its record cannot be read")


def _reference(reference: tuple[int, int]) -> Any:
    return Reference(*reference)


def _pool(seen: Seen) -> PoolSeen:
    numbered = [(at, Index(*rest)) for at, *rest in seen.state["_definitions"]]
    key = seen.id.to_bytes(8, "big")
    return PoolSeen(seen.id, str(seen.state.get("_name") or seen.id),
                    PoolPlan(key, numbered).plans)
