"""The external files of a store that is reached over a connection: their bytes come and go in
chunks, and are compared with their digest at both ends.

A new file is written to a temporary folder here, and sent when it is complete.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from atop.engine import messages
from atop.engine.base import Engine
from atop.engine.connection import Connection
from atop.engine.filefolder import FileFolder, PendingFile
from atop.engine.seekable import Seekable
from atop.errors import (
    DamagedStore,
    StoreClosed,
    StoreUnreachable,
    TransactionLost,
    ValueRefused,
)

_CHUNK = 1 << 20
_LEAST_SHARE = 2


class Caller(Protocol):
    """Who has the connection, which may be made anew."""

    @property
    def engine(self) -> Engine:
        """What counts the readers of files."""

    @property
    def connection(self) -> Connection:
        """The connection that there is now."""

    def ask(self, kind: type[messages.Request], *fields: Any) -> Any:
        """The body of the answer, over whichever connection there is."""


class RemoteFiles(FileFolder):
    """The files of the store at `place`."""

    def __init__(self, caller: Caller, place: str) -> None:
        super().__init__(None)
        self._caller = caller
        self._place = place
        self._sent: dict[str, Connection] = {}

    def create(self) -> tuple[int, Path]:
        if self._temporary is not None and not self._temporary.ours:
            self._folder = None  # it goes with the process that we were forked from
        return super().create()

    def path(self, ident: int) -> Path:
        raise ValueRefused(
            f"the bytes of file {ident} are at {self._place}, and have no path here: use open()",
            ident,
        )

    def name(self, ident: int) -> str:
        return f"file {ident} of {self._place}"

    def finish(self, path: Path, size: int, sha256: str) -> str:
        """Send the bytes; answers the name that the server gave them.

        :raises TransactionLost: when the connection is lost meanwhile.
        """
        connection = self._caller.connection
        try:
            name: str = connection.ask(messages.NewFile)[1]
            self._sent[name] = connection
            with path.open("rb") as file:
                while chunk := file.read(_chunk(connection)):
                    connection.ask(messages.FileData, name, chunk)
            connection.ask(messages.FileEnd, name, size, sha256)
        except (StoreUnreachable, StoreClosed) as error:
            raise TransactionLost(
                f"the transaction is lost, since a file could not be sent ({error}): begin it "
                "again, or use store.transact"
            ) from error
        return name

    def open(
        self, ident: int, size: int, sha256: str, seen_at: int | None = None
    ) -> BinaryIO:
        stream = _Stream(self._caller, self.name(ident), ident, size, sha256, seen_at)
        return cast(BinaryIO, io.BufferedReader(stream, _CHUNK))

    def read(self, ident: int, offset: int, size: int) -> bytes:
        data: bytes = self._caller.ask(messages.ReadFile, ident, offset, size)
        return data

    def discard(self, path: Path, name: str = "") -> None:
        path.unlink(missing_ok=True)
        connection = self._sent.pop(name, None)
        if connection is not None:
            connection.tell(messages.FileDrop, name)

    def kept(self, files: Iterable[PendingFile]) -> None:
        """The server has them: what was written here is not needed any more."""
        for file in files:
            self._sent.pop(file.name, None)
            file.path.unlink(missing_ok=True)


class _Stream(Seekable):
    """The bytes of a committed file; it stays on the server's disk as long as this is open."""

    def __init__(
        self, caller: Caller, name: str, ident: int, size: int, sha256: str, seen_at: int | None
    ) -> None:
        super().__init__()
        self.name = name
        self.size = size
        self._ident, self._sha256 = ident, sha256
        self._caller = caller
        self._checked = 0
        self._digest = hashlib.sha256()
        self._end: Callable[[], object] = lambda: None
        self._end = partial(caller.engine.end_snapshot, caller.engine.begin_snapshot(seen_at))

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        parts = []
        while data := self._next(_CHUNK):
            parts.append(data)
        return b"".join(parts)

    def close(self) -> None:
        end, self._end = self._end, lambda: None
        with suppress(StoreUnreachable):
            end()
        super().close()

    def _next(self, most: int) -> bytes:
        """The next bytes, at most so many; none at the end."""
        if self.closed:
            raise ValueError("this file is closed")
        size = min(most, _CHUNK, self.size - self._at)
        if size <= 0:
            return b""
        last = self._at + size == self.size
        data: bytes = self._caller.ask(messages.ReadFile, self._ident, self._at, size + last)
        if not data:
            raise self._damaged(f"ends after {self._at:,} of {self.size:,} bytes")
        if len(data) > size:
            raise self._damaged(f"has more than {self.size:,} bytes")
        self._check(data)
        self._at += len(data)
        return data

    def _check(self, data: bytes) -> None:
        """Compare the digest at the end, when all was read in order."""
        if self._at != self._checked:
            return
        self._digest.update(data)
        self._checked += len(data)
        if self._checked == self.size and self._digest.hexdigest() != self._sha256:
            raise self._damaged("has other bytes than were stored")

    def _damaged(self, what: str) -> DamagedStore:
        return DamagedStore(f"{self.name} {what}: restore a backup, or look for it there")


def _chunk(connection: Connection) -> int:
    """How many bytes go into one message."""
    assert connection.welcome is not None
    return max(1, min(_CHUNK, connection.welcome.max_request // _LEAST_SHARE))
