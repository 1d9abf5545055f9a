"""Opening the store that a verb is about. No verb ever makes one."""

from __future__ import annotations

from pathlib import Path

import click

from atop.errors import NotAStore
from atop.store import Store

store_argument = click.argument("store", type=click.Path(path_type=Path))


def reading(path: Path) -> Store:
    """The store in `path`, to be read only."""
    return Store(path, readOnly=True)


def writing(path: Path) -> Store:
    """The store in `path`, which has to be there.

    :raises NotAStore: when it is not.
    """
    if not (path / "FORMAT").exists():
        raise NotAStore(f"there is no store at {path}", str(path))
    return Store(path)
