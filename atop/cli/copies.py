"""``backup`` and ``restore``: whole stores, from one place to another."""

from __future__ import annotations

from pathlib import Path

import click

from atop import care
from atop.cli.opening import place_argument, reading, store_argument, store_key
from atop.cli.output import clean, progress_bar


@click.command()
@place_argument
@click.argument("folder", type=click.Path(path_type=Path))
def backup(store: str, folder: Path) -> None:
    """Copy STORE to the new FOLDER, which is itself a store.

    STORE may be open in another program. FOLDER is there when the copy is complete, and all its
    pages and files are verified. It must not exist, or be empty.

    \b
    Example:
      atopdb backup pim.atop /media/disk/pim-2024-12-31
    """
    with reading(store) as opened, progress_bar() as progress:
        opened.backup(folder, progress)
    click.echo(f"{clean(store)} is backed up in {clean(str(folder))}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@store_argument
def restore(folder: Path, store: Path) -> None:
    """Copy the backup in FOLDER to the new STORE.

    FOLDER is only read. STORE must not exist, or be empty: nothing is overwritten.

    \b
    Example:
      atopdb restore /media/disk/pim-2024-12-31 pim.atop
    """
    with progress_bar() as progress:
        care.restore(folder, store, progress, key=store_key(folder))
    click.echo(f"{clean(str(store))} is restored from {clean(str(folder))}")
