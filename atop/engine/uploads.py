"""The new files that one client has: sent by it in chunks, or written by it into the folder itself.

Of each one step is taken at a time, in the order in which the requests came, and in another thread
than that of the server: a disk may be slow. No file is kept open between two steps.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atop.engine.failures import translated
from atop.engine.filefolder import FileFolder
from atop.engine.sealed import AsIs, Sealer
from atop.errors import ProtocolError, StoreError, TransactionLost

_MOST = 1 << 20
_MOST_BEGUN = 1000

Done = Callable[[Any, BaseException | None], None]
Aside = Callable[[Callable[[], Any], Done], None]
Step = tuple[Callable[[], Any], Done]


@dataclass
class _Upload:
    """A new file."""

    path: Path
    sealer: Sealer | AsIs
    size: int = 0
    broken: bool = False
    finished: bool = False
    digest: Any = field(default_factory=hashlib.sha256)
    steps: deque[Step] = field(default_factory=deque)

    def append(self, data: bytes) -> int:
        """Write on; answers how many bytes there are now."""
        self._put(self.sealer.seal(data))
        self.digest.update(data)
        self.size += len(data)
        return self.size

    def finish(self, size: int, sha256: str) -> bool:
        """Put all of it on disk, if it is what was sent."""
        if (self.size, self.digest.hexdigest()) != (size, sha256):
            raise StoreError("the bytes of a file were changed on their way: send it again")
        self._put(self.sealer.end(size, sha256))
        with translated(str(self.path.parent)):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self.finished = True
        return True

    def _put(self, pieces: Iterator[bytes | memoryview]) -> None:
        """Write them all; after a write that was cut short nobody knows where the file ends."""
        if self.broken:
            raise StoreError("a file could not be written to its end: send it again")
        self.broken = True
        with translated(str(self.path.parent)):
            descriptor = os.open(
                self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            )
            try:
                for piece in pieces:
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[os.write(descriptor, rest) :]
            finally:
                os.close(descriptor)
        self.broken = False


class Uploads:
    """The new files of a client by their names; a `local` one writes to them itself."""

    def __init__(self, files: FileFolder, aside: Aside, *, local: bool) -> None:
        self._files = files
        self._aside = aside
        self._local = local
        self._uploads: dict[str, _Upload] = {}
        self._begun: set[str] = set()

    def create(self) -> str:
        """The name of a new file, which is empty."""
        if len(self._uploads) >= _MOST:
            raise ProtocolError(f"more than {_MOST:,} new files at once")
        descriptor, path = self._files.create()
        os.close(descriptor)
        self._uploads[path.name] = _Upload(path, self._files.sealer())
        return path.name

    def append(self, name: str, data: bytes, done: Done) -> None:
        """Write on at the end of it."""
        upload = self._upload(name)
        self._begun.add(name)  # a part of each may be in memory, to be sealed with what follows
        if len(self._begun) > _MOST_BEGUN:
            raise ProtocolError(f"more than {_MOST_BEGUN:,} new files sent at once")
        self._do(upload, lambda: upload.append(data), done)

    def finish(self, name: str, size: int, sha256: str, done: Done) -> None:
        """Put it on disk, if these are its size and digest; otherwise it is dropped."""
        upload = self._upload(name)

        def finished(result: Any, error: BaseException | None) -> None:
            self._begun.discard(name)
            if error is not None:
                self.drop(name)
            done(result, error)

        self._do(upload, lambda: upload.finish(size, sha256), finished)

    def drop(self, name: str) -> None:
        """It is not wanted. Nothing happens if there is none of that name."""
        upload = self._uploads.pop(name, None)
        self._begun.discard(name)
        if upload is not None:
            self._files.discard(upload.path)

    def take(self, names: Iterable[str]) -> None:
        """A commit has them now.

        :raises TransactionLost: when one was sent over a connection that is gone.
        """
        names = list(names)
        for name in names:
            upload = self._uploads.get(name)
            if upload is None:
                raise TransactionLost(
                    "a file of the transaction went with the connection over which it was sent: "
                    "begin it again"
                )
            if not (upload.finished or self._local):
                raise ProtocolError(f"the file {name!r} was not sent to its end")
        for name in names:
            self._uploads.pop(name, None)

    def close(self) -> None:
        """The client has gone."""
        for name in list(self._uploads):
            self.drop(name)

    def _upload(self, name: str) -> _Upload:
        upload = self._uploads.get(name)
        if upload is None:
            raise ProtocolError(f"{name!r} is no new file of this client")
        return upload

    def _do(self, upload: _Upload, work: Callable[[], Any], done: Done) -> None:
        upload.steps.append((work, done))
        if len(upload.steps) == 1:
            self._next(upload)

    def _next(self, upload: _Upload) -> None:
        work, done = upload.steps[0]

        def ended(result: Any, error: BaseException | None) -> None:
            upload.steps.popleft()
            done(result, error)
            if upload.steps:
                self._next(upload)

        self._aside(work, ended)
