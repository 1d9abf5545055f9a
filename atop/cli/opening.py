"""Opening the store that a verb is about. No verb ever makes one."""

from __future__ import annotations

from pathlib import Path

import click

from atop.errors import NotAStore
from atop.store import Store

store_argument = click.argument("store", type=click.Path(path_type=Path))
_URLS = ("atop://", "atop+unix://")


def reading(path: Path) -> Store:
    """The store in `path`, to be read only."""
    return Store(path, readOnly=True)


def writing(path: Path) -> Store:
    """The store in `path`, which has to be there.

    :raises NotAStore: when it is not.
    """
    _check_there(path)
    return Store(path)


def sharing(place: str, *, read_only: bool) -> Store:
    """The store at `place`, a folder or a URL, for somebody who thinks between two changes.

    :raises NotAStore: when there is none.
    """
    if place.startswith(_URLS):
        return Store(place, readOnly=read_only)
    if not read_only:
        _check_there(Path(place))
    return Store(Path(place), readOnly=read_only)


def _check_there(path: Path) -> None:
    if not (path / "FORMAT").exists():
        raise NotAStore(f"there is no store at {path}", str(path))
