"""Pool: an item that keeps many items sorted by indexes, and is queried by key range."""

from __future__ import annotations

from collections.abc import Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar

from atop.engine.base import CATALOG
from atop.errors import IndexMismatch, NoSuchIndex, NoSuchItem, ValueRefused
from atop.index import Index, Plan, pool_prefix
from atop.item import Bond, Item
from atop.query import Bounds, Query

if TYPE_CHECKING:
    from atop.session import Session
    from atop.transaction import Transaction

_MISSING: Any = object()
_Definition = tuple[int, str, Any, bool, bool]


class Pool(Item):
    """Many items, sorted.

    Items live in the store, not in a pool: one item can be in many pools, or in none. A pool
    always has an index in which each of its items stands once; one without any is kept by id.
    """

    _name: str | None
    _definitions: tuple[_Definition, ...]
    _last: int

    classVersion: ClassVar[int] = 1

    def __init__(self, *indexes: Index | str, name: str | None = None) -> None:
        super().__init__(_name=name, _definitions=(), _last=0)
        for index in indexes:
            self._define(_index(index))
        self._complete()

    @property
    def name(self) -> str | None:
        """The name by which ``store.pool`` finds it, for good; ``None`` for a pool without one."""
        return self._name

    @property
    def indexes(self) -> tuple[Index, ...]:
        """The indexes, in the order in which they were added."""
        return tuple(index for _, index in self.numbered())

    def numbered(self) -> list[tuple[int, Index]]:
        """The indexes with their numbers."""
        return [(at, Index(*definition)) for at, *definition in self._definitions]

    def addItem(self, item: Item) -> None:
        """Put `item` into this pool, and into the store if it is in none; twice is as good as once.

        :raises IndexKeyError: when it has no place in an index; it is as it was, then.
        :raises DuplicateKey: when a unique index has its key already.
        """
        session, transaction = self._changing(item, "being added to a pool")
        added = isinstance(item, Item) and item.store is None
        bond = transaction.add(item) if added else session.bond(item)
        if not added and self._has(session, bond.key):
            return
        try:
            transaction.join(self, item, bond)
        except ValueRefused:
            if added:
                transaction.forget(item, bond)
            raise

    def removeItem(self, item: Item) -> None:
        """Take `item` out of this pool; it stays in the store.

        :raises NoSuchItem: when it is not in this pool.
        """
        session, transaction = self._changing(item, "being removed from a pool")
        if item not in self:
            raise NoSuchItem(f"{item!r} is not in {self!r}", item)
        transaction.leave(self, item, session.bond(item))

    def addIndex(self, index: Index | str) -> None:
        """Add an index, built from the items that are in the pool, in the same transaction.

        :raises IndexMismatch: when there is one of that name.
        :raises IndexKeyError: when an item has no place in it; the pool is as it was, then.
        """
        session, _ = self._changing(self, "getting an index")
        added = _index(index)
        if any(added.name == known.name for known in self.indexes):
            raise IndexMismatch(f"{self!r} has an index {added.name!r} already: drop it first")
        with session.store.transaction():
            members = self._order()
            self._define(added)
            self._rewrite(session, members)

    def dropIndex(self, name: str) -> None:
        """Remove an index.

        :raises NoSuchIndex: when there is none of that name.
        """
        session, _ = self._changing(self, "losing an index")
        number = self._plan(name).number
        with session.store.transaction():
            members = self._order()
            self._definitions = tuple(each for each in self._definitions if each[0] != number)
            self._complete()
            self._rewrite(session, members)

    def queryIndex(
        self,
        name: str,
        startKey: Any = None,
        endKey: Any = None,
        backwards: bool = False,
        prefix: Any = None,
        key: Any = _MISSING,
    ) -> Query:
        """The items with keys from `startKey` to `endKey`, both included, in order of key.

        ``None`` is no bound. With `backwards`, `startKey` is the high end. `prefix` is what a
        string or bytes begin with, or the first elements of a tuple; `key` is exactly that key,
        ``None`` included. Items with equal keys come in order of id.

        :raises NoSuchIndex: when the pool has no index of that name.
        :raises IndexKeyError: for a bound that no key can be compared with.
        """
        bounds = Bounds(self._plan(name))
        low, high = (endKey, startKey) if backwards else (startKey, endKey)
        if low is not None:
            bounds.at_least(low)
        if high is not None:
            bounds.at_most(high)
        if prefix is not None:
            bounds.beginning(prefix)
        if key is not _MISSING:
            bounds.at_least(key)
            bounds.at_most(key)
        return Query(self._of_thread, bounds, backwards)

    def getIndexItem(self, name: str, key: Any) -> Any:
        """The first item with that key.

        :raises NoSuchItem: when there is none.
        """
        for item in self.queryIndex(name, key=key)[:1]:
            return item
        raise NoSuchItem(f"{self!r} has no item with {name} {key!r}", key)

    def __contains__(self, item: object) -> bool:
        session = self._of_thread()
        if not isinstance(item, Item) or item._atop is None:
            return False
        return item.store is session.store and self._has(session, item._atop.key)

    def __len__(self) -> int:
        return len(self._order())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._order())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Pool {self.name or self.id!r}>"

    def _order(self) -> Query:
        """All items, by the first index in which each stands once."""
        plan = next(plan for plan in self._plans() if not plan.index.multiple)
        return Query(self._of_thread, Bounds(plan), False)

    def _plans(self) -> list[Plan]:
        return self._of_thread().plan(self).plans

    def _plan(self, name: str) -> Plan:
        for plan in self._plans():
            if plan.index.name == name:
                return plan
        names = ", ".join(repr(index.name) for index in self.indexes)
        raise NoSuchIndex(f"{self!r} has no index {name!r}, only {names}; add it with addIndex",
                          name)

    def _has(self, session: Session, key: bytes) -> bool:
        transaction = session.transaction
        joined = transaction.is_member(self, key) if transaction is not None else None
        if joined is not None:
            return joined
        assert self._atop is not None
        prefix = pool_prefix(self._atop.key)
        return any(entry.startswith(prefix) for entry in session.entries(key))

    def _define(self, index: Index) -> None:
        if any(index.name == name for _, name, *_ in self._definitions):
            raise IndexMismatch(f"two indexes are named {index.name!r}")
        self._last += 1
        definition = (self._last, index.name, index.key, index.unique, index.multiple)
        self._definitions = (*self._definitions, definition)

    def _complete(self) -> None:
        if all(multiple for *_, multiple in self._definitions):
            self._define(Index("id"))

    def _rewrite(self, session: Session, members: Query) -> None:
        """Give all members the entries that the pool's indexes now ask for."""
        for item in members:
            assert session.transaction is not None
            session.transaction.changing(item, session.bond(item))

    def _changing(self, thing: object, doing: str) -> tuple[Session, Transaction]:
        session = self._of_thread()
        return session, session.writable(thing, doing)

    def _of_thread(self) -> Session:
        bond = self._atop
        if bond is not None and bond.session.thread == get_ident() and not bond.gone:
            return bond.session
        store = self.store
        if store is None:
            raise ValueRefused(f"{self!r} is in no store: add it to one first", self)
        return store.session()

    def _atop_added(self, transaction: Transaction, bond: Bond) -> None:
        if self._name is not None:
            row = pool_row(self._name)
            if transaction.overlay.get(CATALOG, row) is not None:
                raise ValueRefused(
                    f"there is a pool {self._name!r} already: get it with store.pool", self._name
                )
            transaction.overlay.put(CATALOG, row, bond.key, existed=False)

    def _atop_forgotten(self, transaction: Transaction, bond: Bond) -> None:
        if self._name is not None:
            row = pool_row(self._name)
            if transaction.overlay.get(CATALOG, row) == bond.key:
                transaction.overlay.delete(CATALOG, row)

    def _atop_removing(self, transaction: Transaction, bond: Bond) -> None:
        session = bond.session
        for item in self._order():
            transaction.leave(self, item, session.bond(item))
        transaction.flush()
        self._atop_forgotten(transaction, bond)


def pool_row(name: str) -> bytes:
    """The key in the table ``catalog`` of the pool of that name."""
    return POOLS + name.encode("utf-8", "surrogatepass")


POOLS = b"pool/"


def _index(index: Index | str) -> Index:
    return index if isinstance(index, Index) else Index(index)
