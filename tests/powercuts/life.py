"""One life of a store, recorded; and the places in it where the power can be cut."""

from __future__ import annotations

import shutil
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

from berkeleydb import db

from tests.powercuts.aftermath import Cut, LogEnd
from tests.powercuts.disk import Disk, File
from tests.powercuts.trace import Event, read_trace, record

_RARE = frozenset("rumt")
_LOG = "store.atop/environment/log."


@dataclass(frozen=True)
class Place:
    """After how many steps the power is cut, in which way; and where in the log, if that is set.

    ``log`` is how many bytes of the next step, a write to the log, are kept.
    """

    step: int
    cut: Cut
    log: int | None = None


class Life:
    """A recorded process: how its folder was in the beginning, and all it did there."""

    def __init__(self, folder: Path, start: Path | None, *, strict: bool = False) -> None:
        self.folder = folder
        self.strict = strict
        self.start = folder / "start"
        if start is None or not (start / "store.atop").exists():
            self.start.mkdir(parents=True)
        else:
            shutil.copytree(start / "store.atop", self.start / "store.atop")
        self.events: list[Event] = []

    @classmethod
    def recorded(cls, folder: Path, *, strict: bool = False) -> Life:
        """A life that another process has recorded in `folder`."""
        life = cls.__new__(cls)
        life.folder, life.start, life.strict = folder, folder / "start", strict
        life.events = list(read_trace(folder / "trace"))
        return life

    def live(self, recorder: Path, seed: int, steps: int, without: str = "") -> None:
        """Run the process; `without` names what it leaves undone."""
        run, trace = self.folder / "run", self.folder / "trace"
        shutil.copytree(self.start, run)
        record(recorder, run, trace, "tests.powercuts.work", run, seed, steps, without)
        self.events = list(read_trace(trace))
        shutil.rmtree(run)

    def places(self, chance: Random, count: int, torn_pages: bool) -> list[Place]:
        """Cuts in the order of time, a half of them near what happens rarely to files."""
        last = len(self.events)
        rare = [at for at, event in enumerate(self.events, 1)
                if event.kind in _RARE or (event.kind == "o" and event.offset)]
        steps = [
            min(last, max(0, chance.choice(rare) + chance.randint(-2, 4)))
            if number % 2 else chance.randint(0, last)
            for number in range(count)
        ]
        return [Place(step, Cut.drawn(chance, torn_pages)) for step in sorted(steps)]

    def boundaries(self, chance: Random, scratch: Path) -> tuple[int, list[Place]]:
        """How many records the log has; and cuts at the beginning of each, and within each."""
        scratch = scratch / "logs"
        scratch.mkdir()
        disk = Disk(self.start)
        logs: dict[str, File] = {}
        writes: list[tuple[int, str, Event]] = []
        for step, event in enumerate(self.events):
            disk.play(event)
            if event.kind == "o" and event.data.decode().startswith(_LOG):
                node = disk.node(event.handle)
                assert isinstance(node, File)
                logs[event.data.decode()] = node
            elif event.kind == "w":
                node = disk.node(event.handle)
                name = next((name for name, file in logs.items() if file is node), None)
                if name is not None and len(event.data) > 1:
                    writes.append((step, name, event))
        for name, file in logs.items():
            (scratch / Path(name).name).write_bytes(file.now())
        return _places(chance, writes, _records(scratch))


def _places(
    chance: Random, writes: list[tuple[int, str, Event]], records: dict[str, list[int]]
) -> tuple[int, list[Place]]:
    places = []
    boundaries = set()
    for step, name, event in writes:
        starts = records[name]
        end = event.offset + len(event.data)
        first, last = bisect_left(starts, event.offset), bisect_left(starts, end)
        for at, following in pairwise([*starts[first:last], end]):
            boundaries.add((name, at))
            places.append(Place(step, _any(chance), at - event.offset))
            if at < following - 1:
                within = chance.randint(at + 1, following - 1)
                places.append(Place(step, _any(chance), within - event.offset))
    assert len(boundaries) == sum(map(len, records.values())), "a record is not cut"
    return len(boundaries), places


def _any(chance: Random) -> Cut:
    return Cut(chance.choice(("mixed", "all", "nothing", "some")), "all", chance.getrandbits(48))


def _records(folder: Path) -> dict[str, list[int]]:
    """Where each record in the logs of `folder` begins, as Berkeley DB itself reads them."""
    environment = db.DBEnv()
    environment.open(str(folder), db.DB_CREATE | db.DB_PRIVATE | db.DB_INIT_LOG)
    found: dict[str, list[int]] = {}
    cursor = environment.log_cursor()
    row = cursor.first()
    while row:
        file, offset = row[0]
        found.setdefault(f"{_LOG}{file:010}", []).append(offset)
        row = cursor.next()
    cursor.close()
    environment.close()
    return found


def ends(life: Life, place: Place, disk: Disk) -> LogEnd | None:
    """Where the log is cut at a place that the disk has been brought to."""
    if place.log is None:
        return None
    event = life.events[place.step]
    file = disk.node(event.handle)
    assert isinstance(file, File)
    return LogEnd(file, event.offset, event.data[: place.log])


def replay(life: Life, places: list[Place]) -> Iterator[tuple[int, Place, Disk]]:
    """The disk at each place, with the place's number; it is one disk, that moves on."""
    disk = Disk(life.start, strict=life.strict)
    for number, place in enumerate(places):
        while disk.step < place.step:
            disk.play(life.events[disk.step])
        yield number, place, disk
