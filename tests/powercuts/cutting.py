"""Cutting the power in a life: each place in turn, in a child process that may die of it."""

from __future__ import annotations

import json
import logging
import os
import select
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from atop.errors import DamagedStore
from tests.powercuts.life import Life, Place, ends, replay
from tests.powercuts.recovered import Promises, Wrong, check, check_all, start_anew

_PATIENCE = 60
_ALL_CHECKED = 0.004


@dataclass
class Result:
    """What came of cuts: how many of each kind, what went wrong, and the times in seconds.

    ``reported`` counts how what was set aside was reported: quietly, or as a loss.
    """

    cuts: Counter[str] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0
    reported: Counter[str] = field(default_factory=Counter)
    records: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many cuts there were."""
        return self.cuts.total()

    def add(self, other: Result) -> None:
        """Both together."""
        self.cuts += other.cuts
        self.wrong += other.wrong
        self.refused += other.refused
        self.reported += other.reported
        self.records += other.records
        self.seconds += other.seconds


def cut_all(life: Life, places: list[Place], scratch: Path, keep: Path | None) -> Result:
    """Cut the power at each place. States that went wrong are copied into `keep`."""
    result = Result()
    done = 0
    while done < len(places):
        done = _cut_some(life, places, done, scratch, keep, result)
    return result


def _cut_some(
    life: Life, places: list[Place], first: int, scratch: Path, keep: Path | None, result: Result
) -> int:
    """Cut from the place number `first` on until the child ends; answers where to go on."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _in_child(life, places, first, scratch, lambda line: os.write(writer, line))
    os.close(writer)
    number = first
    with os.fdopen(reader) as lines:
        while line := _line(lines, child):
            told = json.loads(line)
            number = told["number"] + 1
            _note(told, places, result)
            if "wrong" in told:
                _keep(life, places[told["number"]], keep)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status and number < len(places):
        _note({"number": number, "wrong": f"the process ended with {status}"}, places, result)
        _keep(life, places[number], keep)
        number += 1
    return number if status else len(places)


def _line(lines: Any, child: int) -> str:
    """The next line; a child that says nothing for long is killed."""
    if not select.select([lines], [], [], _PATIENCE)[0]:
        os.kill(child, signal.SIGKILL)
    return str(lines.readline())


def _note(told: dict[str, Any], places: list[Place], result: Result) -> None:
    place = places[told["number"]]
    result.cuts["log" if place.log is not None else place.cut.kept] += 1
    if "wrong" in told:
        result.wrong.append({"what": told["wrong"], **asdict(place)})
    if "seconds" in told:
        result.seconds.append(told["seconds"])
    result.refused += told.get("refused", 0)
    if told.get("reported"):
        result.reported[told["reported"]] += 1


def _keep(life: Life, place: Place, keep: Path | None) -> None:
    """Make in `keep` once more what there was after the cut."""
    if keep is not None:
        target = keep / f"{life.folder.name}-{place.step}-{place.cut.seed:x}"
        for _, _, disk in replay(life, [place]):
            place.cut.leave(disk, target, ends(life, place, disk))


def _in_child(
    life: Life, places: list[Place], first: int, scratch: Path, tell: Callable[[bytes], object]
) -> None:
    logging.getLogger("atop").setLevel(logging.CRITICAL)
    try:
        promises = Promises(life.events)
        for number, place, disk in replay(life, places):
            if number < first:
                continue
            told: dict[str, Any] = {"number": number}
            shutil.rmtree(scratch / "cut", ignore_errors=True)
            place.cut.leave(disk, scratch / "cut", ends(life, place, disk))
            begun = time.perf_counter()
            try:
                told["reported"] = _check(scratch / "cut", promises, place)
            except DamagedStore as error:
                if place.cut.torn_pages or life.strict:
                    told["refused"] = 1
                else:
                    told["wrong"] = f"refused: {error}"
            except Wrong as error:
                told["wrong"] = str(error)
            except Exception:
                told["wrong"] = traceback.format_exc()
            told["seconds"] = time.perf_counter() - begun
            tell(json.dumps(told).encode() + b"\n")
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)


def _check(folder: Path, promises: Promises, place: Place) -> str:
    chance = Random(place.cut.seed)
    path = folder / "store.atop"
    start_anew(path)
    reported = check(path, promises.until(place.step), chance)
    if chance.random() < _ALL_CHECKED:
        check_all(path)
    return reported
