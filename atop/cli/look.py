"""``info``, ``pools``, ``files`` and ``get``: looking into a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from atop import care
from atop.cli.items import row_of
from atop.cli.opening import place_argument, reading
from atop.cli.output import clean, format_option, print_json, print_pairs, print_rows, print_table
from atop.engine.base import Range
from atop.files import File
from atop.plain import plain
from atop.records import decode_header
from atop.store import Store


@click.command()
@place_argument
def info(store: str) -> None:
    """Show how many and how much of everything STORE_OR_URL has.

    \b
    Example:
      atopdb info pim.atop
    """
    with reading(store) as opened:
        figures = asdict(opened.stats())
        print_pairs([("store", opened.place), *((_words(name), _figure(name, value))
                                                    for name, value in figures.items())])
        for note in care.dropped(opened):
            click.echo(f"note: {clean(note)}")


@click.command()
@place_argument
def pools(store: str) -> None:
    """List the pools of STORE_OR_URL, how many items each has, and its indexes.

    \b
    Example:
      atopdb pools pim.atop
    """
    with reading(store) as opened:
        print_table(
            ["name", "id", "items", "indexes"],
            [[str(pool.name), str(pool.id), f"{len(pool):,}",
              ", ".join(_described(index) for index in pool.indexes)]
             for pool in opened.pools()],
        )


@click.command()
@place_argument
@format_option
def files(store: str, form: str) -> None:
    """List the files in STORE_OR_URL, with their sizes in bytes.

    \b
    Example:
      atopdb files pim.atop --format csv
    """
    with reading(store) as opened, opened.snapshot():
        print_rows(_files(opened), ["id", "name", "size", "sha256"], form)


@click.command()
@place_argument
@click.argument("ident", metavar="ID", type=click.IntRange(min=0))
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="How to print.",
)
def get(store: str, ident: int, form: str) -> None:
    """Show the item of STORE_OR_URL with that ID, with all its attributes.

    \b
    Example:
      atopdb get pim.atop 7 --format json
    """
    with reading(store) as opened:
        row = row_of(opened, ident)
        if form == "json":
            print_json(row)
        else:
            print_pairs(row.items())


def _files(store: Store) -> Iterator[dict[str, Any]]:
    session = store.session()
    rest = Range(limit=500)
    while rows := session.scan_items(rest):
        for key, record in rows:
            kind = store.classes.kind(decode_header(record)[0], session.view)
            if issubclass(kind.cls, File):
                yield row_of(store, int.from_bytes(key, "big"))
        rest = rest.after(rows[-1][0])


def _described(index: Any) -> str:
    kinds = [kind for kind in ("unique", "multiple") if getattr(index, kind)]
    return f"{index.name} ({', '.join(kinds)})" if kinds else index.name


def _words(name: str) -> str:
    return name.replace("_", " ")


def _figure(name: str, value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "never" if value is None else str(plain(value))
