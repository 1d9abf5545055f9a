"""The process of one client: measures what it is asked to, and answers with figures.

It is started as ``python -m benchmarks.sharing_worker CONTENDER FOLDER``, and asked as in
``benchmarks/worker.py``. Times of day are those of the monotonic clock, which is one for all
processes.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import monotonic

from benchmarks.contacts import SEED, Contact, contacts
from benchmarks.contender import PAGE
from benchmarks.sharing_atop import AtopClient
from benchmarks.sharing_client import Client, pause
from benchmarks.sharing_durus import DurusClient
from benchmarks.sharing_zeo import ZeoClient
from benchmarks.worker import Figures, check, serve, timed

CLIENTS: dict[str, type[Client]] = {"atop": AtopClient, "zeo": ZeoClient, "durus": DurusClient}


class Workbench:
    """What is measured by one client. `items` is how many contacts there were at first."""

    def __init__(self, kind: type[Client], folder: Path) -> None:
        self._kind = kind
        self._folder = folder
        self._client: Client | None = None
        self._chance = random.Random(SEED)
        self._names: list[str] = []
        self._ids: list[int] = []
        self._more: Iterator[Contact] = iter(())

    def open(self, seed: int = SEED) -> Figures:
        """Connect. What is added one by one is different for each `seed`."""
        self._more = contacts(1 << 62, seed)
        self._connected()
        return {}

    def bulk(self, items: int) -> Figures:
        """Make the collection, and insert contacts that are in memory in one transaction."""
        client = self._connected()
        client.create()
        many = list(contacts(items))
        return {"bulk": timed(lambda: client.insert(many)) / items}

    def cold(self, items: int, repeat: int) -> Figures:
        """Pages and contacts, each read by a client that has just been opened."""
        self._learn(items)
        pages = [self._page(ahead=False) for _ in range(repeat)]
        ahead = [self._page(ahead=True) for _ in range(repeat)]
        gets = [self._gets() for _ in range(repeat)]
        self.close()
        return {"page": median(pages), "ahead": median(ahead), "get": median(gets)}

    def warm(self, items: int, repeat: int) -> Figures:
        """The same contacts again and again, in a new moment each time or in none."""
        self._learn(items)
        client, name = self._connected(), self._chance.choice(self._names)
        ids = self._chance.sample(self._ids, PAGE)

        def by_id() -> None:
            with client.moment():
                client.get(ids)

        def by_index() -> None:
            with client.moment():
                check(client.page_from(name) == PAGE)

        calls = {"warm": by_id, "warm_outside": lambda: client.get(ids), "again": by_index}
        return {figure: _repeated(call, repeat) / PAGE for figure, call in calls.items()}

    def commits(self, begin: float, seconds: float) -> Figures:
        """Add contacts one by one, from that time on and for so long."""
        client, count = self._connected(), 0
        time.sleep(max(0.0, begin - monotonic()))
        begun = monotonic()
        while monotonic() < begin + seconds:
            client.insert([next(self._more)])
            count += 1
        return {"a_second": count / (monotonic() - begun)}

    def change(self, first: int, count: int) -> Figures:
        """Set the mark to each number from `first` on; when had each been committed?"""
        client, times = self._connected(), {}
        for number in range(first, first + count):
            time.sleep(self._chance.uniform(0.004, 0.008))
            client.set_mark(number)
            times[str(number)] = monotonic()
        return times

    def watch(self, first: int, count: int) -> Figures:
        """When the mark was first seen at each number from `first` on, or beyond."""
        client, times = self._connected(), {}
        for number in range(first, first + count):
            while client.mark() < number:
                pause()
            times[str(number)] = monotonic()
        return times

    def work(self, flag: str) -> Figures:
        """Add contacts one by one, whatever happens to the process that serves them.

        Ends after the first commit that began after the time which the file `flag` tells.
        """
        client, killed = self._connected(), float("inf")
        for contact in self._more:
            if killed == float("inf") and Path(flag).exists():
                killed = float(Path(flag).read_text())
            begun = monotonic()
            _insist(client, contact)
            if begun >= killed:
                break
        return {"back": monotonic()}

    def close(self) -> Figures:
        """Disconnect."""
        if self._client is not None:
            self._client.close()
            self._client = None
        return {}

    def _learn(self, items: int) -> None:
        """Where pages begin, and the ids that there are; from a client that is then closed."""
        if not self._ids:
            self._names = sorted(contact.name for contact in contacts(items))[:-PAGE]
            client = self._connected()
            with client.moment():
                self._ids = client.ids()
            self.close()

    def _page(self, *, ahead: bool) -> float:
        name = self._chance.choice(self._names)
        with self._fresh() as client:
            return timed(lambda: check(client.page_from(name, ahead=ahead) == PAGE))

    def _gets(self) -> float:
        ids = self._chance.sample(self._ids, PAGE)
        with self._fresh() as client:
            return timed(lambda: client.get(ids)) / PAGE

    @contextmanager
    def _fresh(self) -> Iterator[Client]:
        """A client that has nothing in its cache; there is no other in this process."""
        self.close()
        try:
            yield self._connected()
        finally:
            self.close()

    def _connected(self) -> Client:
        if self._client is None:
            self._client = self._kind(self._folder)
        return self._client


def _repeated(call: Callable[[], None], times: int) -> float:
    """How many seconds one call takes, when it is not the first."""

    def often() -> None:
        for _ in range(times):
            call()

    call()
    return timed(often) / times


def _insist(client: Client, contact: Contact) -> None:
    while True:
        try:
            return client.insert([contact])
        except client.lost:
            client.recover()


if __name__ == "__main__":
    serve(Workbench(CLIENTS[sys.argv[1]], Path(sys.argv[2])))
