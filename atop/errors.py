"""What can go wrong, as one tree; each error says what to do next.

::

    AtopError
    ├── StoreError                  the folder, or the state that it is in
    │   ├── NotAStore               nothing that Atop made is at this path
    │   ├── NewerFormat             made by a newer Atop
    │   ├── DamagedStore            bytes on disk are not what was written
    │   ├── StoreBusy               somebody else has the store, or the writer's turn
    │   ├── StoreClosed             used after close(), or in a forked child
    │   ├── StorePermission         the file system does not let us
    │   ├── WrongKey                not the key of this store, or none, or one too many
    │   ├── StoreFull               no room left on the disk
    │   ├── StoreFailed             an I/O error: nothing is written until the disk works
    │   ├── StoreUnreachable        nobody answers, or no longer, at the store's address
    │   ├── CommitInDoubt           it cannot be found out whether a commit is in
    │   ├── ProtocolError           the other side does not speak as agreed
    │   └── ReadOnlyStore           opened with readOnly=True
    ├── TransactionError            the right call at the wrong moment
    │   ├── NoTransaction           a change outside a transaction
    │   ├── TransactionEnded        a transaction that is over, or not the innermost
    │   ├── WrongThread             a change from a thread that did not load the item
    │   ├── StaleValue              a list, dict or set that its item no longer holds
    │   ├── TransactionLost         its turn was lost before it could be committed
    │   ├── Conflict                others have changed what an optimistic transaction read
    │   │   ├── WriteConflict       found when it was committed
    │   │   └── ReadConflict        found when it read
    │   └── SnapshotTooOld          what the snapshot saw is no longer kept
    ├── NotFound (KeyError)         no such thing
    │   ├── NoSuchItem
    │   ├── NoSuchPool
    │   └── NoSuchIndex
    └── ValueRefused (ValueError)   a value that cannot be taken
        ├── IndexKeyError           it has no place in the order of keys
        ├── DuplicateKey            a unique index has that key already
        ├── IndexMismatch           the pool has another index of that name
        ├── NotStorable             it could not be loaded again
        ├── NotLoadable             the record asks for what is not allowed
        ├── NewerClass              the record was written by a newer version of its class
        ├── BrokenItem              the item's class could not be imported
        └── OtherStore              the item lives in another store
"""

from __future__ import annotations

from typing import Any


class AtopError(Exception):
    """The root of all errors that Atop raises on purpose."""


class StoreError(AtopError):
    """A store cannot be used as asked. ``path`` is its folder, or what is wrong in it."""

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class NotAStore(StoreError):
    """The path holds something that is not a store of Atop's."""


class NewerFormat(StoreError):
    """The store was written by a newer Atop."""


class DamagedStore(StoreError):
    """Bytes on disk are not what was written."""


class StoreBusy(StoreError):
    """Another process has the store, or another writer has the turn. ``pid`` is its process."""

    def __init__(self, message: str, path: str | None = None, pid: int | None = None) -> None:
        super().__init__(message, path)
        self.pid = pid


class StoreClosed(StoreError):
    """The store was closed, or belongs to the process that this one was forked from."""


class StorePermission(StoreError):
    """The file system does not permit what opening or writing the store needs."""


class WrongKey(StoreError):
    """The store is not encrypted with this key: with another one, or not at all."""


class StoreFull(StoreError):
    """The disk has no room. Nothing of the transaction was kept, all before it was."""


class StoreFailed(StoreError):
    """An I/O error: nothing is written until the disk works again; what was committed is kept."""


class StoreUnreachable(StoreError):
    """Nobody answers at the store's address, or whoever did has gone."""


class CommitInDoubt(StoreError):
    """The store went out of reach during a commit: it is in as a whole, or not at all."""


class ProtocolError(StoreError):
    """The other side of a connection does not speak as agreed, or not this version."""


class ReadOnlyStore(StoreError):
    """The store was opened with ``readOnly=True``, or its server lets us only read."""


class TransactionError(AtopError):
    """The right call at the wrong moment."""


class NoTransaction(TransactionError):
    """A change was made outside a transaction."""


class TransactionEnded(TransactionError):
    """A transaction was used that is over, or that is not the innermost one."""


class WrongThread(TransactionError):
    """An item was changed in a thread that did not load it."""


class StaleValue(TransactionError):
    """A list, dict or set was changed that its item no longer holds."""


class TransactionLost(TransactionError):
    """The transaction lost its turn, or its store's owner: nothing of it was kept."""


class Conflict(TransactionError):
    """Others have changed what an optimistic transaction has read. ``ids`` are of these items."""

    def __init__(self, message: str, ids: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.ids = tuple(ids)


class WriteConflict(Conflict):
    """What was read had changed when the transaction was to be committed; nothing was kept."""


class ReadConflict(Conflict):
    """What is to be read no longer fits what was read before: begin again."""


class SnapshotTooOld(TransactionError):
    """So much was committed since that what the snapshot saw is no longer kept."""


class NotFound(AtopError, KeyError):
    """There is no such thing; also a :class:`KeyError`. ``key`` is what was looked for."""

    def __init__(self, message: str, key: object = None) -> None:
        super().__init__(message)
        self.key = key

    def __str__(self) -> str:
        return str(self.args[0])


class NoSuchItem(NotFound):
    """No item has that id, or the one that had it was deleted."""


class NoSuchPool(NotFound):
    """The store has no pool of that name."""


class NoSuchIndex(NotFound):
    """The pool has no index of that name."""


class ValueRefused(AtopError, ValueError):
    """A value cannot be taken. ``value`` is the value, where there is one."""

    def __init__(self, message: str, value: object = None) -> None:
        super().__init__(message)
        self.value = value


class IndexKeyError(ValueRefused):
    """A value has no place in the order of index keys.

    ``value`` is the value, ``item`` the item that has it (``None`` for a query's bound), ``index``
    the name of the index.
    """

    def __init__(
        self, message: str, value: object = None, item: Any = None, index: str | None = None
    ) -> None:
        super().__init__(message, value)
        self.item = item
        self.index = index


class DuplicateKey(IndexKeyError):
    """A unique index already has the key ``value``, of the item whose id is ``other``."""

    def __init__(
        self, message: str, value: object, item: Any, index: str, other: int
    ) -> None:
        super().__init__(message, value, item, index)
        self.other = other


class IndexMismatch(ValueRefused):
    """The pool has an index of that name that is defined differently."""


class NotStorable(ValueRefused):
    """A value could not be loaded again, so it is not stored. ``item`` holds it."""

    def __init__(self, message: str, value: object = None, item: Any = None) -> None:
        super().__init__(message, value)
        self.item = item


class NotLoadable(ValueRefused):
    """A record asks for something that may not be loaded. ``value`` is its dotted name."""


class NewerClass(ValueRefused):
    """A record was written by a newer version of its class than this program has."""


class BrokenItem(ValueRefused):
    """The item's class could not be imported, so it cannot be changed."""


class OtherStore(ValueRefused):
    """The item lives in another store."""
