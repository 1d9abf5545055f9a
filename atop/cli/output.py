"""What verbs print: tables, JSON, CSV and progress.

What comes from a store can hold anything. Nothing of it reaches a terminal that the terminal would
obey.
"""

from __future__ import annotations

import csv
import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from atop.engine.progress import Progress as Told
from atop.engine.progress import silent
from atop.plain import plain, shown

Row = Mapping[str, Any]

format_option = click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table",
    show_default=True, help="How to print.",
)  # fmt: skip


def clean(text: str) -> str:
    """`text` with all that a terminal might obey written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or unicodedata.category(each) == "Zs"
        else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def print_rows(rows: Iterable[Row], columns: Sequence[str], form: str) -> None:
    """Print rows in one of the formats of `format_option`; without `columns`, JSON has all."""
    if form == "json":
        _print_json(rows, columns)
    elif form == "csv":
        _print_csv(rows, columns)
    else:
        print_table(columns, ([shown(row.get(name)) for name in columns] for row in rows))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table: drawn on a terminal, aligned columns elsewhere."""
    cells = [[clean(cell) for cell in row] for row in rows]
    console = Console()
    if console.is_terminal:
        table = Table(header_style="bold")
        for name in columns:
            table.add_column(Text(clean(name)))
        for row in cells:
            table.add_row(*map(Text, row))
        console.print(table)
        return
    lines = [[clean(name) for name in columns], *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def print_pairs(pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one pair a line."""
    listed = [(clean(name), clean(shown(value))) for name, value in pairs]
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        click.echo(f"{name.ljust(width)}  {value}".rstrip())


def print_json(value: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(plain(value), indent=2))


@contextmanager
def progress_bar() -> Iterator[Told]:
    """What tells a person how far it is; off a terminal nothing."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield silent
        return
    bars: dict[str, TaskID] = {}
    shown_as = (TextColumn("{task.description}"), BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    with Progress(*shown_as, console=console, transient=True) as progress:

        def told(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what)
            progress.update(bars[what], completed=done, total=total)

        yield told


def _print_json(rows: Iterable[Row], columns: Sequence[str]) -> None:
    before = "[\n"
    for row in rows:
        told = {name: row[name] for name in columns or row if name in row}
        click.echo(before + json.dumps(plain(told)), nl=False)
        before = ",\n"
    click.echo("\n]" if before == ",\n" else "[]")


def _print_csv(rows: Iterable[Row], columns: Sequence[str]) -> None:
    """On a terminal with escapes, in a file exactly as it is."""

    def guard(text: str) -> str:
        return clean(text) if terminal else text

    terminal = sys.stdout.isatty()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(guard, columns))
    for row in rows:
        writer.writerow([guard(shown(row.get(name))) for name in columns])
