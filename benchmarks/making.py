"""Measures that make a collection, or open one."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter

from benchmarks.bench import Bench
from benchmarks.contacts import Contact, contacts
from benchmarks.worker import Figures, peak_megabytes, timed

_BATCH = 1_000
_MEGABYTE = 1_000_000


class Making(Bench):
    """What is made anew, or opened."""

    _contacts: list[Contact]

    def bulk(self, items: int) -> Figures:
        """Insert all contacts of a new collection, which are in memory, in one transaction."""
        people = self._people(items)
        self._clear(items)
        empty = self.contender(items)
        seconds = timed(lambda: empty.insert(people))
        with_logs = self._size(items, ())
        self.close()
        size = self._size(items, self.kind.logs)
        self.contender(items).walk()  # what follows finds all pages in memory
        return {"bulk": seconds / items, "size_logs": with_logs, "size": size}

    def bulk_objects(self, items: int) -> Figures:
        """The same by a second way of inserting, where a contender has one."""
        insert = getattr(self.kind, "insert_objects", None)
        if insert is None:
            return {}
        people = self._people(items)
        self._clear(items)
        empty = self.contender(items)
        seconds = timed(lambda: insert(empty, people))
        self._clear(items)
        return {"bulk_objects": seconds / items}

    def build(self, items: int) -> Figures:
        """The same where the contacts are not in memory; called in a process of its own."""
        empty, made = self.contender(items), _Clocked(contacts(items))
        seconds = timed(lambda: empty.insert(made)) - made.seconds
        peak, with_logs = peak_megabytes(), self._size(items, ())
        self.close()
        return {
            "bulk": seconds / items, "build_peak": peak,
            "size_logs": with_logs, "size": self._size(items, self.kind.logs),
        }  # fmt: skip

    def index(self, items: int, drop: bool) -> Figures:
        """Add an index; `drop` it then."""
        contender = self.contender(items)
        self.cold(items)
        seconds = timed(contender.add_index)
        if drop:
            contender.drop_index()
        return {"index": seconds / items}

    def opening(self, items: int) -> Figures:
        """Open what was closed in order; called in a process of its own."""
        return {"open": timed(lambda: self.contender(items))}

    def fill_log(self, folder: str, megabytes: float) -> Figures:
        """Insert into a new collection in that folder until its log is that long; leave it open."""
        path = self.folder / folder
        contender = self.kind(path, checkpoints=False)
        more = contacts(1 << 62)
        while _megabytes(path, self.kind.logs or ("*",)) < megabytes:
            contender.insert(islice(more, _BATCH))
        self._unclosed = contender
        return {}

    def recover(self, folder: str) -> Figures:
        """Open that collection after a kill; called in a process of its own."""
        opened: list[object] = []
        seconds = timed(lambda: opened.append(self.kind(self.folder / folder)))
        return {"recovery": seconds}

    def singly(self, folder: str, count: int) -> Figures:
        """Insert contacts into a collection in that folder, in as many transactions."""
        contender = self.kind(self.folder / folder)
        for contact in contacts(count):
            contender.insert([contact])
        contender.close()
        return {}

    def _people(self, items: int) -> list[Contact]:
        if len(getattr(self, "_contacts", ())) != items:
            self._contacts = list(contacts(items))
            gc.freeze()
        return self._contacts

    def _clear(self, items: int) -> None:
        self.close()
        shutil.rmtree(self.path(items), ignore_errors=True)
        self.emptied(items)

    def _size(self, items: int, without: tuple[str, ...]) -> float:
        path = self.path(items)
        return _megabytes(path, ("*",)) - _megabytes(path, without)


class _Clocked:
    """Contacts, and the seconds that it took to make them."""

    def __init__(self, people: Iterable[Contact]) -> None:
        self.seconds = 0.0
        self._rest = iter(people)

    def __iter__(self) -> Iterator[Contact]:
        while True:
            begun = perf_counter()
            batch = list(islice(self._rest, _BATCH))
            self.seconds += perf_counter() - begun
            if not batch:
                return
            yield from batch


def _megabytes(path: Path, patterns: Iterable[str]) -> float:
    """What the files in a folder that match take on disk."""
    found = {file for pattern in patterns for file in path.rglob(Path(pattern).name)}
    return sum(file.stat().st_blocks * 512 for file in found if file.is_file()) / _MEGABYTE
