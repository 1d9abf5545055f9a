"""Every named character of Unicode as an item: how a pool of some 140,000 feels.

Run ``python -m examples.unicode [--store DIR]``. The characters are those of Python's own
``unicodedata``; a store that has them already is only queried.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from atop import AtopError, Index, Item, Pool, Store

PAGE = 8
INDEXES = (
    Index("name"),
    Index("category"),
    Index("code_point"),
    Index("category_name", key=("category", "name")),
)


class Character(Item):
    """A character; ``category`` is Unicode's two letters for it, such as ``Lu``."""

    code_point: int
    name: str
    category: str


def named_characters(stop: int = sys.maxunicode + 1) -> Iterator[Character]:
    """Every character below `stop` that has a name, by code point."""
    for code_point in range(stop):
        character = chr(code_point)
        name = unicodedata.name(character, None)
        if name is not None:
            category = unicodedata.category(character)
            yield Character(code_point=code_point, name=name, category=category)


def fill(store: Store, characters: Iterable[Character]) -> Pool:
    """The pool of characters; made in one transaction, all or nothing, unless it is there."""
    with store.transaction():
        pool = store.pool("characters", *INDEXES)
        if not len(pool):
            for character in characters:
                pool.addItem(character)
    return pool


def show(pool: Pool, console: Console) -> None:
    """Some queries and how long each took."""
    by_name, by_code = pool.queryIndex("name"), pool.queryIndex("code_point")
    pages = {
        'Names from "SNOW" to "SNOWMAN"': pool.queryIndex(
            "name", startKey="SNOW", endKey="SNOWMAN"
        ),
        'Names that begin with "GREEK SMALL"': pool.queryIndex("name", prefix="GREEK SMALL"),
        "Currency signs by name, backwards": pool.queryIndex(
            "category_name", prefix=("Sc",), backwards=True
        ),
        "From U+2190 to U+21FF": pool.queryIndex("code_point", startKey=0x2190, endKey=0x21FF),
        "The middle of all names": by_name[len(by_name) // 2 :],
        "The last of all code points": by_code[-PAGE:],
    }
    for title, query in pages.items():
        _page(title, query[:PAGE], len(query), console)
    _counts(pool, console)


def _page(title: str, characters: Iterable[Character], count: int, console: Console) -> None:
    begin = perf_counter()
    rows = [(f"U+{each.code_point:04X}", each) for each in characters]
    milliseconds = 1000 * (perf_counter() - begin)
    console.print(f"\n{title}: {count:,}, these in {milliseconds:.1f} ms", style="bold")
    table = _table("code point", "", "name")
    for number, each in rows:
        visible = chr(each.code_point) if each.category[0] not in "CMZ" else ""
        table.add_row(number, Text(visible), Text(each.name, no_wrap=True, overflow="ellipsis"))
    console.print(table)


def _counts(pool: Pool, console: Console) -> None:
    begin = perf_counter()
    counts = [(name, len(pool.queryIndex("category", key=name))) for name in _categories(pool)]
    milliseconds = 1000 * (perf_counter() - begin)
    console.print(f"\nEach category, counted in {milliseconds:.1f} ms", style="bold")
    table = _table("category", "count")
    for name, count in counts:
        table.add_row(name, f"{count:,}")
    console.print(table)


def _categories(pool: Pool) -> Iterator[str]:
    """Every key of the index, by a jump to the first that comes after each."""
    category = ""
    keys = pool.queryIndex("category").keys()
    while (at := keys.position(category + "\0")) < len(keys):
        category = keys[at]
        yield category


def _table(*columns: str) -> Table:
    table = Table(header_style="dim")
    for column in columns:
        table.add_column(
            column,
            justify="right" if column == "count" else "left",
            no_wrap=column in ("code point", ""),
        )
    return table


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the characters in this folder.",
)
def main(store: Path | None) -> None:
    """Put the characters of Unicode into a store, and query them."""
    console = Console(highlight=False)
    with TemporaryDirectory(prefix="unicode-") as temporary:
        try:
            with Store(store or Path(temporary) / "unicode.atop") as opened:
                _fill_and_show(opened, console)
        except AtopError as error:
            raise click.ClickException(str(error)) from error


def _fill_and_show(store: Store, console: Console) -> None:
    begin = perf_counter()
    pool = fill(store, named_characters())
    console.print(
        f"Unicode {unicodedata.unidata_version}: {len(pool):,} characters with "
        f"{len(pool.indexes)} indexes, ready after {perf_counter() - begin:.1f} s"
    )
    show(pool, console)


if __name__ == "__main__":
    main(prog_name="python -m examples.unicode")
