"""The table of figures, for a terminal and for a page of the documentation."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.figures import Table
from benchmarks.goals import MINE, Goal, Row


class Line(NamedTuple):
    """A row as it is shown; ``goals`` are pairs of what is asked and what was reached."""

    title: str
    medians: list[str]
    figures: list[str]
    ratios: list[str]
    goals: list[tuple[str, str]]

    def cells(self) -> list[str]:
        """What a terminal has room for."""
        asked = "\n".join(words for words, _ in self.goals)
        reached = "\n".join(words for _, words in self.goals)
        return [self.title, *self.medians, *self.ratios, asked, reached]


@dataclass(frozen=True)
class Sheet:
    """Whose figures are shown, and beside whose speed."""

    contenders: tuple[str, ...]
    peers: tuple[str, ...]

    def lines(self, table: Table, rows: Iterable[Row]) -> Iterator[Line]:
        """All rows with their figures."""
        for row in rows:
            ratios = [table.ratio((peer, row.figure), (MINE, row.figure)) for peer in self.peers]
            yield Line(
                f"{row.title} ({row.unit.name})",
                self._shown(table, row, quartiles=False),
                self._shown(table, row, quartiles=True),
                ["–" if ratio is None else f"{ratio:.2f}" for ratio in ratios],
                [(goal.words, reached(goal, table, row)) for goal in row.goals],
            )

    def show(self, shown: list[Line]) -> None:
        """Print the table; with rich, where it is installed."""
        headings = ("", *self.contenders, *self._beside(), "goal", "reached")
        if importlib.util.find_spec("rich") is None:
            for cells in [headings, *(line.cells() for line in shown)]:
                print(" | ".join(cells).replace("\n", "; "))
            return
        from rich.console import Console
        from rich.table import Column
        from rich.table import Table as RichTable

        figures = [Column(name, no_wrap=name in self.contenders) for name in headings[1:]]
        drawn = RichTable(headings[0], *figures)
        for line in shown:
            missed = any(words.startswith("no") for _, words in line.goals)
            drawn.add_row(*line.cells(), style="bold" if missed else None)
        console = Console()
        (console if console.is_terminal else Console(width=150)).print(drawn)

    def text(self, shown: list[Line]) -> str:
        """The two tables of a page: of goals, and of all figures."""
        return "".join((
            "What it must reach\n------------------\n\n",
            list_table(
                ("", MINE, "goal", "reached"),
                [[line.title, line.figures[self.contenders.index(MINE)], *goal]
                 for line in shown for goal in line.goals],
            ),
            "\nAll figures\n-----------\n\n",
            list_table(
                ("", *self.contenders, *self._beside()),
                [[line.title, *line.figures, *line.ratios] for line in shown],
            ),
        ))

    def _beside(self) -> list[str]:
        return [f"× {peer}" for peer in self.peers]

    def _shown(self, table: Table, row: Row, *, quartiles: bool) -> list[str]:
        return [
            row.unit.show(table.samples(name, row.figure), quartiles=quartiles)
            for name in self.contenders
        ]


def reached(goal: Goal, table: Table, row: Row) -> str:
    """Whether Atop has reached it, and by how much; nothing where it was not measured."""
    value = goal.value(table, row.figure)
    if value is None:
        return ""
    word = "yes" if goal.met(value) else "no"
    return word if goal.beside is None else f"{word}: {value:.2f} ×"


def list_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table for a page of the documentation."""
    text = ".. list-table::\n   :header-rows: 1\n\n"
    for row in [headings, *rows]:
        for number, cell in enumerate(row):
            text += f"   {' ' if number else '*'} - {cell}".rstrip() + "\n"
    return text
