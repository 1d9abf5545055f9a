"""What a store stands on: memory, a folder, or a server at an address."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from atop.engine.address import Address, parse
from atop.engine.base import Engine
from atop.engine.filefolder import FileFolder
from atop.engine.keyring import Secret
from atop.engine.link import Link, open_address, open_link
from atop.errors import ValueRefused

if TYPE_CHECKING:
    from atop.engine.remotelink import RemoteLink

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True, repr=False, eq=False)
class Credentials:
    """What a server is shown, and how it is known; nothing of it is ever told."""

    token: str = ""
    ca: AnyPath | None = None
    cert: AnyPath | None = None
    cert_key: AnyPath | None = None
    insecure: bool = False

    @property
    def given(self) -> bool:
        """Whether there are any."""
        return any((self.token, self.ca, self.cert, self.cert_key, self.insecure))


class Ground(NamedTuple):
    """What a store stands on: its engine, its files, and the way to them if there is any."""

    link: Link | RemoteLink | None
    engine: Engine
    files: FileFolder


def locate(path: AnyPath | None) -> tuple[Address | None, Path | None]:
    """The address or the folder that is meant by `path`; neither for memory.

    :raises ValueRefused: for an address that is none.
    """
    address = parse(path) if isinstance(path, str) else None
    return address, None if path is None or address is not None else Path(path).absolute()


def open_ground(
    address: Address | None, folder: Path | None, secret: Secret | None, credentials: Credentials,
    *, read_only: bool, cache_bytes: int, timeout: float,
) -> Ground:
    """Open what :func:`locate` has found.

    :raises ValueRefused: when that has no use for the `secret`, or for `credentials`.
    """
    if address is not None:
        if secret is not None:
            raise ValueRefused(f"leave out key= for {address}: its server has the store's key")
        called = open_address(
            address, credentials.token, credentials.ca, credentials.cert, credentials.cert_key,
            credentials.insecure, read_only=read_only, timeout=timeout,
        )
        return Ground(called, called, called.files)
    if credentials.given:
        raise ValueRefused("token=, ca=, cert=, certKey= and insecure= are for a store's address")
    if folder is None:
        if secret is not None:
            raise ValueRefused("a store in memory has no key: leave out key=, or name a folder")
        from atop.engine.memory import MemoryEngine

        files = FileFolder(None)
        return Ground(None, MemoryEngine(files), files)
    link = open_link(
        folder, read_only=read_only, cache_bytes=cache_bytes, timeout=timeout, secret=secret
    )
    return Ground(link, link, link.files)
