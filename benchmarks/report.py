"""The table of figures, for a terminal and for doc/performance.rst."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from benchmarks.figures import Table
from benchmarks.goals import MINE, PEER, Row
from benchmarks.worker import CONTENDERS

HEADINGS = ("", *CONTENDERS, f"× {PEER}", "goal", "reached")

_INTRODUCTION = """\
Performance
===========

Written by ``make bench``. Each figure is the median of the rounds of one run, with the quartiles in
parentheses; the ratio is that of speeds, {mine} to {peer}, so that more than 1 is faster than
{peer}. What is slower is shown as it is.

The machine
-----------

"""

_METHOD = """
How it was measured
-------------------

The contenders:

- ``atop``: a pool with three indexes.
- ``berkeleydb``: the same layout by hand, pickled objects in one table, record-numbered index keys
  in another; private memory, no locks, no history of commits. It marks the limit for Atop.
- ``sqlite3``: one table by hand, with a pickled object and a column for each index; write-ahead
  log.

All are durable alike (a transaction that has ended is on disk) and have a page cache of 64 MB.
Each runs in a process of its own, and they take turns, round by round: {rounds} rounds count, after
one to warm up; inserts of {large:,} are done once, walks twice. The items are contacts with a name,
an e-mail address, a city and a year of birth, which is an int; indexes are on the name, the
address and the year. The data is made from a seed, and the same in every run.

- *Insert in one transaction*: the contacts are in memory as tuples; making objects of
  them is part of the time, the commit too.
- *Durable transaction that adds one*: between each two, the same process appends the contact's
  pickle and keys to a file and syncs it; that is the synced write.
- *Objects cold*: the pages of the tables are in memory, no object is. Atop's are made
  anew by opening the folder a second time in the same process, which shares the page cache and no
  objects. *Again* is the same once more, when Atop has the objects. By hand there is no such cache.
- *50 from a place of an index*: from a random name on, no page read twice. Every contact that is
  read is unpickled, and its name looked at.
- *Page, len and position*: by row number, in two collections of different size, objects cold.
- *Open* and *walk*: each in a fresh process. *Import* is net of what the interpreter itself takes.
- *Insert {large:,}*: in a fresh process, the contacts made on the way.
- *Peak resident memory*: of the whole process, the page cache included.

"""


class Line(NamedTuple):
    """A row as it is shown."""

    title: str
    medians: list[str]
    figures: list[str]
    ratio: str
    goal: str
    reached: str

    def cells(self) -> list[str]:
        """What a terminal has room for."""
        return [self.title, *self.medians, self.ratio, self.goal, self.reached]


def lines(table: Table, rows: Iterable[Row]) -> Iterator[Line]:
    """All rows with their figures."""
    for row in rows:
        ratio = table.ratio((PEER, row.figure), (MINE, row.figure))
        value = row.goal.value(table, row.figure) if row.goal else None
        yield Line(
            f"{row.title} ({row.unit.name})",
            _shown(table, row, quartiles=False),
            _shown(table, row, quartiles=True),
            "–" if ratio is None else f"{ratio:.2f}",
            row.goal.words if row.goal else "",
            _reached(row, value),
        )


def show(shown: list[Line]) -> None:
    """Print the table; with rich, where it is installed."""
    if importlib.util.find_spec("rich") is None:
        for cells in [HEADINGS, *(line.cells() for line in shown)]:
            print(" | ".join(cells))
        return
    from rich.console import Console
    from rich.table import Column
    from rich.table import Table as RichTable

    figures = [Column(name, no_wrap=name in CONTENDERS) for name in HEADINGS[1:]]
    drawn = RichTable(HEADINGS[0], *figures)
    for line in shown:
        missed = line.reached.startswith("no")
        drawn.add_row(*line.cells(), style="bold" if missed else None)
    console = Console()
    (console if console.is_terminal else Console(width=150)).print(drawn)


def page(machine: dict[str, str], shown: list[Line], rounds: int, large: int) -> str:
    """The whole of doc/performance.rst."""
    return "".join((
        _INTRODUCTION.format(mine=MINE, peer=PEER),
        *(f":{name}: {value}\n" for name, value in machine.items()),
        _METHOD.format(rounds=rounds, large=large),
        "What it must reach\n------------------\n\n",
        _list_table(
            ("", MINE, "goal", "reached"),
            [[line.title, line.figures[0], line.goal, line.reached] for line in shown if line.goal],
        ),
        "\nAll figures\n-----------\n\n",
        _list_table(
            ("", *CONTENDERS, f"× {PEER}"),
            [[line.title, *line.figures, line.ratio] for line in shown],
        ),
    ))


def _shown(table: Table, row: Row, *, quartiles: bool) -> list[str]:
    return [
        row.unit.show(table.samples(name, row.figure), quartiles=quartiles) for name in CONTENDERS
    ]


def _reached(row: Row, value: float | None) -> str:
    if row.goal is None or value is None:
        return ""
    word = "yes" if row.goal.met(value) else "no"
    return word if row.goal.beside is None else f"{word}: {value:.2f} ×"


def _list_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    text = ".. list-table::\n   :header-rows: 1\n\n"
    for row in [headings, *rows]:
        for number, cell in enumerate(row):
            text += f"   {' ' if number else '*'} - {cell}".rstrip() + "\n"
    return text
