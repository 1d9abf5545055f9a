"""Tables as they are shown: goals, ratios and figures; on a page, and in a terminal."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.figures import Table
from benchmarks.goals import MINE, Row
from benchmarks.operations import Operation
from benchmarks.sheet import list_table, reached


@dataclass(frozen=True)
class Grid:
    """A table of texts."""

    title: str
    headings: Sequence[str]
    rows: list[list[str]]

    def text(self) -> str:
        """For a page of the documentation."""
        title = f"{self.title}\n{'-' * len(self.title)}\n\n"
        return title + list_table(self.headings, self.rows) + "\n"

    def show(self) -> None:
        """Print it; with rich, where it is installed."""
        if importlib.util.find_spec("rich") is None:
            for cells in [[self.title], self.headings, *self.rows]:
                print(" | ".join(cells))
            return
        from rich.console import Console
        from rich.table import Column
        from rich.table import Table as RichTable

        columns = [Column(name, no_wrap=True) for name in self.headings[1:]]
        drawn = RichTable(self.headings[0], *columns, title=self.title)
        for row in self.rows:
            drawn.add_row(*row, style="bold" if row[-1].startswith("no") else None)
        console = Console()
        (console if console.is_terminal else Console(width=180)).print(drawn)


def goals(table: Table, rows: Iterable[Row]) -> Grid:
    """What is asked, and whether it was reached."""
    return Grid("What it must reach", ("", MINE, "goal", "reached"), [
        [f"{row.title} ({row.unit.name})",
         row.unit.show(table.samples(MINE, row.figure), quartiles=True),
         goal.words, reached(goal, table, row)]
        for row in rows for goal in row.goals
    ])  # fmt: skip


def ratios(
    title: str, table: Table, names: Sequence[str], rows: Iterable[Operation], size: str = ""
) -> Grid:
    """Atop's figures, and how many times as fast it is as each of the others, or as small."""
    peers = [name for name in names if name != MINE]
    shown = []
    for row in rows:
        figure = row.figure + size
        if not table.samples(MINE, figure):
            continue
        found = [table.ratio((peer, figure), (MINE, figure)) for peer in peers]
        own = row.unit.show(table.samples(MINE, figure), quartiles=False)
        shown.append([f"{row.title} ({row.unit.name})", own, *map(_ratio, found)])
    return Grid(title, ("", MINE, *(f"× {peer}" for peer in peers)), shown)


def figures(
    title: str, table: Table, names: Sequence[str], rows: Iterable[Operation], size: str = ""
) -> Grid:
    """Everybody's figures, with quartiles."""
    return Grid(title, ("", *names), [
        [f"{row.title} ({row.unit.name})",
         *(row.unit.show(table.samples(name, row.figure + size), quartiles=True)
           for name in names)]
        for row in rows
    ])  # fmt: skip


def _ratio(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
