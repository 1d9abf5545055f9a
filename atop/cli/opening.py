"""Opening the store that a verb is about. No verb but ``serve`` ever makes one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from atop.cli.output import clean
from atop.engine.address import TcpAddress, parse
from atop.engine.keyring import Password, has_key, takes_bytes
from atop.errors import NotAStore, StoreError
from atop.store import Store

store_argument = click.argument("store", type=click.Path(path_type=Path))
place_argument = click.argument("store", metavar="STORE_OR_URL")

_TOKEN_FILE = "ATOP_TOKEN_FILE names the file with the token"
_FILES = {"ca": "ATOP_CA", "cert": "ATOP_CERT", "certKey": "ATOP_CERT_KEY"}


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
    named = os.environ.get("ATOP_TOKEN_FILE", "")
    token = os.environ.get("ATOP_TOKEN", "") or (_text_in(named, _TOKEN_FILE) if named else "")
    return found | {"token": Password(token), "insecure": os.environ.get("ATOP_INSECURE") == "1"}


def store_key(folder: Path) -> str | bytes | None:
    """The key of the store in `folder`, from the environment or from who sits at the terminal.

    A key is never on a command line, where everybody on the machine could see it.
    """
    key = os.environ.get("ATOP_KEY", "")
    if key:
        return key
    named = os.environ.get("ATOP_KEY_FILE", "")
    if named:
        return key_in(named, "ATOP_KEY_FILE", as_bytes=has_key(folder) and takes_bytes(folder))
    if has_key(folder) and sys.stdin.isatty():
        return str(click.prompt(f"Key of {clean(str(folder))}", hide_input=True, err=True))
    return None


def new_key() -> str:
    """A key that is to be, from the file that ATOP_NEW_KEY_FILE names, or typed twice.

    :raises StoreError: when nobody is there to be asked.
    """
    named = os.environ.get("ATOP_NEW_KEY_FILE", "")
    if named:
        return str(key_in(named, "ATOP_NEW_KEY_FILE"))
    if not sys.stdin.isatty():
        raise StoreError("there is no new key: ATOP_NEW_KEY_FILE names the file with it")
    return str(click.prompt("New key", hide_input=True, confirmation_prompt=True, err=True))


def key_in(path: str, variable: str, *, as_bytes: bool = False) -> str | bytes:
    """The passphrase on the one line of a file; or `as_bytes` all of its bytes."""
    told = f"{variable} names the file with the key"
    if not as_bytes:
        return _text_in(path, told)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}): {told}", path) from error


def _open(place: str, **options: Any) -> Store:
    address = parse(place)
    if address is None:
        return Store(Path(place), key=store_key(Path(place)), **options)
    access = credentials() if isinstance(address, TcpAddress) else {}
    return Store(place, **options, **access)


def _text_in(path: str, told: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise StoreError(f"{path} cannot be read ({why}): {told}", path) from error


def _check_there(path: Path) -> None:
    if not (path / "FORMAT").exists():
        raise NotAStore(f"there is no store at {path}", str(path))
