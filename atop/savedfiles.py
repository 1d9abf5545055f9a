"""The external files of a damaged store, copied to the folder of a new one or only looked at."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from atop.engine.filefolder import FileFolder
from atop.engine.log import sync_folder
from atop.errors import StoreError

_CHUNK = 1 << 20


class SavedFiles:
    """Files from the folder `source` to the folder `target`, if there is one.

    `key` is that of an encrypted store. ``idents`` are the ids of the files that are there.
    """

    def __init__(self, source: Path, target: Path | None, key: bytes | None) -> None:
        self._source = FileFolder(source, key)
        self._target = None if target is None else FileFolder(target, key)
        self.idents = {int(path.name) for path in _regular(source) if _is_id(path.name)}

    def save(self, ident: int, size: int, sha256: str) -> tuple[dict[str, Any], str]:
        """Save the bytes of a file: what is true of them, and what is wrong if they differ.

        Bytes that are lost are none from now on.
        """
        found, problem = self._found(ident, size, sha256)
        if self._target is not None:
            self._write(ident, found)
        return found, problem

    def measure(self, ident: int) -> dict[str, Any]:
        """How many bytes a file has, and their digest."""
        try:
            with self._source.open_new(self._source.path(ident)) as file:
                return _measured(_chunks(file))
        except (OSError, StoreError):
            return _measured(())

    def sync(self) -> None:
        """Make all that was saved durable."""
        if self._target is not None:
            sync_folder(self._target.folder)

    def _found(self, ident: int, size: int, sha256: str) -> tuple[dict[str, Any], str]:
        if ident not in self.idents:
            return _measured(()), "its bytes are lost"
        found = self.measure(ident)
        if found == {"size": size, "sha256": sha256}:
            return found, ""
        if not found["size"]:
            return found, "its bytes are lost, or cannot be read"
        if found["size"] != size:
            return found, f"it has {found['size']:,} bytes and should have {size:,}"
        return found, "its bytes are not those that were stored"

    def _write(self, ident: int, measured: dict[str, Any]) -> None:
        assert self._target is not None
        descriptor, path = self._target.create()
        try:
            with open(descriptor, "wb", buffering=0) as file:
                sealer = self._target.sealer()
                for chunk in self._bytes(ident) if measured["size"] else ():
                    for part in sealer.seal(chunk):
                        file.write(part)
                for part in sealer.end(measured["size"], measured["sha256"]):
                    file.write(part)
                os.fsync(file.fileno())
            path.rename(self._target.path(ident))
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _bytes(self, ident: int) -> Iterator[bytes]:
        with closing(self._source.open_new(self._source.path(ident))) as file:
            yield from _chunks(file)


def _measured(chunks: Any) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")


def _regular(folder: Path) -> Iterator[Path]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            yield Path(entry.path)


def _is_id(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name)) == name and len(name) < 19
