"""The items of a store, one by one: their records, index entries, references and files."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from typing import TYPE_CHECKING, BinaryIO

from atop.classes import Broken
from atop.engine.base import INDEX, ITEMS, Range, Row
from atop.engine.filefolder import FileFolder
from atop.engine.progress import Progress
from atop.errors import (
    DamagedStore,
    NewerClass,
    NotLoadable,
    StoreClosed,
    StoreError,
    StoreFailed,
    StoreUnreachable,
)
from atop.files import File
from atop.index import PoolPlan, pool_keys, pool_prefix
from atop.item import Item
from atop.objects import number
from atop.pool import Pool
from atop.records import Entries, decode_entries
from atop.report import Findings
from atop.session import Session

if TYPE_CHECKING:
    from atop.store import Store

_PAGE = 500
_CHUNK = 1 << 20
_LOST = "what it held, and all that refers to it"


class Reader(Session):
    """A session that has loaded nothing yet, and that knows where each item leads."""

    def __init__(self, store: Store) -> None:
        self.references: set[int] = set()
        super().__init__(store)

    def _dereference(self, reference: tuple[int, int]) -> Item:
        self.references.add(reference[0])
        return super()._dereference(reference)


class ItemCheck:
    """A walk over all items.

    ``entries`` counts the index rows that records say there are, ``missing`` those of them that
    are not there; ``pools`` has the pools by id.
    """

    def __init__(self, reader: Reader, findings: Findings, progress: Progress) -> None:
        self._reader = reader
        self._findings = findings
        self._progress = progress
        self._broken: Counter[str] = Counter()
        self._told: set[bytes] = set()
        self.items = self.files = self.entries = self.missing = self.last = 0
        self.pools: dict[int, Pool] = {}

    def run(self, expected: int) -> None:
        """Look at every item; `expected` is how many there should be."""
        rest = Range(limit=_PAGE)
        while rows := self._reader.view.scan(ITEMS, rest):
            self._page(rows)
            rest = rest.after(rows[-1][0])
            self._progress("items", self.items, max(self.items, expected))
        for problem, count in self._broken.items():
            self._findings.note(f"{count:,} items could not be looked into: {problem}")

    def describe(self, row: bytes) -> str:
        """Which index of which pool a row of the index is of, as far as it can be told."""
        key = row[1 : 1 + row[0]].rjust(8, b"\0")
        try:
            pool, plans = self._reader.item(key), self._reader.plan_at(key).plans
        except Exception:
            return f"an index of pool {number(key)}, which is no pool,"
        for plan in plans:
            if row.startswith(plan.prefix):
                return f"index {plan.index.name!r} of {pool!r}"
        return f"an index of {pool!r} that is gone"

    def _page(self, rows: list[Row]) -> None:
        carried: list[bytes] = []
        leads: dict[int, int] = {}
        for key, record in rows:
            self.items += 1
            self.last = number(key)
            try:
                entries = decode_entries(record)
            except DamagedStore as error:
                self._findings.damaged(f"item {self.last}: {error}", _LOST)
                continue
            carried += [entry + key for entry in entries]
            self._item(key, record, entries)
            leads.update(dict.fromkeys(self._reader.references, self.last))
            self._reader.references.clear()
        self._check_rows(sorted(carried))
        self._check_references(leads)

    def _item(self, key: bytes, record: bytes, entries: Entries) -> None:
        try:
            item = self._reader.build(key, record)
        except NotLoadable as error:
            self._broken[str(error)] += 1
            return
        except NewerClass as error:
            self._findings.note(str(error))
            return
        except StoreFailed:
            raise
        except Exception as error:
            self._findings.damaged(f"item {number(key)} cannot be loaded: {error}", _LOST)
            return
        problem = item.__dict__.get("_problem")  # which loads it, if it was only referred to
        if isinstance(item, Broken):
            self._broken[str(problem)] += 1
            return
        if isinstance(item, Pool):
            self.pools[number(key)] = item
        if isinstance(item, File):
            self._file(item)
        self._computed(item, entries)

    def _computed(self, item: Item, entries: Entries) -> None:
        """The entries that an item has are those that its pools' indexes ask for."""
        for pool_key in pool_keys(entries):
            plan = self._plan(item, pool_key)
            if plan is None:
                continue
            prefix = pool_prefix(pool_key)
            try:
                wanted = set(plan.entries(item))
            except StoreFailed:
                raise
            except Exception as error:
                self._findings.damaged(
                    f"{item!r}: its keys in pool {number(pool_key)} cannot be found: {error}",
                    "the item cannot be changed",
                    "give it a key that can be sorted, or drop the index",
                )
                continue
            for entry in {each for each in entries if each.startswith(prefix)} ^ wanted:
                self._differs(item, entry, lacks=entry in wanted)

    def _plan(self, item: Item, pool_key: bytes) -> PoolPlan | None:
        try:
            return self._reader.plan_at(pool_key)
        except StoreFailed:
            raise
        except Exception as error:
            if pool_key not in self._told:
                self._told.add(pool_key)
                self._findings.damaged(
                    f"{item!r} is in pool {number(pool_key)}, which is no pool: {error}",
                    "that pool, and every change of an item in it",
                )
            return None

    def _differs(self, item: Item, entry: bytes, *, lacks: bool) -> None:
        where = self.describe(entry)
        self._findings.damaged(
            f"{item!r} lacks an entry in {where} that its key asks for" if lacks
            else f"{item!r} has an entry in {where} that its key does not ask for",
            "it is found under another key than it has; a key that a method computes may have "
            "changed since",
            "change the item in a transaction, or drop the index and add it again",
        )

    def _check_rows(self, rows: list[bytes]) -> None:
        self.entries += len(rows)
        if not self._findings.index_readable:
            return
        for row, value in zip(rows, self._reader.view.getmany(INDEX, rows), strict=True):
            if value is None:
                self.missing += 1
                self._findings.damaged(
                    f"item {number(row[-8:])} has lost its row in {self.describe(row)}",
                    "queries of that index do not show the item; it is whole, and found by its id",
                    self._findings.repair,
                )

    def _check_references(self, leads: dict[int, int]) -> None:
        targets = list(leads)
        keys = [target.to_bytes(8, "big") for target in targets]
        found = self._reader.view.getmany(ITEMS, keys)
        for target, record in zip(targets, found, strict=True):
            if record is None:
                self._findings.note(
                    f"item {leads[target]} refers to item {target}, which was deleted"
                )

    def _file(self, item: File) -> None:
        self.files += 1
        wrong = _file_damage(self._reader.store.files, item)
        if wrong:
            self._findings.damaged(f"the file {item.name!r} ({wrong})", f"item {item.id}")


def _file_damage(files: FileFolder, item: File) -> str:
    ident = item.id or 0
    place = files.name(ident)
    try:
        with files.open(ident, item.size, item.sha256) as file:
            found = file.seek(0, os.SEEK_END)
            if found != item.size:
                return f"{place} has {found:,} bytes and should have {item.size:,}"
            file.seek(0)
            if _digest(file) != item.sha256:
                return f"the bytes of {place} are not those that were stored"
    except OSError as error:
        return f"{place} cannot be read: {error.strerror}"
    except (StoreUnreachable, StoreClosed, StoreFailed):
        raise
    except StoreError as error:
        return str(error)
    return ""


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()

