"""The external files of a folder that this process owns or is a client in.

A client writes into the folder itself, but asks the owner for the name first: if the client dies,
it is the owner that removes what no commit has taken.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from atop.engine.filefolder import FileFolder
from atop.errors import ProtocolError, TransactionLost

_OWNERS = 5  # so many killed one after the other are more than bad luck


class Namer(Protocol):
    """Who knows whether there is an owner to be asked."""

    def new_file(self) -> str | None:
        """The name of a new file that the owner has made; ``None`` if that is ourselves."""

    def drop_file(self, name: str) -> None:
        """The file of that name is not wanted."""


class LocalFiles(FileFolder):
    """The files in `folder`, with new names from `namer`."""

    def __init__(self, folder: Path, namer: Namer, key: bytes | None = None) -> None:
        super().__init__(folder, key)
        self._namer = namer

    def create(self) -> tuple[int, Path]:
        for _ in range(_OWNERS):
            name = self._namer.new_file()
            if name is None:
                return super().create()
            if name != os.path.basename(name):
                raise ProtocolError(f"the owner of {self.folder.parent} calls a new file {name!r}")
            path = self.folder / name
            with suppress(FileNotFoundError):  # that owner was killed, and the next one has swept
                return os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW), path
        raise TransactionLost(f"{path}, a new file, was removed again: begin the transaction anew")

    def discard(self, path: Path, name: str = "") -> None:
        with suppress(PermissionError):  # its owner may remove it, and does
            super().discard(path, name)
        self._namer.drop_file(path.name)
