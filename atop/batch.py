"""Batch: what one flush of a transaction writes, all of it or nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Literal

from atop.classes import Broken
from atop.engine.base import INDEX, ITEMS, Range
from atop.errors import DamagedStore, NotStorable
from atop.index import PoolPlan, check_unique, pool_keys
from atop.item import Bond, Item, class_of, raw_dict, state_of
from atop.records import PLAIN, decode_entries, decode_header, encode_record, plain_record
from atop.session import Session
from atop.values import IMMUTABLE

if TYPE_CHECKING:
    from atop.transaction import Transaction

Membership = dict[bytes, list[bytes] | Literal[False] | None]
"""By pool, for an item that joined it: its entries, or ``None`` where they are to be computed
again; ``False`` for an item that left it."""

_ENTRY = (b"", False)


class Batch:
    """What one flush writes: records, and what they change in the index."""

    def __init__(
        self, transaction: Transaction, session: Session, members: dict[bytes, Membership]
    ) -> None:
        self._transaction = transaction
        self._session = session
        self._members = members
        self.waiting: dict[bytes, Item] = {}
        self.items: dict[bytes, Item] = {}
        self._records: dict[bytes, tuple[bytes | None, bool]] = {}
        self._unsettled: list[Item] = []
        self._removed: list[bytes] = []
        self._inserted: dict[bytes, tuple[bytes | None, bool]] = {}
        self._owners: dict[bytes, Item] = {}
        self._plans: dict[bytes, PoolPlan] = {}
        self._unique = False
        self._simple: dict[type[Item], tuple[int, int]] = {}

    def prepare(self) -> None:
        """Make the records of all that wait; pickling them may add more to the transaction."""
        waiting, self.waiting = self.waiting, {}
        self.items.update(waiting)
        stored = [key for key, item in waiting.items() if _bond(item).stored]
        records = self._transaction.overlay.getmany(ITEMS, stored) if stored else []
        old = dict(zip(stored, records, strict=True))
        for key, item in waiting.items():
            if key in old:
                self._prepare(key, item, old[key])
            else:
                entries = self._entries(key, item, ())
                self._records[key] = self._record(item, None, entries), False
                self._insert(key, item, entries)

    def check_unique(self) -> None:
        """Raise :class:`DuplicateKey` if a unique index would have a key twice."""
        overlay = self._transaction.overlay

        def rows_with(entry: bytes) -> list[bytes]:
            within = Range(entry, entry + b"\xff" * 9, limit=3)
            return overlay.keys(within)

        plans = [plan for pool in self._plans.values() if pool.unique for plan in pool.plans]
        check_unique(plans, self._owners, frozenset(self._removed), rows_with)

    def write(self) -> None:
        """Put it all into the overlay, which cannot fail."""
        overlay = self._transaction.overlay
        for row in self._removed:
            overlay.delete(INDEX, row)
        overlay.put_all(INDEX, self._inserted)
        overlay.put_all(ITEMS, self._records)
        for key, item in self.items.items():
            self._members.pop(key, None)
            _bond(item).stored = True
        for item in self._unsettled:
            self._session.watch.written(item, _bond(item))

    def _prepare(self, key: bytes, item: Item, old: bytes | None) -> None:
        assert old is not None
        had = decode_entries(old)
        entries = self._entries(key, item, had)
        record = self._record(item, old, entries)
        if record != old:
            self._records[key] = record, True
            self._removed += [entry + key for entry in had.difference(entries)]
            self._insert(key, item, had.symmetric_difference(entries) - had)

    def _insert(self, key: bytes, item: Item, entries: Iterable[bytes]) -> None:
        rows = self._inserted
        for entry in entries:
            rows[entry + key] = _ENTRY
        if self._unique:
            self._owners.update(dict.fromkeys([entry + key for entry in entries], item))

    def _record(self, item: Item, old: bytes | None, entries: Collection[bytes]) -> bytes:
        simple = self._simple.get(type(item))
        if simple is not None and not _bond(item).hidden:
            record = plain_record(*simple, raw_dict(item), entries)
            if record is not None:
                return record
        return self._record_with_care(item, old, entries)

    def _record_with_care(
        self, item: Item, old: bytes | None, entries: Collection[bytes]
    ) -> bytes:
        if isinstance(item, Broken):
            assert old is not None
            class_number, version, at = decode_header(old)
            return encode_record(class_number, version, old[at:], entries)
        cls = class_of(item)
        state = state_of(item)
        pickled = b""
        types = set(map(type, state.values()))
        plain = PLAIN.issuperset(types)
        if not plain:
            if not IMMUTABLE.issuperset(types):
                self._unsettled.append(item)
            pickled = self._session.store.dump(item, state, self._transaction.refer)
            self._check(item, pickled)
        of_class = self._transaction.class_number(cls), cls.classVersion
        if state is raw_dict(item):  # not what the class makes of it
            self._simple[cls] = of_class
        record = plain_record(*of_class, state, entries) if plain else None
        return encode_record(*of_class, pickled, entries) if record is None else record

    def _check(self, item: Item, pickled: bytes) -> None:
        """Make sure that it could be loaded again."""
        try:
            self._session.store.allowed.check_pickle(pickled)
        except DamagedStore as error:
            what = str(error).partition(", which Atop")[0].removeprefix("a record has ")
            raise NotStorable(f"{item!r} cannot be stored: it would have {what}", None, item
                              ) from error

    def _entries(self, key: bytes, item: Item, had: Iterable[bytes]) -> list[bytes]:
        """The entries that `item` is to have, each once, in an order that is always the same."""
        members = self._members.get(key)
        if not members and not had:
            return []
        if members and not had and len(members) == 1:
            ((pool_key, ready),) = members.items()
            plan = self._plan(pool_key)
            if ready and not plan.multiple:
                return ready
        members = members or {}
        pools = sorted(pool_keys(had) | members.keys()) if had else list(members)
        found: list[bytes] = []
        for pool_key in pools:
            ready = members.get(pool_key)
            if ready is False:
                continue
            plan = self._plan(pool_key)
            entries = plan.entries(item) if ready is None else ready
            found += dict.fromkeys(entries) if plan.multiple else entries
        return found

    def _plan(self, pool_key: bytes) -> PoolPlan:
        plan = self._plans.get(pool_key)
        if plan is None:
            plan = self._plans[pool_key] = self._session.plan_at(pool_key)
            self._unique = self._unique or plan.unique
        return plan


def _bond(item: Item) -> Bond:
    assert item._atop is not None
    return item._atop
