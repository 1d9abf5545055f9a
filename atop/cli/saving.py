"""``salvage``: what can be saved of a store that cannot be opened or repaired."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from atop.cli.opening import store_key
from atop.cli.output import clean, progress_bar
from atop.report import Salvaged
from atop.salvage import salvage as salvaged

_CLASS = "NUMBER=module:Class"


def _classes(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> (
        dict[int, str]):
    names = {}
    for each in given:
        number, _, name = each.partition("=")
        if not (number.isdecimal() and 0 < int(number) < 1 << 32 and all(name.partition(":"))):
            raise click.BadParameter(f"{each!r} is not {_CLASS}")
        names[int(number)] = name
    return names


@click.command()
@click.option("--class", "classes", metavar=_CLASS, multiple=True, callback=_classes,
              help="The name of a class whose own is lost.")
@click.option("--doubtful", is_flag=True,
              help="Take items on damaged pages as they look, where there is nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Tell it all in JSON.")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
def salvage(
    old: Path, new: Path, classes: dict[int, str], doubtful: bool, as_json: bool
) -> None:
    """Save what can be of the damaged store OLD in the new store NEW, item by item.

    OLD is only read; nobody may have it open. It may lack its logs, its file FORMAT, whole tables
    or parts of them. NEW must not exist, or be empty. What could not be saved is listed, and the
    exit code is 1 then.

    \b
    Example:
      atopdb salvage pim.atop saved.atop
    """
    with progress_bar() as progress:
        saved = salvaged(
            old, new, progress, classes=classes, doubtful=doubtful, key=store_key(old)
        )
    if as_json:
        click.echo(json.dumps({**asdict(saved), "complete": saved.complete}, indent=1))
    else:
        _tell(saved, old, new)
    if not saved.complete:
        raise click.exceptions.Exit(1)


def _tell(saved: Salvaged, old: Path, new: Path) -> None:
    of = "" if saved.expected is None else f" of {saved.expected:,}"
    click.echo(
        f"{clean(str(new))} has {saved.items:,}{of} items of {clean(str(old))}: "
        f"{saved.entries:,} index entries, {saved.files:,} files, {saved.pools:,} pools"
    )
    for note in saved.notes:
        click.echo(f"note: {clean(note)}")
    for loss in saved.losses:
        click.echo(f"LOST: {clean(loss.what)}")
    if saved.unknown:
        click.echo(f"LOST: {saved.unknown:,} items of which nothing is known")
    if saved.expected is None:
        click.echo("note: how many items there were is not known")
    if not saved.current:
        click.echo("note: what was committed last may be lost: the store was not closed in order, "
                   "and not all of its logs can be used")
    if saved.complete:
        click.echo("nothing is lost")
