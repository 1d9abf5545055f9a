"""Which lives are recorded and where they are cut, in several processes."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.powercuts.aftermath import Cut
from tests.powercuts.cutting import Result, cut_all
from tests.powercuts.life import Life, Place, replay
from tests.powercuts.trace import build_recorder

_CUTS_OF_A_LIFE = 500
_RECORDS_OF_A_STEP = 140
_AT_ONCE = 5000


@dataclass(frozen=True)
class Plan:
    """How many cuts in how many processes, and of what kind.

    With ``records`` one life is cut at every record of its log, or at ``cuts`` of them, evenly.
    ``steps`` is how long a life is, and ``without`` what is left out in it, for cuts to find.
    """

    cuts: int
    seed: int
    jobs: int = 2
    torn_pages: bool = False
    strict_names: bool = False
    keep: Path | None = None
    records: int = 0
    steps: int = 60
    without: str = ""


def run(plan: Plan, base: Path) -> Result:
    """All the cuts; `base` is a folder to work in."""
    build_recorder(base)
    job: Callable[[tuple[Plan, Path, int]], Result] = _random_cuts
    if plan.records:
        job = _boundaries
        _long_life(plan, base)
    total = Result()
    with multiprocessing.get_context("fork").Pool(plan.jobs) as pool:
        for result in pool.imap_unordered(job, [(plan, base, n) for n in range(plan.jobs)]):
            total.add(result)
    return total


def _random_cuts(job: tuple[Plan, Path, int]) -> Result:
    plan, base, number = job
    chance = Random(f"{plan.seed}/{number}")
    scratch = base / f"scratch{number}"
    scratch.mkdir()
    result = Result()
    wanted = plan.cuts // plan.jobs
    start: Path | None = None
    lives = 0
    while result.total < wanted:
        life = Life(base / f"{number}-{lives}", start, strict=plan.strict_names)
        lives += 1
        try:
            life.live(base / "recorder.so", chance.getrandbits(32), plan.steps, plan.without)
        except RuntimeError as error:
            if start is None:
                raise
            result.wrong.append({"what": str(error), "life": life.folder.name})
            if plan.keep:
                shutil.copytree(life.folder, plan.keep / life.folder.name)
            start = None
            continue
        count = min(_CUTS_OF_A_LIFE, wanted - result.total)
        places = life.places(chance, count, plan.torn_pages)
        result.add(cut_all(life, places, scratch, plan.keep))
        start = _next_start(life, chance, scratch)
        shutil.rmtree(life.folder)
        _progress(number, result)
    return result


def _next_start(life: Life, chance: Random, scratch: Path) -> Path | None:
    """What the next life begins with: nothing, or what a cut in this one has left."""
    target = scratch / "start"
    shutil.rmtree(target, ignore_errors=True)
    if chance.random() < 0.25:
        return None
    place = Place(chance.randint(len(life.events) // 2, len(life.events)), Cut.drawn(chance))
    for _, _, disk in replay(life, [place]):
        place.cut.leave(disk, target)
    return target


def _long_life(plan: Plan, base: Path) -> None:
    """Record one with as many records as are wanted; how many a step makes is not known before."""
    steps = max(8, plan.records // _RECORDS_OF_A_STEP)
    while True:
        life = Life(base / "long", None, strict=plan.strict_names)
        life.live(base / "recorder.so", plan.seed, steps)
        (base / "count").mkdir()
        records, _ = life.boundaries(Random(plan.seed), base / "count")
        shutil.rmtree(base / "count")
        if records >= plan.records:
            return
        shutil.rmtree(life.folder)
        steps += max(8, steps // 4)


def _boundaries(job: tuple[Plan, Path, int]) -> Result:
    """One job's share of the cuts: every so many places."""
    plan, base, number = job
    scratch = base / f"scratch{number}"
    scratch.mkdir()
    life = Life.recorded(base / "long", strict=plan.strict_names)
    result = Result()
    records, places = life.boundaries(Random(plan.seed), scratch)
    if not number:
        result.records = records
    if plan.cuts:
        places = places[:: max(1, len(places) // plan.cuts)]
    share = places[number :: plan.jobs]
    for first in range(0, len(share), _AT_ONCE):
        result.add(cut_all(life, share[first : first + _AT_ONCE], scratch, plan.keep))
        _progress(number, result)
    return result


def _progress(number: int, result: Result) -> None:
    print(f"job {number}: {result.total:,} cuts, {len(result.wrong)} wrong", flush=True)
