"""The process of one contender: measures what it is asked to, and answers with figures.

It is started as ``python -m benchmarks.worker CONTENDER FOLDER``, reads a call a line and answers
each with a line, all in JSON. Figures are by name: seconds, or megabytes.
"""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from pickle import dumps
from statistics import median
from time import perf_counter
from typing import Any, Protocol

from benchmarks.contacts import SEED, Contact, contacts
from benchmarks.contender import PAGE, Contender
from benchmarks.with_atop import WithAtop
from benchmarks.with_berkeleydb import WithBerkeleyDB
from benchmarks.with_sqlite3 import WithSQLite

CONTENDERS: dict[str, type[Contender]] = {
    "atop": WithAtop,
    "berkeleydb": WithBerkeleyDB,
    "sqlite3": WithSQLite,
}

Figures = dict[str, float]


class Workbench:
    """What is measured. ``items`` says which collection: that of so many contacts."""

    def __init__(self, kind: type[Contender], folder: Path) -> None:
        self._kind = kind
        self._folder = folder
        self._open: dict[int, Contender] = {}
        self._contacts: list[Contact] = []
        self._more = contacts(1 << 62, SEED + 1)
        self._chance = random.Random(SEED)

    def bulk(self, items: int) -> Figures:
        """Insert all contacts of a new collection, which are in memory, in one transaction."""
        if len(self._contacts) != items:
            self._contacts = list(contacts(items))
            gc.freeze()
        self.close()
        shutil.rmtree(self._path(items), ignore_errors=True)
        empty = self._contender(items)
        seconds = timed(lambda: empty.insert(self._contacts))
        self.close()
        self._contender(items).walk()  # what follows finds all pages in memory
        return {"bulk": seconds / items}

    def build(self, items: int) -> Figures:
        """The same where the contacts are not in memory; called in a process of its own."""
        empty = self._contender(items)
        seconds = timed(lambda: empty.insert(contacts(items)))
        peak = peak_megabytes()
        self.close()
        return {"build": seconds / items, "build_peak": peak}

    def get(self, items: int, count: int) -> Figures:
        """Get contacts by id, in random order: each for the first time, then all again."""
        contender = self._contender(items)
        ids = self._chance.sample(range(1, items + 1), count)
        contender.forget()
        return {
            "get_cold": timed(lambda: contender.get(ids)) / count,
            "get_warm": timed(lambda: contender.get(ids)) / count,
        }

    def pages(self, items: int, count: int) -> Figures:
        """Load pages that begin with random names, no two the same; then all of them again."""
        contender = self._contender(items)
        places = self._chance.sample(range(items // PAGE), count)
        names = [contender.name_at(place * PAGE) for place in places]
        contender.forget()
        return {
            "pages_cold": timed(lambda: contender.pages_from(names)) / count / PAGE,
            "pages_warm": timed(lambda: contender.pages_from(names)) / count / PAGE,
        }

    def places(self, sizes: dict[str, int], repeat: int) -> Figures:
        """Pages, counts and positions at both ends of collections of several sizes."""
        found: dict[str, list[float]] = {}
        for number in range(repeat):
            for size, items in sizes.items():
                contender = self._contender(items)
                ends = {"first": 0, "last": items - 1}
                for end in sorted(ends, reverse=number % 2 > 0):
                    for name, seconds in self._place(contender, items, ends[end]).items():
                        found.setdefault(f"{name}_{end}_{size}", []).append(seconds)
        return {name: median(seconds) for name, seconds in found.items()}

    def durable(self, items: int, repeat: int) -> Figures:
        """One transaction for one contact; and between each two, one synced write to a file."""
        contender = self._contender(items)
        commits, writes = [], []
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(self._folder / "written", flags, 0o600)
        for contact in (next(self._more) for _ in range(repeat)):
            same_bytes = stored_bytes(contact)
            writes.append(timed(lambda: write_synced(descriptor, same_bytes)))  # noqa: B023
            commits.append(timed(lambda: contender.insert([contact])))  # noqa: B023
        os.close(descriptor)
        return {"durable": median(commits), "write": median(writes)}

    def commits(self, items: int, count: int) -> Figures:
        """Transactions of one contact, which do not wait for the disk; beside a snapshot or not."""
        self.close()
        contender = self._kind(self._path(items), durable=False)
        try:
            figures = {"commit": self._commit(contender, count)}
            held = contender.snapshot()
            if held is not None:
                with held:
                    figures["commit_held"] = self._commit(contender, count)
            return figures
        finally:
            contender.close()

    def opening(self, items: int) -> Figures:
        """Open what was closed in order; called in a process of its own."""
        return {"open": timed(lambda: self._contender(items))}

    def walk(self, items: int) -> Figures:
        """Load every contact in order of name; called in a process of its own."""
        contender = self._contender(items)
        seconds = timed(lambda: check(contender.walk() >= items))
        return {"walk": seconds / items, "walk_peak": peak_megabytes()}

    def close(self) -> Figures:
        """Close all that is open."""
        while self._open:
            self._open.popitem()[1].close()
        return {}

    def _place(self, contender: Contender, items: int, place: int) -> Figures:
        name = contender.name_at(place)
        offset = min(place, items - PAGE)
        contender.forget()
        return {
            "page": timed(lambda: check(contender.page_at(offset) == PAGE)),
            "position": timed(lambda: check(contender.position(name) <= place)),
            "count": timed(lambda: check(contender.count() >= items)),
        }

    def _commit(self, contender: Contender, count: int) -> float:
        added = [next(self._more) for _ in range(count)]
        return timed(lambda: [contender.insert([contact]) for contact in added]) / count

    def _contender(self, items: int) -> Contender:
        if items not in self._open:
            self._open[items] = self._kind(self._path(items))
        return self._open[items]

    def _path(self, items: int) -> Path:
        return self._folder / str(items)


def timed(call: Callable[[], object]) -> float:
    """How many seconds `call` takes."""
    begun = perf_counter()
    call()
    return perf_counter() - begun


def check(right: bool) -> None:
    """A figure for a wrong answer is worth nothing."""
    if not right:
        raise AssertionError("the contender gave a wrong answer")


def stored_bytes(contact: Contact) -> bytes:
    """What has to be stored of a contact: its pickle and its three keys."""
    keys = (contact.name.encode(), contact.email.encode(), contact.born.to_bytes(4, "big"))
    return dumps(contact._asdict(), 5) + b"".join(keys)


def write_synced(descriptor: int, data: bytes) -> None:
    """Append `data` to a file; return when it is on disk."""
    os.write(descriptor, data)
    os.fdatasync(descriptor)


def peak_megabytes() -> float:
    """The most memory that this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage() would count what the parent had when it forked
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


class Closable(Protocol):
    """A workbench, whose other methods are what it can be asked for."""

    def close(self) -> Figures: ...


def serve(workbench: Closable) -> None:
    """Answer calls until there are no more."""
    for line in sys.stdin:
        name, args = json.loads(line)
        gc.collect()
        measure: Callable[..., Any] = getattr(workbench, name)
        print(json.dumps(measure(**args)), flush=True)
    workbench.close()


if __name__ == "__main__":
    serve(Workbench(CONTENDERS[sys.argv[1]], Path(sys.argv[2])))
