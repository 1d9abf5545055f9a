"""The commands: ``python -m examples.pim import``, ``show`` and ``demo``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from atop import AtopError, Store
from atop.cli.browse import show as show_in_browser

from .importer import Importer, Tally
from .show import show_store, show_tallies
from .sources import UnknownSource, open_source

SAMPLE = Path(__file__).parent / "sample"
SAMPLES = ("mail.mbox", "maildir", "contacts.vcf", "calendar.ics")
DEMO_PROBLEMS = 4

_STORE = click.Path(file_okay=False, path_type=Path)
_PATH = click.Path(exists=True, readable=True, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A small personal information manager on Atop."""


@main.command("import")
@click.argument("paths", nargs=-1, required=True, type=_PATH, metavar="PATH...")
@click.option("--store", type=_STORE, default=Path("pim.atop"), show_default=True)
def import_(paths: tuple[Path, ...], store: Path) -> None:
    """Import mail (mbox, Maildir, .eml), address books (.vcf) and calendars (.ics).

    What is in the store already is not added again. Whatever could not be read, or only in part,
    is listed at the end.
    """
    console = Console()
    with _opened(store) as opened:
        show_tallies(_import(opened, paths, console), console)


@main.command()
@click.option("--store", type=_STORE, default=Path("pim.atop"), show_default=True)
def show(store: Path) -> None:
    """Show some pages of a store, as of its newest mail."""
    if not store.is_dir():
        raise click.ClickException(f"{store}: no store; make one with import")
    with _opened(store) as opened:
        show_store(opened, Console())


@main.command()
@click.option("--store", type=_STORE, help="Keep the store in this folder.")
@click.option("--browse", is_flag=True, help="Then show all of it in a web browser.")
def demo(store: Path | None, browse: bool) -> None:
    """Import the sample mail, contacts and calendar, and show some pages of them."""
    console = Console()
    with _folder(store) as folder, _opened(folder) as opened:
        tallies = _import(opened, [SAMPLE / name for name in SAMPLES], console)
        show_tallies(tallies, console, DEMO_PROBLEMS)
        show_store(opened, console)
        if browse:
            show_in_browser(opened, no_open=True)


@contextmanager
def _folder(store: Path | None) -> Iterator[Path]:
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="pim-") as temporary:
        yield Path(temporary) / "pim.atop"


def _opened(store: Path) -> Store:
    try:
        return Store(store)
    except AtopError as error:
        raise click.ClickException(str(error)) from error


def _import(store: Store, paths: Iterable[Path], console: Console) -> list[Tally]:
    importer, tallies = Importer(store), list[Tally]()
    with _progress(console) as progress:
        for path in paths:
            try:
                task = progress.add_task(path.name, total=open_source(path).size())
                tallies.append(importer.run(path, partial(progress.advance, task)))
            except (AtopError, OSError, UnknownSource) as error:
                if tallies:
                    show_tallies(tallies, console)
                raise click.ClickException(str(error)) from error
            progress.update(task, completed=progress.tasks[task].total)
    return tallies


def _progress(console: Console) -> Progress:
    """A bar on a terminal; elsewhere nothing, for the table that follows says it all."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


if __name__ == "__main__":
    main(prog_name="python -m examples.pim")
