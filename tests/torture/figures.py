"""What a torture came to: counted, as a table, as JSON, and as a table for the documentation."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.torture.points import ENDS


@dataclass
class Figures:
    """Counts, and times in seconds."""

    seed: int
    seconds: float = 0.0
    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    at_points: Counter[str] = field(default_factory=Counter)
    passes: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)
    outages: list[float] = field(default_factory=list)
    stopped_meanwhile: int = 0
    named_after: list[float] = field(default_factory=list)
    commits: int = 0
    reads: int = 0
    lost: int = 0
    conflicts: int = 0
    doubts: int = 0
    busy: int = 0
    interrupts: int = 0
    forks: int = 0
    audits: int = 0
    compared: int = 0
    lost_commits: int = 0
    broken: int = 0
    hangs: int = 0
    failure: str = ""

    @property
    def killed(self) -> int:
        """How many processes were killed."""
        return sum(self.kills.values()) + sum(self.at_points.values())

    def rows(self) -> list[tuple[str, str]]:
        """The table: what, and how much."""
        kills = [(f"  {kind}", f"{count:,}") for kind, count in sorted(self.kills.items())]
        ends = [(f"  {kind}", f"{count:,}") for kind, count in sorted(self.ends.items())]
        return [
            ("Time", f"{self.seconds / 60:.1f} min in {self.rounds} rounds"),
            ("Kills", f"{self.killed:,}"),
            *kills,
            ("  at fail points", f"{sum(self.at_points.values()):,}"),
            ("Fail points that killed, of all", f"{len(self.at_points)} of {len(ENDS)}"),
            ("Other ends and troubles", f"{sum(self.ends.values()):,}"),
            *ends,
            ("Commits that were told of", f"{self.commits:,}"),
            ("Snapshots checked", f"{self.reads:,}"),
            ("Transactions lost and told so", f"{self.lost:,}"),
            ("Conflicts", f"{self.conflicts:,}"),
            ("Commits left in doubt", f"{self.doubts:,}"),
            ("Verified whole and compared", f"{self.audits:,} times, {self.compared:,} commits"),
            ("Owners killed until others commit again", _times(self.recoveries)),
            ("The same, with all kills meanwhile", _times(self.outages)),
            ("Not measured, as somebody was stopped", f"{self.stopped_meanwhile:,}"),
            ("A stopped owner is named after", _times(self.named_after)),
            ("Lost commits", f"{self.lost_commits:,}"),
            ("Broken invariants", f"{self.broken:,}"),
            ("Hangs", f"{self.hangs:,}"),
        ]

    def table(self) -> str:
        """For people, with the fail points below."""
        lines = [f"{name:42} {value}" for name, value in self.rows()]
        lines += ["", f"{'Fail point':32} {'passed':>12} {'killed':>8}"]
        lines += [
            f"{name:32} {self.passes[name]:12,} {self.at_points[name]:8,}" for _, name in ENDS
        ]
        if self.failure:
            lines += ["", "FAILED", self.failure, f"Do it again with --seed {self.seed}"]
        return "\n".join(lines)

    def rst(self) -> str:
        """The table in reStructuredText."""
        rows = [(name.strip(), value) for name, value in self.rows()]
        widths = [max(len(row[at]) for row in rows) for at in (0, 1)]
        rule = "  ".join("=" * width for width in widths)
        lines = [f"{name:{widths[0]}}  {value}".rstrip() for name, value in rows]
        return "\n".join([rule, *lines, rule])

    def write(self, path: Path) -> None:
        """All of it, as JSON."""
        told: dict[str, Any] = vars(self) | {
            "killed": self.killed,
            "recovery_median": _rank(self.recoveries, 0.5),
            "recovery_p99": _rank(self.recoveries, 0.99),
            "recovery_worst": _rank(self.recoveries, 1),
        }
        path.write_text(json.dumps(told, indent=1) + "\n")


def _rank(times: list[float], part: float) -> float:
    ordered = sorted(times)
    return ordered[round(part * (len(ordered) - 1))] if ordered else 0.0


def _times(times: list[float]) -> str:
    if not times:
        return "never"
    median, most, worst = (1000 * _rank(times, part) for part in (0.5, 0.99, 1))
    return f"{median:,.0f} ms, 99 % {most:,.0f} ms, worst {worst:,.0f} ms ({len(times):,} times)"
