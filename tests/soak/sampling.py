"""Samples of what processes and a store's folder take, and whether it levels off."""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MORE = 0.05
SLACK = {
    "memory": 8 << 20, "descriptors": 4, "threads": 2, "log": 12 << 20, "tables": 4 << 20,
    "files": 4 << 20,
}  # fmt: skip
"""How much each may grow beside five in a hundred: an arena, a log file, a page of clients."""


@dataclass
class Series:
    """Pairs of seconds and a figure."""

    name: str
    figure: str
    points: list[tuple[float, float]] = field(default_factory=list)

    @property
    def thirds(self) -> tuple[float, float, float]:
        """The medians of the three thirds of the time."""
        if not self.points:
            return 0.0, 0.0, 0.0
        end = self.points[-1][0]
        parts: list[list[float]] = [[], [], []]
        for at, value in self.points:
            parts[min(2, int(3 * at / end)) if end else 0].append(value)
        first, middle, last = (statistics.median(part) if part else 0.0 for part in parts)
        return first, middle, last

    @property
    def growth(self) -> float:
        """By how much the line through the last two thirds rises in an hour."""
        if len(self.points) < 3:
            return 0.0
        later = [point for point in self.points if point[0] * 3 >= self.points[-1][0]]
        times = [at for at, _ in later]
        if len(set(times)) < 2:
            return 0.0
        slope = statistics.linear_regression(times, [value for _, value in later]).slope
        return float(slope * 3600)

    @property
    def level(self) -> bool:
        """Whether the last third is hardly more than the middle one."""
        _, middle, last = self.thirds
        return last <= middle * (1 + _MORE) + SLACK[self.figure]


class Sampler:
    """Looks at processes by name, and at a store's folder."""

    def __init__(self, path: Path, processes: Mapping[str, int]) -> None:
        self.path = path
        self.processes = processes
        self.series: dict[tuple[str, str], Series] = {}

    def look(self, at: float) -> None:
        """One sample of everything, at so many seconds."""
        for name, pid in self.processes.items():
            with suppress(FileNotFoundError, ProcessLookupError):
                for figure, value in of_process(pid).items():
                    self._note(name, figure, at, value)
        for figure, value in of_folder(self.path).items():
            self._note("store", figure, at, value)

    def _note(self, name: str, figure: str, at: float, value: float) -> None:
        series = self.series.setdefault((name, figure), Series(name, figure))
        series.points.append((round(at, 2), value))


def of_process(pid: int) -> dict[str, int]:
    """Resident bytes, descriptors and threads of a process."""
    folder = Path("/proc", str(pid))
    return {
        "memory": int((folder / "statm").read_text().split()[1]) * _PAGE,
        "descriptors": len(os.listdir(folder / "fd")),
        "threads": len(os.listdir(folder / "task")),
    }


def of_folder(path: Path) -> dict[str, int]:
    """Bytes of a store's log, tables and files, as the disk has them."""
    found = {"log": 0, "tables": 0, "files": 0}
    for entry in _entries(path / "environment"):
        with suppress(FileNotFoundError):
            kind = "log" if entry.name.startswith("log.") else "tables"
            found[kind] += Path(entry).stat().st_blocks * 512
    for entry in _entries(path / "files"):
        with suppress(FileNotFoundError):
            found["files"] += Path(entry).stat().st_blocks * 512
    return found


def _entries(folder: Path) -> Iterable[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        return list(entries)
    return []


def table(series: Iterable[Series]) -> list[str]:
    """What came out, a line for each series."""
    lines = [f"{'':<12} {'':<12} {'first':>10} {'middle':>10} {'last':>10} {'an hour':>10}"]
    for each in series:
        first, middle, last = (_shown(each.figure, value) for value in each.thirds)
        more = _shown(each.figure, each.growth)
        verdict = "level" if each.level else "GROWS"
        lines.append(f"{each.name:<12} {each.figure:<12} {first:>10} {middle:>10} {last:>10} "
                     f"{more:>10}  {verdict}")
    return lines


def by_name(series: Iterable[Series]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """The points, for a plot."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(dict)
    for each in series:
        found[each.name][each.figure] = each.points
    return dict(found)


def _shown(figure: str, value: float) -> str:
    if figure in ("descriptors", "threads"):
        return f"{value:.0f}"
    return f"{value / (1 << 20):.1f} MB"
