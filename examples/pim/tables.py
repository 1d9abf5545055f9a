"""Tables on a console, in which text is shown as it is.

Nothing in a subject is taken for markup, or for a command to the terminal.
"""

from __future__ import annotations

from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .text import one_line


class Listing:
    """A title and a table.

    Columns marked ``>`` are aligned to the right. Those marked ``~`` give way to the others when
    there is little room; text in them is cut, or goes on below with ``wrap``.
    """

    def __init__(self, title: str, *columns: str, wrap: bool = False) -> None:
        self._title = Text(f"\n{title}", style="bold")
        self._table = Table(header_style="dim")
        self._wrap = wrap
        for column in columns:
            justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
            fixed = not column.startswith("~")
            self._table.add_column(column.lstrip(">~"), justify=justify, no_wrap=fixed)

    def add(self, *cells: str) -> None:
        """One row."""
        overflow: Literal["fold", "ellipsis"] = "fold" if self._wrap else "ellipsis"
        texts = (Text(one_line(cell), no_wrap=not self._wrap, overflow=overflow) for cell in cells)
        self._table.add_row(*texts)

    def print(self, console: Console) -> None:
        console.print(self._title)
        console.print(self._table)
