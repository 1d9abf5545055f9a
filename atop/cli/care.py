"""``verify``, ``recover``, ``checkpoint`` and ``compact``: the care of a store."""

from __future__ import annotations

import time
from pathlib import Path

import click

from atop.cli.opening import place_argument, reading, store_argument, store_key, writing
from atop.cli.output import clean, progress_bar
from atop.engine.address import parse
from atop.errors import DamagedStore, NotAStore, StoreError
from atop.repair import repair
from atop.report import Report


@click.command()
@click.option("--repair", "repairing", is_flag=True,
              help="Make anew what follows from the items, if anything is damaged.")
@place_argument
def verify(store: str, repairing: bool) -> None:
    """Read all of STORE_OR_URL and tell what is damaged, what depends on it, and the way back.

    Pages, records, indexes, references and the bytes of files are looked at. Without --repair
    nothing is changed. With it, a damaged store that nobody has open gets new indexes, counts,
    catalogue and logs, made from its items; what was there is kept in its folder set-aside. If an
    item would be lost by that, nothing is changed.

    \b
    Example:
      atopdb verify pim.atop
      atopdb verify --repair pim.atop
    """
    if repairing and _damage_told(store):
        _repair(Path(store))
    with reading(store) as opened, progress_bar() as progress:
        report = opened.verify(progress)
    _tell(report)
    if not report.ok:
        raise click.exceptions.Exit(1)


def _damage_told(store: str) -> bool:
    """Tell what is wrong with a store that is to be repaired; answers whether anything is."""
    if parse(store) is not None:
        raise StoreError(f"{store} is repaired where its folder is: run `atopdb verify --repair` "
                         "there", store)
    try:
        with reading(store) as opened, progress_bar() as progress:
            report = opened.verify(progress)
    except (DamagedStore, NotAStore) as error:
        if not (Path(store) / "environment").is_dir():
            raise
        click.echo(f"DAMAGE: {clean(str(error))}")
        return True
    for problem in report.problems:
        click.echo(f"DAMAGE: {clean(problem.damage)}")
    return not report.ok


def _repair(store: Path) -> None:
    with progress_bar() as progress:
        done = repair(store, progress, key=store_key(store))
    for note in (*done.notes, *done.left):
        click.echo(f"note: {clean(note)}")
    for name in done.strays:
        click.echo(f"set aside: files/{clean(name)}, which no item stands for")
    click.echo(
        f"made anew: {done.entries:,} index entries, {done.pools:,} pools, the counts and the "
        f"catalogue, from {done.items:,} items; what was there is in {clean(str(done.aside))}"
    )


@click.command()
@store_argument
def recover(store: Path) -> None:
    """Bring STORE to its last commit after a crash, and close it in order.

    Opening a store does the same; this only tells about it.

    \b
    Example:
      atopdb recover pim.atop
    """
    logs = _log_bytes(store)
    began = time.monotonic()
    with writing(str(store)) as opened:
        took = time.monotonic() - began
        folder = opened.folder
        serial = opened.stats().serial
    if folder is None:
        click.echo(f"open in another process, at commit {serial:,}: nothing to recover")
        return
    if not folder.recovered:
        click.echo(f"closed in order at commit {serial:,}: nothing to recover")
        return
    click.echo(f"recovered to commit {serial:,} in {took:.2f} s from {logs:,} bytes of log")
    for note in folder.dropped:
        click.echo(f"note: {clean(note)}")
    for name in folder.swept:
        click.echo(f"removed files/{clean(name)}, which no committed item stands for")


@click.command()
@place_argument
def checkpoint(store: str) -> None:
    """Write to the tables of STORE_OR_URL what only its log has, and remove old logs.

    \b
    Example:
      atopdb checkpoint pim.atop
    """
    with writing(store) as opened:
        before = opened.stats().log_bytes
        opened.checkpoint()
        after = opened.stats().log_bytes
    click.echo(f"log: {before:,} bytes before, {after:,} after")


@click.command()
@place_argument
def compact(store: str) -> None:
    """Give unused room in the tables of STORE_OR_URL back to the file system.

    \b
    Example:
      atopdb compact pim.atop
    """
    with writing(store) as opened, progress_bar() as progress:
        done = opened.compact(progress)
    click.echo(f"{done.freed:,} bytes freed")
    for name in done.left_out:
        click.echo(f"the table {name!r} was left out: it has keys too large to be moved safely")


def _tell(report: Report) -> None:
    click.echo(
        f"commit {report.serial:,}: {report.items:,} items, {report.entries:,} index entries, "
        f"{report.files:,} files, {report.pools:,} pools"
    )
    for note in report.notes:
        click.echo(f"note: {clean(note)}")
    for problem in report.problems:
        click.echo(f"DAMAGE: {clean(problem.damage)}")
        click.echo(f"  affects:  {clean(problem.affects)}")
        click.echo(f"  way back: {clean(problem.remedy)}")
    if report.more:
        click.echo(f"{report.more:,} more problems")
    count = len(report.problems) + report.more
    click.echo("no damage" if report.ok else f"{count:,} problem{'s' * (count > 1)}")


def _log_bytes(store: Path) -> int:
    return sum(path.stat().st_size for path in store.glob("environment/log.*"))
