"""Store: a folder of items and files; opening, transactions, look-up."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from atop import care
from atop.care import Compacted, Stats
from atop.classes import ClassTable
from atop.engine.base import Engine, Range
from atop.engine.filefolder import FileFolder
from atop.engine.folder import Folder
from atop.engine.keeping import Keeper
from atop.engine.keyring import Keyring, Password, Secret
from atop.engine.link import Link
from atop.engine.progress import Progress
from atop.errors import (
    IndexMismatch,
    NoSuchItem,
    NotStorable,
    OtherStore,
    ReadOnlyStore,
    StoreClosed,
    ValueRefused,
)
from atop.files import File, Writer
from atop.index import Index
from atop.item import Item, class_of, is_ghost
from atop.objects import number
from atop.opening import Credentials, locate, open_ground
from atop.pool import POOLS, Pool, pool_row
from atop.records import Allowed, dump_state
from atop.running import begin, running, transact
from atop.session import Session
from atop.transaction import Transaction
from atop.values import IMMUTABLE, unguarded

if TYPE_CHECKING:
    from atop.report import Report

P = ParamSpec("P")
T = TypeVar("T")

CACHE_BYTES = 64 << 20
TIMEOUT = 10.0
_MISSING: Any = object()


class Store:
    """Items and files in the folder `path`, or in memory without one.

    `path` may also be the address of a server, ``atop://host:2972`` or ``atop+unix:///socket``.

    Opens the store, or creates it if there is none, and recovers it whenever that is needed.
    `cacheSize` is the page cache in bytes. Without `durable`, a commit returns before it is on
    disk. `allow` lists the classes of values that may be unpickled beside the standard ones.
    `timeout` is how many seconds a writer waits for its turn.

    With `optimistic`, a transaction takes no turn when it begins, so that nobody waits for a slow
    one: it is found out at its end whether others have changed what it read, and then it is rolled
    back with :class:`WriteConflict`. :meth:`transact` does it again then.

    With a `key` the store is made encrypted, and opens with that key only. It is a passphrase, or
    at least 32 random bytes. Without it, nobody can ever read the store again.

    A server is shown the `token`, or the certificate in the file `cert` with its `certKey`. It has
    to have a certificate of an authority that the system trusts, or of the one in the file `ca`.
    With `insecure` there is no TLS, which is possible on this machine alone.

    :raises NotAStore: when `path` holds something else.
    :raises WrongKey: when it is encrypted with another `key`, or has none.
    :raises StoreBusy: when another process has it.
    :raises StoreUnreachable: when nobody answers at an address.
    :raises StorePermission: when the server does not know the token.
    :raises DamagedStore: when its bytes are not what was written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        readOnly: bool = False,
        *,
        cacheSize: int = CACHE_BYTES,
        durable: bool = True,
        allow: Iterable[type] = (),
        timeout: float = TIMEOUT,
        optimistic: bool = False,
        key: str | bytes | None = None,
        token: str = "",
        ca: str | os.PathLike[str] | None = None,
        cert: str | os.PathLike[str] | None = None,
        certKey: str | os.PathLike[str] | None = None,
        insecure: bool = False,
    ) -> None:
        secret = None if key is None else Secret(key)
        del key
        token = Password(token or "")
        address, self.path = locate(path)
        self.url = None if address is None else str(address)
        self._closed = False
        self.readOnly = readOnly
        self.durable = durable
        self.timeout = timeout
        self.optimistic = optimistic
        self.allowed = Allowed((*allow, Index))
        self.classes = ClassTable()
        self._sessions = threading.local()
        ground = open_ground(
            address, self.path, secret, Credentials(token, ca, cert, certKey, insecure),
            read_only=readOnly, cache_bytes=cacheSize, timeout=timeout,
        )
        self.engine, self.files, self._link = ground.engine, ground.files, ground.link
        self._shut = weakref.finalize(self, _shut, self.engine, self.files)

    # Transactions

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A context in which changes are made: committed at its end, rolled back on an exception.

        Within another transaction it is a savepoint: rolled back by itself, and committed with
        the outer one.

        :raises StoreBusy: when another writer has not ended within the store's `timeout`.
        """
        return running(self, optimistic=self.optimistic)

    def begin(self) -> Transaction:
        """The same by hand: call ``commit()`` or ``abort()`` on what this returns."""
        return begin(self, optimistic=self.optimistic)

    def transact(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` returns, called in a transaction.

        When that is lost, or conflicts with others, it is rolled back and `call` is called again,
        so it should change nothing but the store. After some conflicts it takes the turn first, so
        that it gets through.
        """
        return transact(self, call, *args, **kwargs)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A context in which all that is read is from one moment; in a transaction, from its own.

        :raises SnapshotTooOld: from a read, when too much was committed meanwhile.
        """
        session = self.session()
        if session.transaction is not None or session.snapshot is not None:
            yield
            return
        session.begin_snapshot()
        try:
            yield
        finally:
            session.end_snapshot()

    # Items

    def add(self, item: Item) -> Any:
        """Put `item` into the store, in a transaction; returns it. In it already, it stays so."""
        transaction = self.session().writable(item, "being added")
        if isinstance(item, Item) and item.store is None:
            transaction.add(item)
        transaction.check_alive(item, self.session().bond(item))
        return item

    def delete(self, item: Item) -> None:
        """Take `item` out of the store and of all pools. References to it lead nowhere then.

        :raises NoSuchItem: when it is not in the store.
        """
        session = self.session()
        transaction = session.writable(item, "being deleted")
        bond = session.bond(item)
        if is_ghost(item):
            session.load(item, bond)
        class_of(item)._atop_removing(item, transaction, bond)
        transaction.delete(item, bond)

    def getItemByID(self, id: int | None, default: Any = _MISSING) -> Any:
        """The item with that id; the same object each time, in one thread.

        :raises NoSuchItem: when there is none, and no `default`.
        """
        try:
            item = self.session().item(cast(int, id).to_bytes(8, "big"))
        except (OverflowError, AttributeError):
            item = None
        if item is not None:
            return item
        if default is _MISSING:
            raise NoSuchItem(f"no item has the id {id!r}", id)
        return default

    def items(self, cls: type[Item] | None = None) -> Iterator[Any]:
        """Every item, or every one of class `cls`, by id."""
        session = self.session()
        rest = Range(limit=500)
        while rows := session.scan_items(rest):
            for key, record in rows:
                item = session.known(key)
                if item is None:
                    item = session.build(key, record)
                if cls is None or isinstance(item, cls):
                    yield item
            rest = rest.after(rows[-1][0])

    def __len__(self) -> int:
        return self.session().count_items()

    def __bool__(self) -> bool:
        return True

    def __contains__(self, id: object) -> bool:
        return isinstance(id, int) and self.getItemByID(id, None) is not None

    # Pools

    def pool(self, name: str, *indexes: Index | str) -> Pool:
        """The pool of that name; it is made if there is none, and so is any index it lacks.

        A bare name asks only that there is an index of that name. What has to be made is made in
        the current transaction, or in one of its own.

        :raises IndexMismatch: when it has an index of such a name that is defined otherwise.
        """
        found = self._find_pool(_checked(name, "a pool's name"))
        if found is None:
            return self._in_transaction(self._make_pool, name, *indexes)
        wanted = {each if isinstance(each, str) else each.name: each for each in indexes}
        for index in found.indexes:
            asked = wanted.pop(index.name, index.name)
            if isinstance(asked, Index) and asked != index:
                raise IndexMismatch(
                    f"pool {name!r} has {index}, not {asked}: drop it first, or ask for it by name",
                    asked,
                )
        if wanted:
            self._in_transaction(_add_indexes, found, wanted.values())
        return found

    def pools(self) -> list[Pool]:
        """All pools that have a name, sorted by it."""
        rows = self.session().scan_catalog(POOLS, POOLS[:-1] + b"0")
        return [self.getItemByID(number(value)) for _, value in rows]

    # Files

    def newFile(self, name: str) -> File:
        """A file to be written, in a transaction: ``with store.newFile("a.jpg") as f: ...``.

        `name` is what users call it; it is never used as a path.
        """
        self.session().writable(_checked(name, "a file's name"), "being made as a file")
        return File(name=name, _writer=Writer(self))

    # Care

    def backup(
        self, path: str | os.PathLike[str], progress: Progress | None = None
    ) -> None:
        """Copy the store, as it is at one moment, to the new folder `path`, itself a closed store.

        Readers and writers go on meanwhile. `path` is there, durably, when all of it is; it may be
        an empty folder before. `progress` is called with what is being copied, how much is done
        and of how much.

        :raises StoreError: for a store in memory, or when `path` is not empty or in the store.
        :raises DamagedStore: when the copy is not complete, because this store is not.
        :raises TransactionError: inside a transaction.
        """
        care.backup(self, path, progress)

    def verify(self, progress: Progress | None = None) -> Report:
        """A report of what the store holds, and of all that is damaged in it.

        Everything is read: pages, records, indexes, references, the bytes of files. Readers go on
        meanwhile; writers wait while the pages are looked at. `progress` is called with what is
        being verified, how much is done and of how much.

        :raises StoreBusy: when a writer has not ended within the store's `timeout`.
        :raises SnapshotTooOld: when too much was committed meanwhile.
        :raises TransactionError: inside a transaction.
        """
        from atop.verify import verify  # which no other call needs

        return verify(self, progress)

    def checkpoint(self) -> None:
        """Write to the tables what only the log has, and remove the logs not needed any more.

        It happens by itself whenever it is due, and at close.

        :raises ReadOnlyStore: in a store that was opened for reading only.
        :raises TransactionError: inside a transaction.
        """
        care.checkpoint(self)

    def compact(self, progress: Progress | None = None) -> Compacted:
        """Give unused room in the tables back; answers how many bytes that was.

        Readers and writers get their turn every few milliseconds. An index with keys of more than
        255 bytes is left out, and the answer says so. `progress` is called with a table's name, how
        much of it is done and of how much.

        :raises ReadOnlyStore: in a store that was opened for reading only.
        :raises TransactionError: inside a transaction.
        """
        return care.compact(self, progress)

    def changeKey(self, key: str | bytes) -> None:
        """Let the store be opened with `key` from now on, and no longer with the key that it has.

        Whoever has it open goes on. Backups made before keep the key that they had. It takes no
        time, as nothing is encrypted anew: who had both the old key and the file ``KEY`` may have
        kept what opens the store, which only a copy by `atopdb encrypt` shuts out.

        :raises WrongKey: when the store was made without a key.
        :raises ReadOnlyStore: in a store that was opened for reading only.
        :raises TransactionError: inside a transaction.
        """
        secret = Secret(key)
        del key
        care.change_key(self, secret)

    def stats(self) -> Stats:
        """How many and how much of everything the store has; costs next to nothing."""
        return care.stats(self)

    def close(self) -> None:
        """Close the store; a transaction that this thread has open is rolled back."""
        session = getattr(self._sessions, "session", None)
        while session is not None and session.transaction is not None:
            session.transaction.abort()
        self._closed = True
        self._shut()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = " closed" if self._closed else " read-only" if self.readOnly else ""
        return f"<Store {self.place}{state}>"

    # For the layers around

    @property
    def folder(self) -> Folder | None:
        """The store's folder, while this process owns it."""
        return self._link.owned if isinstance(self._link, Link) else None

    @property
    def keyring(self) -> Keyring | None:
        """The keys of a folder's store, if it is encrypted."""
        return self._link.keyring if isinstance(self._link, Link) else None

    @property
    def place(self) -> str:
        """Where the store is, for people."""
        return self.url or ("in memory" if self.path is None else str(self.path))

    @property
    def keeper(self) -> Keeper:
        """The care of the store."""
        return Keeper(self.files) if self._link is None else self._link.keeper

    def session(self) -> Session:
        """What the current thread has loaded."""
        session: Session | None = getattr(self._sessions, "session", None)
        if session is None or self._closed:
            self.check_open()
            session = self._sessions.session = Session(self)
            self._sessions.end = _ThreadEnd(session)
        return session

    def check_open(self) -> None:
        """Raise :class:`StoreClosed` in a store that was closed."""
        if self._closed:
            name = "the store in memory" if self.place == "in memory" else self.place
            raise StoreClosed(f"{name} is closed: open it again", name)

    def check_writable(self) -> None:
        """Raise :class:`ReadOnlyStore` in a store that was opened for reading only."""
        if self.readOnly:
            raise ReadOnlyStore(f"{self.place} was opened with readOnly=True: open it without",
                                self.place)

    def check_own(self, item: Item) -> None:
        """Raise :class:`OtherStore` for an item of another store."""
        if item.store is not self:
            raise OtherStore(f"{item!r} is in {item.store!r}, not in {self!r}: copy it", item)

    def dump(
        self, item: Item, state: dict[str, Any], refer: Callable[[Item], tuple[int, int]]
    ) -> bytes:
        """The pickle of an item's state.

        :raises NotStorable: naming the item and the attribute.
        """
        try:
            if not IMMUTABLE.issuperset(map(type, state.values())):
                state = unguarded(state)
            return dump_state(state, self.allowed, refer)
        except RecursionError as error:
            raise NotStorable(f"{item!r} is nested too deeply", None, item) from error
        except NotStorable as error:
            for name, value in state.items():
                try:
                    dump_state({name: value}, self.allowed, refer)
                except NotStorable as narrower:
                    raise NotStorable(
                        f"attribute {name!r} of {item!r} cannot be stored: {narrower}", value, item
                    ) from error
            raise

    def _find_pool(self, name: str) -> Pool | None:
        row = self.session().get_catalog(pool_row(name))
        return None if row is None else cast(Pool, self.getItemByID(number(row)))

    def _make_pool(self, name: str, *indexes: Index | str) -> Pool:
        return cast(Pool, self.add(Pool(*indexes, name=name)))

    def _in_transaction(self, call: Callable[..., T], *args: Any) -> T:
        if self.session().transaction is not None:
            return call(*args)
        return self.transact(call, *args)


def _checked(name: str, what: str) -> str:
    if not isinstance(name, str):
        raise ValueRefused(f"{what} is a str, not {name!r}", name)
    return name


class _ThreadEnd:
    """Goes with the thread whose session it has, and rolls back what that one left open."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __del__(self) -> None:
        with suppress(Exception):
            while self._session.transaction is not None:
                self._session.transaction.abort()


def _shut(engine: Engine, files: FileFolder) -> None:
    """Close what a store has open; called by close(), or when the store is dropped, or at exit."""
    engine.close()
    files.close()


def _add_indexes(pool: Pool, indexes: Iterable[Index | str]) -> None:
    for index in indexes:
        pool.addIndex(index)
