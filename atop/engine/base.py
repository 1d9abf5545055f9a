"""The seam between objects and bytes: what every engine does, and the terms it is told in.

An engine is a transactional, ordered map of bytes to bytes in a few named tables. It knows
nothing of items. Each read is atomic in itself and comes with the serial of the last commit that
it saw, so that a caller who needs several reads of one moment can tell whether they are.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, overload

from atop.errors import SnapshotTooOld

if TYPE_CHECKING:
    from atop.engine.reads import Reads

ITEMS = "items"
INDEX = "index"
CATALOG = "catalog"
TABLES = (CATALOG, INDEX, ITEMS)

ID_BYTES = 8
MAX_BYTES = 2**31 - 1
ALL = 1 << 30

Row = tuple[bytes, bytes]
JoinedRow = tuple[bytes, bytes | None]
Difference = tuple[bytes, bytes | None, bool]
BeforeImage = tuple[bytes, bytes | None, bool]
NewFile = tuple[int, str]


class Range(NamedTuple):
    """Which rows of a table to read: at most `limit` of those with ``low <= key < high``.

    ``None`` is no bound. The first `skip` rows are left out; with `reverse` the first is the one
    with the highest key. Both are for the table ``INDEX`` alone.
    """

    low: bytes | None = None
    high: bytes | None = None
    limit: int = ALL
    skip: int = 0
    reverse: bool = False

    @property
    def empty(self) -> bool:
        """Whether no table can have a row in it."""
        low, high, limit, _, _ = self
        return limit <= 0 or (low is not None and high is not None and low >= high)

    def after(self, key: bytes) -> Range:
        """Where to read on, in the same order, when `key` was the last one read."""
        if self.reverse:
            return Range(self.low, key, self.limit, 0, True)
        return Range(key + b"\0", self.high, self.limit)


@dataclass(frozen=True, slots=True)
class State:
    """What the last commit left: its ``serial``, the next free id, the rows of each table."""

    serial: int = 0
    next_id: int = 1
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    token: bytes = bytes(16)
    time: float = 0.0


class Changes(Sequence[Difference]):
    """The differences of one table in order of key, in columns.

    ``pairs`` has the new value of each of the ``keys``, ``None`` where it is deleted, and whether
    the table had it before; ``inserting`` tells that it had none of them.
    """

    __slots__ = ("inserting", "keys", "pairs")

    def __init__(
        self, keys: list[bytes], pairs: list[tuple[bytes | None, bool]], inserting: bool
    ) -> None:
        self.keys = keys
        self.pairs = pairs
        self.inserting = inserting

    @classmethod
    def of(cls, differences: Sequence[Difference]) -> Changes:
        """The same in columns."""
        if isinstance(differences, cls):
            return differences
        rows = list(differences)
        pairs = [(value, existed) for _, value, existed in rows]
        return cls([key for key, _, _ in rows], pairs, not any(pair[1] for pair in pairs))

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, at: int) -> Difference: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Difference]: ...
    def __getitem__(self, at: int | slice) -> Difference | Sequence[Difference]:
        if isinstance(at, slice):
            return list(self)[at]
        return (self.keys[at], *self.pairs[at])

    def __iter__(self) -> Iterator[Difference]:
        for key, (value, existed) in zip(self.keys, self.pairs, strict=True):
            yield key, value, existed


@dataclass(frozen=True, slots=True)
class Commit:
    """All that one transaction changes.

    ``changes`` has for each table its differences in order of key: the key, its new value or
    ``None`` where it is deleted, and whether the table had it before. ``files`` are new ones, each
    with its id and the name that it has in the folder of files; ``removed`` are ids of files.
    """

    state: State
    changes: Mapping[str, Sequence[Difference]]
    note: str = ""
    files: Sequence[NewFile] = ()
    removed: Sequence[int] = ()


class Landed(NamedTuple):
    """What an optimistic commit has left, and the keys of items that others changed before it."""

    state: State
    changed: list[bytes]


@dataclass(frozen=True, slots=True)
class Delta:
    """What one commit changed, seen backwards.

    ``before`` has for each table the key, the value that it had (``None`` where it had none) and
    whether it has one now. ``before`` itself is ``None`` where the commit was too large to keep.
    """

    serial: int
    before: dict[str, list[BeforeImage]] | None


def next_state(state: State, next_id: int, counts: dict[str, int]) -> State:
    """The state that a commit on top of `state` leaves, with a token of its own."""
    return State(state.serial + 1, next_id, counts, os.urandom(16), round(time.time(), 6))


class View(Protocol):
    """The tables as they are at one moment, or as a writer is about to make them.

    Counting, skipping and going backwards are for the table ``INDEX`` alone.
    """

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value of `key`, or ``None``."""

    def getmany(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`, in their order."""

    def scan(self, table: str, within: Range) -> list[Row]:
        """The rows `within` the range, in its order."""

    def keys(self, within: Range) -> list[bytes]:
        """The keys of a scan of ``INDEX``, whose rows have no values."""

    def count(self, low: bytes | None, high: bytes | None) -> int:
        """How many keys of ``INDEX`` are in ``low <= key < high``; ``None`` is no bound."""

    def join(self, within: Range, known: Container[bytes]) -> list[JoinedRow]:
        """A scan of ``INDEX``, each key with the record of the item that it ends in.

        The record is ``None`` for an item whose id is `known`: nobody needs it.
        """


class Turn(Protocol):
    """The one writer's turn: only who has it may spill and apply."""

    applied: bool
    """Whether the commit is in: to be asked when `apply` was cut short by any exception."""

    @property
    def engine(self) -> Engine:
        """What is read while the turn is held: it raises when the turn is lost."""

    @property
    def state(self) -> State:
        """The state that stands still for as long as the turn is held."""

    @property
    def ids(self) -> tuple[int, int]:
        """Ids for new items: the first, and the one after the last."""

    def more_ids(self) -> tuple[int, int]:
        """The same again, when the last ones are used up."""

    def working(self) -> None:
        """Tell that the turn is in use: one that seems forgotten may be lost to others."""

    @property
    def can_spill(self) -> bool:
        """Whether :meth:`spill` would free memory."""

    def spill(self, changes: Mapping[str, Sequence[Difference]]) -> None:
        """Apply a part of the coming commit early, to free memory; readers wait from here on."""

    def apply(self, commit: Commit, durable: bool) -> None:
        """Commit: all of it, or nothing. Returns when it is on disk, if `durable`.

        The turn is over afterwards, however it went.

        :raises TransactionLost: when the turn was lost before.
        :raises CommitInDoubt: when it cannot be found out whether it is in.
        """

    def release(self) -> None:
        """Give the turn up. What was spilled and not committed is undone."""


class Engine(ABC):
    """A store of bytes. All methods may be called from any thread."""

    @property
    @abstractmethod
    def state(self) -> State:
        """What the last commit left."""

    @property
    def serial(self) -> int:
        """The serial of the last commit: what costs least to ask."""
        return self.state.serial

    @abstractmethod
    def get(self, table: str, key: bytes) -> tuple[int, bytes | None]:
        """See :meth:`View.get`; with the serial at which the answer holds, as all reads are."""

    @abstractmethod
    def getmany(self, table: str, keys: Sequence[bytes]) -> tuple[int, list[bytes | None]]:
        """See :meth:`View.getmany`."""

    @abstractmethod
    def scan(self, table: str, within: Range) -> tuple[int, list[Row]]:
        """See :meth:`View.scan`."""

    def keys(self, within: Range) -> tuple[int, list[bytes]]:
        """See :meth:`View.keys`."""
        serial, rows = self.scan(INDEX, within)
        return serial, [key for key, _ in rows]

    @abstractmethod
    def count(self, low: bytes | None, high: bytes | None) -> tuple[int, int]:
        """See :meth:`View.count`."""

    @abstractmethod
    def join(self, within: Range, known: Container[bytes]) -> tuple[int, list[JoinedRow]]:
        """See :meth:`View.join`."""

    def foresee(self, within: Range, *, records: bool) -> None:  # noqa: B027 - most need not know
        """The caller will soon scan ``INDEX`` there, or join it with `records`."""

    @abstractmethod
    def commits(self, since: int) -> list[Delta]:
        """The commits after the one with serial `since`, oldest first.

        :raises SnapshotTooOld: when they are no longer all kept.
        """

    def changed(self, since: int) -> dict[str, list[bytes]]:
        """The keys, by table, that were changed after the commit `since`.

        :raises SnapshotTooOld: when that is no longer known.
        """
        found: dict[str, list[bytes]] = {}
        for delta in self.commits(since):
            if delta.before is None:
                raise SnapshotTooOld(f"commit {delta.serial} was too large to keep what it changed")
            for table, images in delta.before.items():
                found.setdefault(table, []).extend(key for key, _, _ in images)
        return found

    @abstractmethod
    def begin_snapshot(self, serial: int | None = None) -> int:
        """The serial now, or `serial`, if that is older.

        Until :meth:`end_snapshot` of what this answers, no file is removed that a later commit has
        deleted, and what a later commit has changed is kept, within bounds. If `serial` was in no
        snapshot, both may have gone before.
        """

    @abstractmethod
    def end_snapshot(self, serial: int) -> None:
        """A snapshot that was begun with that `serial` has ended."""

    @abstractmethod
    def state_at(self, serial: int) -> State:
        """What the commit `serial` left.

        :raises SnapshotTooOld: when that is no longer kept.
        """

    @abstractmethod
    def outcome(self, serial: int, token: bytes) -> bool | None:
        """Whether a commit from `serial` on has that token; ``None`` if that is no longer known."""

    @abstractmethod
    def reserve(self, count: int) -> int:
        """The first of `count` ids that nobody else gets."""

    @abstractmethod
    def give_back(self, first: int, end: int) -> None:
        """Ids that were reserved, from `first` up to `end`, are not needed."""

    @abstractmethod
    def writer(self, timeout: float) -> Turn:
        """Take the one writer's turn, over all threads and processes.

        :raises StoreBusy: when it has not come after `timeout` seconds.
        """

    def attempt(self, commit: Commit, reads: Reads, durable: bool, timeout: float) -> Landed:
        """Commit what was prepared without a turn, if what was read for it is still so.

        The serial of `commit` is the one after the moment at which that was read; its counts are
        the rows that it adds. Returns when it is on disk, if `durable`. Where another exception
        than these comes out, :meth:`outcome` tells whether it is in, once and for all.

        :raises WriteConflict: when others have changed what was read; nothing is kept.
        :raises StoreBusy: when the turn has not come after `timeout` seconds.
        """
        since = self.begin_snapshot(commit.state.serial - 1)
        try:
            turn = self.writer(timeout)
            try:
                landing, changed = reads.landing(self, commit)
                turn.apply(landing, durable)
            finally:
                turn.release()
        finally:
            self.end_snapshot(since)
        return Landed(landing.state, changed)

    @abstractmethod
    def close(self) -> None:
        """Let go of everything. A second call does nothing."""


def suffix(key: bytes) -> bytes:
    """The id of the item that a key of ``INDEX`` ends in."""
    return key[-ID_BYTES:]


def join_rows(
    keys: Sequence[bytes],
    known: Container[bytes],
    getmany: Callable[[list[bytes]], list[bytes | None]],
) -> list[JoinedRow]:
    """Keys of the index with the records of their items, got for those alone not `known`.

    Each id is looked for in `known` once: another thread may be changing it.
    """
    ids = [key[-ID_BYTES:] for key in keys]
    wanted = [None if item_id in known else item_id for item_id in ids]
    found = iter(getmany([item_id for item_id in wanted if item_id is not None]))
    return [
        (key, None if item_id is None else next(found))
        for key, item_id in zip(keys, wanted, strict=True)
    ]
