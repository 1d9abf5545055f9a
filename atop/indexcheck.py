"""The rows of the index, one by one: sorted, unique where they should be, each with its item."""

from __future__ import annotations

from atop.engine.base import ITEMS, Range
from atop.engine.progress import Progress
from atop.errors import DamagedStore
from atop.index import Index
from atop.itemcheck import ItemCheck, Reader
from atop.keys import encode
from atop.objects import number
from atop.records import decode_entries
from atop.report import Findings

_PAGE = 2000
_NONE = encode(None)


class IndexCheck:
    """A walk over all rows of the index, after one over all `items`.

    Where each row that the items' records name was found, and there are no more rows than these,
    every row belongs to its item. So rows are looked up one by one only if there are more.
    """

    def __init__(
        self, reader: Reader, items: ItemCheck, findings: Findings, progress: Progress
    ) -> None:
        self._view = reader.view
        self._items = items
        self._findings = findings
        self._progress = progress
        self._unique: dict[bytes, Index] = {
            plan.prefix: plan.index
            for pool in items.pools.values()
            for plan in reader.plan(pool).plans
            if plan.index.unique
        }
        self._prefixes = tuple(self._unique)

    def run(self, expected: int) -> int:
        """Look at every row, `expected` of them; answers how many there are."""
        rows = 0
        previous = b""
        rest = Range(limit=_PAGE)
        while page := self._view.keys(rest):
            self._check_order(previous, page)
            if self._prefixes:
                self._check_unique(previous, page)
            rows += len(page)
            previous = page[-1]
            rest = rest.after(previous)
            self._progress("index", rows, max(rows, expected))
        if rows != self._items.entries - self._items.missing:
            self._find_extra()
        return rows

    def _check_order(self, previous: bytes, page: list[bytes]) -> None:
        if page != sorted(page) or page[0] <= previous:
            self._findings.damaged(
                f"rows of {self._items.describe(page[0])} are not in order",
                "pools show items in the wrong order, or not at all",
                self._findings.repair,
            )

    def _check_unique(self, previous: bytes, page: list[bytes]) -> None:
        for row in page:
            if row[:-8] == previous[:-8] and row.startswith(self._prefixes):
                prefix = next(each for each in self._prefixes if row.startswith(each))
                if row[len(prefix) : -8] != _NONE:
                    self._findings.damaged(
                        f"items {number(previous[-8:])} and {number(row[-8:])} have the same key "
                        f"in the unique {self._items.describe(row)}",
                        "getIndexItem finds one of them only",
                        "change one of them in a transaction",
                    )
            previous = row

    def _find_extra(self) -> None:
        rest = Range(limit=_PAGE)
        while page := self._view.keys(rest):
            records = self._view.getmany(ITEMS, [row[-8:] for row in page])
            for row, record in zip(page, records, strict=True):
                if not _belongs(row, record):
                    self._tell(row, gone=record is None)
            rest = rest.after(page[-1])

    def _tell(self, row: bytes, *, gone: bool) -> None:
        ident = number(row[-8:])
        which = "which is gone" if gone else "which has no such entry"
        self._findings.damaged(
            f"{self._items.describe(row)} has a row for item {ident}, {which}",
            "queries of that index fail there" if gone else "the item is shown in a wrong place",
            self._findings.repair,
        )


def _belongs(row: bytes, record: bytes | None) -> bool:
    try:
        return record is not None and row[:-8] in decode_entries(record)
    except DamagedStore:
        return True  # told already
