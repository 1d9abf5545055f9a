"""What is measured of one contender, whose clients all have the same collection."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic, sleep

from benchmarks.contacts import SEED
from benchmarks.sharing_host import Host
from benchmarks.worker import Figures

_AT_WORK = 2
_START = 0.1


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    ``items`` contacts; ``rounds`` that count, in each of which something is read ``repeat`` times,
    the mark changes ``changes`` times and commits are counted for ``seconds``; ``clients`` that
    commit at once; ``kills`` of the process that serves; ``idle`` clients.
    """

    items: int
    rounds: int
    repeat: int
    changes: int
    seconds: float
    clients: int
    kills: int
    idle: int

    @classmethod
    def whole(cls, items: int, rounds: int) -> Sizes:
        """Those of a run that counts."""
        return cls(items, rounds, 10, 50, 2.0, 8, 20, 500)

    @classmethod
    def quick(cls, items: int, rounds: int) -> Sizes:
        """Those of a run that shows that everything works."""
        return cls(items, rounds, 3, 5, 0.1, 2, 1, 3)


class Measures:
    """A collection that `host` serves to some clients, which are idle between measures."""

    def __init__(self, host: Host, sizes: Sizes) -> None:
        self._host = host
        self._sizes = sizes
        self._clients = [host.client() for _ in range(sizes.clients)]
        self._marked = 0
        self._chance = random.Random(SEED)
        self._clients[0].call("bulk", items=sizes.items)

    def cold(self) -> Figures:
        """What a new client reads."""
        return self._clients[0].call("cold", items=self._sizes.items, repeat=self._sizes.repeat)

    def warm(self) -> Figures:
        """What a client reads again; and what the owner does, where that is a client."""
        args = {"items": self._sizes.items, "repeat": 20 * self._sizes.repeat}
        figures = self._clients[1].call("warm", **args)
        if self._host.owner is not None:
            own = self._host.owner.call("warm", **args)
            figures |= {f"{figure}_owner": seconds for figure, seconds in own.items()}
        return figures

    def commits(self) -> Figures:
        """How long a transaction of one takes, as seen by all: by one client, and by several."""
        return {"commit": self._commit(1), "commits": self._commit(len(self._clients))}

    def seen(self) -> Figures:
        """How long after a commit returned to one client another sees it."""
        changes, watch = self._clients[0], self._clients[1]
        args = {"first": self._marked + 1, "count": self._sizes.changes}
        self._marked += self._sizes.changes
        watch.ask("watch", **args)
        sleep(_START)
        committed = changes.call("change", **args)
        seen = watch.answer()
        return {"seen": median(seen[number] - committed[number] for number in committed)}

    def idle(self) -> Iterator[Figures]:
        """What many idle clients cost the process that serves, and another client."""
        rounds = range(self._sizes.rounds)
        alone = [self.cold() for _ in rounds]
        before = self._host.megabytes()
        with self._host.idle(self._sizes.idle):
            yield {"idle_memory": self._host.megabytes() - before}
            beside = [self.cold() for _ in rounds]
        for one, other in zip(alone, beside, strict=True):
            yield {"page_alone": one["page"], "page_beside": other["page"]}

    def kills(self) -> Iterator[Figures]:
        """How long after the process that serves was killed all others are at work again."""
        flag = self._host.folder / "killed"
        slowest = 0.0
        for _ in range(self._sizes.kills):
            flag.unlink(missing_ok=True)
            others = self._host.others()[:_AT_WORK]
            for client in others:
                client.ask("work", flag=str(flag))
            sleep(self._chance.uniform(0.2, 0.4))
            killed = self._host.kill()
            _write_whole(flag, str(killed))
            outage = max(client.answer()["back"] for client in others) - killed
            slowest = max(slowest, outage)
            yield {"outage": outage}
            if self._host.owner is not None:
                self._host.client()  # in place of the one that was killed
        yield {"outage_worst": slowest}

    def _commit(self, clients: int) -> float:
        begin = monotonic() + _START
        for client in self._clients[:clients]:
            client.ask("commits", begin=begin, seconds=self._sizes.seconds)
        return 1 / sum(client.answer()["a_second"] for client in self._clients[:clients])


def _write_whole(path: Path, text: str) -> None:
    """Write `path` so that nobody sees half of it."""
    written = path.with_suffix(".new")
    written.write_text(text)
    written.rename(path)
