"""The care of stores: backups and their return, checkpoints, compaction, figures.

None of it happens inside a transaction, which could wait for itself.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from atop.classes import ClassTable
from atop.engine import keyring, recoding
from atop.engine.backup import back_up, copy_back
from atop.engine.base import INDEX, ITEMS, Range
from atop.engine.failures import translated
from atop.engine.filefolder import FileFolder
from atop.engine.folder import FORMAT, Folder, check_format
from atop.engine.keyring import Secret, unlock
from atop.engine.present import Present
from atop.engine.progress import Progress, silent
from atop.engine.setaside import SetAside
from atop.errors import (
    DamagedStore,
    NotLoadable,
    StoreError,
    TransactionError,
    ValueRefused,
    WrongKey,
)
from atop.files import File
from atop.records import Allowed, decode_header, loader

if TYPE_CHECKING:
    from atop.store import Store

_PAGE = 500
_CHUNK = 1 << 20
_FIGURES = ("files", "file_bytes", "table_bytes", "log_bytes", "page_hits", "page_misses",
            "log_syncs", "clients")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of a store. Sizes are in bytes; what a store in memory does not have is 0.

    ``serial`` is the number of the last commit and ``time`` when it was, ``None`` in a new store.
    ``page_hits`` and ``page_misses`` are of the page cache and ``log_syncs`` of the log, both since
    the store was opened. ``checkpoint`` is when the last one was made since then, or ``None``, and
    ``clients`` how many other programs have the store open through its owner.
    """

    format: int
    serial: int
    time: datetime | None
    items: int
    entries: int
    pools: int
    files: int
    file_bytes: int
    table_bytes: int
    log_bytes: int
    page_hits: int
    page_misses: int
    log_syncs: int
    checkpoint: datetime | None
    clients: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """How many bytes the tables have given back, and which were left out for their large keys."""

    freed: int
    left_out: tuple[str, ...]


def backup(store: Store, path: str | os.PathLike[str], progress: Progress | None) -> None:
    """See :meth:`atop.store.Store.backup`."""
    _outside(store, "a backup is made")
    keeper, source = store.keeper, store.path
    if store.url is not None:
        raise StoreError(
            f"{store.url} is backed up where its folder is: run `atopdb backup` there", store.url
        )
    if source is None:
        raise StoreError(f"{store!r} has no folder to copy: add its items to one that has")
    check = _FileCheck(store.allowed).check
    target = Path(path).absolute()
    back_up(keeper.copy_to, source, target, check, progress or silent, store.keyring)


def restore(
    backup: str | os.PathLike[str],
    target: str | os.PathLike[str],
    progress: Progress | None = None,
    *,
    key: str | bytes | None = None,
) -> None:
    """Copy a backup, or any closed store, to `target`, which is there when it is complete.

    `backup` is only read; `target` may be an empty folder, and nothing is ever overwritten.
    `progress` is called as :meth:`~atop.store.Store.backup` does. `key` is that of the backup, and
    will be that of `target`.

    :raises WrongKey: when `key` is not its key.
    :raises NotAStore: when there is no store in `backup`.
    :raises StoreBusy: when somebody has it open.
    :raises DamagedStore: when a part of it is missing or damaged.
    :raises StoreError: when `target` exists and is not empty.
    """
    secret = None if key is None else Secret(key)
    del key
    source = Path(backup).absolute()
    with translated(str(source)):
        check_format(source)
        keys = unlock(source, secret)
    checker = _FileCheck(Allowed())
    copy_back(source, Path(target).absolute(), checker.check, progress or silent, keys)


def recode(
    store: Store,
    path: str | os.PathLike[str],
    key: str | bytes | None = None,
    progress: Progress | None = None,
) -> None:
    """Copy what the store holds at this moment to the new store `path`, encrypted with `key`.

    Without a `key` the copy is not encrypted. All is written anew: ids stay, past commits are not
    copied. `path` is there, durably, when it is complete; it may be an empty folder before.

    :raises StoreError: when `path` is not empty, and for a store in memory or at an address.
    :raises DamagedStore: when a file is missing, or not whole.
    :raises SnapshotTooOld: when too much was committed meanwhile.
    """
    secret = None if key is None else Secret(key)
    del key
    _outside(store, "a store is copied")
    if store.path is None:
        raise StoreError(f"{store.place} has no folder: run `atopdb encrypt` where it is")
    checker = _FileCheck(store.allowed)
    recoding.recode(store.engine, store.files, Path(path).absolute(), secret, checker.check,
                    progress or silent)


def dropped(store: Store) -> list[str]:
    """What recovery had to drop from the log, until ``set-aside`` in the store's folder is removed.

    Of a store at an address that is not known.
    """
    return [] if store.path is None else SetAside(Path(store.path)).notes()


def checkpoint(store: Store) -> None:
    """See :meth:`atop.store.Store.checkpoint`."""
    _outside(store, "a checkpoint is made")
    store.check_writable()
    store.keeper.checkpoint()


def compact(store: Store, progress: Progress | None) -> Compacted:
    """See :meth:`atop.store.Store.compact`."""
    _outside(store, "a store is compacted")
    store.check_writable()
    freed, left_out = store.keeper.compact(progress or silent)
    return Compacted(freed, tuple(left_out))


def change_key(store: Store, secret: Secret) -> None:
    """See :meth:`atop.store.Store.changeKey`."""
    _outside(store, "a key is changed")
    store.check_writable()
    if store.path is None:
        raise ValueRefused(f"{store.place} has no key here: change it where the folder is")
    if store.keyring is None:
        raise WrongKey(
            f"{store.path} was made without a key: copy it into a new store with one by "
            "`atopdb encrypt`",
            str(store.path),
        )
    turn = store.engine.writer(store.timeout)
    try:
        with translated(str(store.path)):
            keyring.change(store.path, store.keyring, secret)
    finally:
        turn.release()


def stats(store: Store) -> Stats:
    """See :meth:`atop.store.Store.stats`."""
    state = store.engine.state
    figures = store.keeper.figures()
    return Stats(
        format=FORMAT,
        serial=state.serial,
        time=_moment(state.time if state.serial else 0),
        items=state.counts[ITEMS],
        entries=state.counts[INDEX],
        pools=len(store.pools()),
        checkpoint=_moment(figures.get("checkpointed_at", 0)),
        **{name: figures.get(name, 0) for name in _FIGURES},
    )


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


class _FileCheck:
    """That a copy has the bytes of all its files."""

    def __init__(self, allowed: Allowed) -> None:
        self._classes = ClassTable()
        self._load = loader(allowed, _anything)

    def check(self, folder: Folder) -> None:
        """Raise :class:`DamagedStore` for a file that is missing or has other bytes."""
        rest = Range(limit=_PAGE)
        while rows := folder.engine.scan(ITEMS, rest)[1]:
            for key, record in rows:
                number, _, at = decode_header(record)
                kind = self._classes.kind(number, Present(folder.engine, folder.engine.serial))
                if issubclass(kind.cls, File):
                    self._check(folder.files, int.from_bytes(key, "big"), record[at:])
            rest = rest.after(rows[-1][0])

    def _check(self, files: FileFolder, ident: int, pickled: bytes) -> None:
        path, found = files.path(ident), files.size(ident)
        try:
            state = self._load(pickled)
            wanted, sha256 = state.get("size"), state.get("sha256")
        except NotLoadable:
            wanted, sha256 = found, None
        if found is None or found != wanted:
            told = "is missing or cut off" if found is None else f"has {found:,} bytes"
            raise DamagedStore(
                f"{path} {told} and should "
                f"have {wanted:,}: run `atopdb verify` on the store that is copied",
                str(path),
            )
        if sha256 is None:
            return
        with files.open(ident, found, sha256) as file:
            digest = hashlib.sha256()
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            if digest.hexdigest() != sha256:
                raise DamagedStore(
                    f"the bytes of {path} are not those that were stored: run `atopdb verify` on "
                    "the store that is copied",
                    str(path),
                )


def _anything(reference: tuple[int, int]) -> File:
    """What stands for an item that a file refers to."""
    return File()


def _outside(store: Store, what: str) -> None:
    if store.session().transaction is not None:
        raise TransactionError(f"{what} outside transactions: end this one first")
