"""``query``: the items of a pool, sorted by one of its indexes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from atop.cli.items import column, columns_of, row_of
from atop.cli.opening import place_argument, reading
from atop.cli.output import clean, format_option, print_rows
from atop.errors import NoSuchPool, ValueRefused
from atop.keytext import TYPES, parse, type_of
from atop.pool import Pool
from atop.query import Query
from atop.store import Store

_LIMIT = 50
_BOUNDS = ("start", "end", "prefix", "key")


@click.command()
@place_argument
@click.argument("pool")
@click.argument("index")
@click.option("--from", "start", help="The first key to show; with --reverse, the highest.")
@click.option("--to", "end", help="The last key to show; with --reverse, the lowest.")
@click.option("--prefix", help="What the keys to show begin with.")
@click.option("--key", help="Exactly the key to show.")
@click.option("--reverse", is_flag=True, help="Show the highest key first.")
@click.option("--limit", type=click.IntRange(min=0), default=_LIMIT, show_default=True,
              help="How many items to show; 0 for all.")
@click.option("--columns", help="What to show of each item, separated by commas.")
@click.option("--type", "kind", type=click.Choice(TYPES),
              help="The type of the keys given, if it is not that of the first in the index.")
@format_option
def query(
    store: str, pool: str, index: str, reverse: bool, limit: int, columns: str | None,
    kind: str | None, form: str, **bounds: str | None,
) -> None:
    """Show the items of POOL in STORE_OR_URL in the order of INDEX.

    Keys are read as the type that the index holds: numbers, dates and times in ISO format (UTC
    where the index has time zones), time spans in seconds, bytes in hexadecimal, tuples as JSON
    lists. Without --columns a table shows all attributes that the first items have.

    \b
    Example:
      atopdb query pim.atop people born --from 1970-01-01 --columns id,name,born
      atopdb query pim.atop messages date --reverse --limit 10 --format json
    """
    with reading(store) as opened, opened.snapshot():
        found = _query(_pool(opened, pool), index, reverse, kind, bounds)
        rows: Iterable[dict[str, Any]] = _rows(opened, found[:limit] if limit else found)
        if columns:
            names = [name.strip() for name in columns.split(",")]
            rows = ({name: column(row, name) for name in names} for row in rows)
        elif form == "json":
            names = []
        else:
            names, rows = columns_of(rows)
        print_rows(rows, names, form)
        left = len(found) - limit if limit else 0
        if left > 0:
            click.echo(f"{left:,} more: --limit 0 shows all", err=True)


def _pool(store: Store, name: str) -> Pool:
    pools = {pool.name: pool for pool in store.pools()}
    if name not in pools:
        known = ", ".join(repr(each) for each in pools) or "none"
        raise NoSuchPool(f"{store.place} has no pool {name!r}; its pools are: {known}", name)
    return pools[name]


def _query(
    pool: Pool, index: str, reverse: bool, kind: str | None, bounds: dict[str, str | None]
) -> Query:
    given = {name: text for name in _BOUNDS if (text := bounds[name]) is not None}
    like = _first_key(pool, index) if given else None
    keys = {}
    for name, text in given.items():
        try:
            keys[name] = parse(text, kind or type_of("" if like is None else like), like)
        except ValueRefused as error:
            option = {"start": "--from", "end": "--to"}.get(name, f"--{name}")
            raise click.BadParameter(clean(str(error)), param_hint=option) from error
    exactly = {"key": keys["key"]} if "key" in keys else {}
    return pool.queryIndex(
        index, keys.get("start"), keys.get("end"), reverse, keys.get("prefix"), **exactly
    )


def _first_key(pool: Pool, index: str) -> Any:
    """The first key that is not ``None``; or ``None``."""
    missing = len(pool.queryIndex(index, key=None))
    return next(iter(pool.queryIndex(index).keys()[missing : missing + 1]), None)


def _rows(store: Store, found: Query) -> Iterator[dict[str, Any]]:
    for ident in found.ids():
        yield row_of(store, ident)
