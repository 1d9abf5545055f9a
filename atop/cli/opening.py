"""Opening the store that a verb is about. No verb but ``serve`` ever makes one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from atop.engine.address import TcpAddress, parse
from atop.errors import NotAStore, StoreError
from atop.store import Store

store_argument = click.argument("store", type=click.Path(path_type=Path))
place_argument = click.argument("store", metavar="STORE_OR_URL")

_FILES = {"ca": "ATOP_CA", "cert": "ATOP_CERT", "key": "ATOP_KEY"}


def reading(place: str) -> Store:
    """The store at `place`, a folder or a URL, to be read only."""
    return _open(place, readOnly=True)


def writing(place: str, **options: Any) -> Store:
    """The store at `place`, which has to be there.

    :raises NotAStore: when it is not.
    """
    if parse(place) is None:
        _check_there(Path(place))
    return _open(place, **options)


def sharing(place: str, *, read_only: bool) -> Store:
    """The store at `place`, a folder or a URL, for somebody who thinks between two changes.

    Nobody waits for him meanwhile.

    :raises NotAStore: when there is none.
    """
    return reading(place) if read_only else writing(place, optimistic=True)


def credentials() -> dict[str, Any]:
    """What the environment has for servers, by the names of :class:`~atop.store.Store`'s options.

    A token is never on a command line, where everybody on the machine could see it.
    """
    found: dict[str, Any] = {name: path for name, variable in _FILES.items()
                             if (path := os.environ.get(variable))}
    token = os.environ.get("ATOP_TOKEN", "") or _token_in(os.environ.get("ATOP_TOKEN_FILE", ""))
    return found | {"token": token, "insecure": os.environ.get("ATOP_INSECURE") == "1"}


def _open(place: str, **options: Any) -> Store:
    address = parse(place)
    if address is None:
        return Store(Path(place), **options)
    access = credentials() if isinstance(address, TcpAddress) else {}
    return Store(place, **options, **access)


def _token_in(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or "it is no text"
        raise StoreError(f"{path} cannot be read ({told}): ATOP_TOKEN_FILE names the file with the "
                         "token", path) from error


def _check_there(path: Path) -> None:
    if not (path / "FORMAT").exists():
        raise NotAStore(f"there is no store at {path}", str(path))
