"""File: an item whose bytes live outside the database, and are as transactional as all else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, ClassVar, cast

from atop.engine.failures import translated
from atop.engine.filefolder import FileFolder, PendingFile
from atop.errors import NoSuchItem, StoreError, ValueRefused
from atop.item import Bond, Item, raw_dict

if TYPE_CHECKING:
    from atop.store import Store
    from atop.transaction import Transaction


class File(Item):
    """Bytes with a name. Made by ``store.newFile(name)``, and never changed once committed.

    ``name`` is what it is called, which is never used as a path; ``size`` is in bytes and
    ``sha256`` the digest in hexadecimal.
    """

    name: str
    size: int
    sha256: str

    classVersion: ClassVar[int] = 1

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append `data`; only between ``newFile`` and the end of its ``with`` block.

        :raises ValueRefused: when the file is finished.
        """
        return self._open_writer().write(data)

    def close(self) -> None:
        """Finish writing: the bytes are on disk, and the file is a part of the transaction."""
        writer = raw_dict(self).get("_writer")
        if writer is not None:
            writer.store.add(self)

    def open(self) -> BinaryIO:
        """The bytes, to be read.

        :raises ValueRefused: while the file is being written.
        """
        pending = self._pending()
        if pending:
            return self._files().open_new(pending.path)
        bond = self._atop
        seen_at = None if bond is None else bond.session.seen_at
        return self._files().open(cast(int, self.id), self.size, self.sha256, seen_at)

    @property
    def path(self) -> Path:
        """Where the bytes are. To be read only; gone when the item is deleted.

        In a store with a key they are encrypted there: use :meth:`open`.

        :raises ValueRefused: while it is being written, and where they are on another machine.
        """
        pending = self._pending()
        return pending.path if pending else self._files().path(cast(int, self.id))

    def _pending(self) -> PendingFile | None:
        """What there is of the file while the transaction that makes it has not ended."""
        bond = self._atop
        if bond is None:
            raise ValueRefused(f"{self!r} is not finished: close it first", self)
        return bond.session.store.session().pending_file(cast(int, self.id))

    def _files(self) -> FileFolder:
        store = self.store
        if store is None:
            raise NoSuchItem(f"{self!r} was deleted", self)
        return store.files

    def __enter__(self) -> File:
        self._open_writer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            writer = raw_dict(self).pop("_writer", None)
            if writer is not None:
                writer.discard()

    def _open_writer(self) -> Writer:
        writer = raw_dict(self).get("_writer")
        if not isinstance(writer, Writer):
            raise ValueRefused(
                f"the bytes of {self!r} do not change any more: make another with store.newFile",
                self,
            )
        return writer

    def _atop_added(self, transaction: Transaction, bond: Bond) -> None:
        attributes = raw_dict(self)
        writer = attributes.pop("_writer", None)
        if not isinstance(writer, Writer):
            raise ValueRefused(f"{self!r} has no bytes: make files with store.newFile", self)
        attributes["size"], attributes["sha256"] = writer.finish()
        ident = int.from_bytes(bond.key, "big")
        transaction.files.append(PendingFile(ident, writer.name, writer.path))

    def _atop_forgotten(self, transaction: Transaction, bond: Bond) -> None:
        ident = int.from_bytes(bond.key, "big")
        for file in transaction.files:
            if file.id == ident:
                bond.session.store.files.discard(file.path, file.name)
        transaction.files = [file for file in transaction.files if file.id != ident]

    def _atop_removing(self, transaction: Transaction, bond: Bond) -> None:
        transaction.removed_files.append(int.from_bytes(bond.key, "big"))


class Writer:
    """Where the bytes of a new file go."""

    _descriptor = -1

    def __init__(self, store: Store) -> None:
        self.store = store
        with translated(str(store.files.folder)):
            self._descriptor, self.path = store.files.create()
        self.name = ""
        self._sealer = store.files.sealer()
        self._broken = False
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of `data`; answers how many bytes that were."""
        view = memoryview(data).cast("B")
        self._put(self._sealer.seal(view))
        self._digest.update(view)
        self._size += len(view)
        return len(view)

    def finish(self) -> tuple[int, str]:
        """Put the bytes on disk; answers their number and digest."""
        sha256 = self._digest.hexdigest()
        self._put(self._sealer.end(self._size, sha256))
        with translated(str(self.path)):
            os.fsync(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = -1
        self.name = self.store.files.finish(self.path, self._size, sha256)
        return self._size, sha256

    def discard(self) -> None:
        """The file is not wanted."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.store.files.discard(self.path, self.name)

    def _put(self, pieces: Iterator[bytes | memoryview]) -> None:
        """Write them all; after a write that was cut short nobody knows where the file ends."""
        if self._broken:
            raise StoreError(
                f"{self.path} could not be written to its end: make another with store.newFile",
                str(self.path),
            )
        self._broken = True
        with translated(str(self.path)):
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
        self._broken = False

    def __del__(self) -> None:
        if self._descriptor >= 0:
            self.discard()
