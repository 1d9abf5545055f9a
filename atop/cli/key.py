"""``key`` and ``encrypt``: what a store is locked with."""

from __future__ import annotations

from pathlib import Path

import click

from atop import care
from atop.cli.opening import new_key, reading, store_argument, writing
from atop.cli.output import clean, progress_bar


@click.command()
@store_argument
def key(store: Path) -> None:
    """Change the key of STORE.

    The old key is ATOP_KEY, or in the file that ATOP_KEY_FILE names, and the new one in the file
    that ATOP_NEW_KEY_FILE names; what is missing is asked for at the terminal. Programs that have
    STORE open go on. Nothing is encrypted anew, so this takes no time; but whoever had the old key
    and a copy of the file KEY can still read: against them, make a new store with `atopdb encrypt`.

    \b
    Example:
      atopdb key pim.atop
    """
    with writing(str(store)) as opened:
        opened.changeKey(new_key())
    click.echo(f"{clean(str(store))} has a new key")


@click.command()
@store_argument
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--plain", is_flag=True, help="Copy an encrypted store to one that is not encrypted.")
def encrypt(store: Path, new: Path, plain: bool) -> None:
    """Copy STORE to the encrypted store NEW, which has a key of its own.

    STORE may be open in another program, and may have a key itself; it stays as it is. Each item
    and file is written anew, as it is at this moment; ids stay, and past commits are not copied.
    NEW must not exist, or be empty. Its key is in the file that ATOP_NEW_KEY_FILE names, or is
    asked for at the terminal.

    \b
    Example:
      atopdb encrypt pim.atop private.atop
      atopdb encrypt --plain private.atop pim-again.atop
    """
    with reading(str(store)) as opened, progress_bar() as progress:
        care.recode(opened, new, None if plain else new_key(), progress)
    click.echo(f"{clean(str(store))} is copied to {clean(str(new))}; look at it with atopdb verify")
