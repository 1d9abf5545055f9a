"""File: an item whose bytes live outside the database, and are as transactional as all else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from atop.engine.failures import translated
from atop.engine.filefolder import PendingFile
from atop.errors import ValueRefused
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
        return self.path.open("rb")

    @property
    def path(self) -> Path:
        """Where the bytes are. To be read only; gone when the item is deleted."""
        bond = self._atop
        if bond is None:
            raise ValueRefused(f"{self!r} is not finished: close it first", self)
        store = bond.session.store
        assert self.id is not None
        pending = store.session().pending_file(self.id)
        return pending or store.files.path(self.id)

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
        transaction.files.append(PendingFile(int.from_bytes(bond.key, "big"), writer.path))

    def _atop_forgotten(self, transaction: Transaction, bond: Bond) -> None:
        ident = int.from_bytes(bond.key, "big")
        bond.session.store.files.discard(file for file in transaction.files if file.id == ident)
        transaction.files = [file for file in transaction.files if file.id != ident]

    def _atop_removing(self, transaction: Transaction, bond: Bond) -> None:
        transaction.removed_files.append(int.from_bytes(bond.key, "big"))


class Writer:
    """Where the bytes of a new file go."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with translated(str(store.files.folder)):
            self._descriptor, self.path = store.files.create()
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of `data`; answers how many bytes that were."""
        view = memoryview(data).cast("B")
        with translated(str(self.path)):
            done = 0
            while done < len(view):
                done += os.write(self._descriptor, view[done:])
        self._digest.update(view)
        self._size += len(view)
        return len(view)

    def finish(self) -> tuple[int, str]:
        """Put the bytes on disk; answers their number and digest."""
        with translated(str(self.path)):
            os.fsync(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = -1
        return self._size, self._digest.hexdigest()

    def discard(self) -> None:
        """The file is not wanted."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.path.unlink(missing_ok=True)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            self.discard()
