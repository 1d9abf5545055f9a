"""Salvage: a new store of what can be saved of a damaged one, which is only read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from atop.engine.backup import new_folder
from atop.engine.failures import translated
from atop.engine.folder import Folder
from atop.engine.keyfile import FILE as KEY
from atop.engine.keyring import Keyring, Secret, unlock
from atop.engine.owner import Owner
from atop.engine.pagecode import page_code
from atop.engine.progress import Progress, silent
from atop.engine.published import FILE as SERIAL
from atop.engine.setaside import SetAside
from atop.engine.wreck import Wreck
from atop.errors import NotAStore, StoreError
from atop.rebuild import Rebuild
from atop.remains import Remains
from atop.report import Salvaged
from atop.savedfiles import SavedFiles

_CACHE_BYTES = 32 << 20
_SERIAL_BYTES = 8
_TOO_LATE = 1 << 62


def salvage(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    progress: Progress | None = None,
    *,
    classes: Mapping[int, str] | None = None,
    doubtful: bool = False,
    key: str | bytes | None = None,
) -> Salvaged:
    """Make the new store `new` of what can be saved of `old`; answers what that was.

    `old` is only read, and needs neither a whole first page nor logs nor a file FORMAT. `new` is
    there when it is complete. `classes` gives names to classes whose own are lost, by number:
    ``{3: "pim:Person"}``. With `doubtful`, items on damaged pages are taken as they look, where
    there is nothing else of them. `key` is that of `old`, and will be that of `new`.

    :raises NotAStore: when there is nothing of a store in `old`.
    :raises StoreBusy: when somebody has it open.
    :raises StoreError: when `new` holds something, or lies in `old`.
    :raises WrongKey: when `key` is not that of `old`.
    """
    secret = None if key is None else Secret(key)
    del key
    source, target = Path(old).absolute(), Path(new).absolute()
    if target.resolve().is_relative_to(source.resolve()):
        raise StoreError(f"{target} is inside the store {source}: name a folder outside it",
                         str(target))
    _check_there(source)
    with translated(str(source)):
        keyring = unlock(source, secret)
        with unused(source) as closed, new_folder(target) as copy:
            if keyring is not None:
                shutil.copyfile(source / KEY, copy / KEY)
                (copy / KEY).chmod(0o600)
            return _save(
                source, copy, keyring, progress or silent, classes or {}, doubtful, closed
            )


def _save(
    source: Path,
    copy: Path,
    keyring: Keyring | None,
    progress: Progress,
    classes: Mapping[int, str],
    doubtful: bool,
    closed: bool,
) -> Salvaged:
    key = None if keyring is None else keyring.files
    files = SavedFiles(source / "files", copy / "files", key)
    with opened_wreck(source / "environment", copy / "scratch", keyring, progress) as wreck:
        remains = Remains(wreck)
        rebuild = Rebuild(
            remains, files, classes=classes, doubtful=doubtful, serial=last_serial(source)
        )
        rebuild.plan(progress)
        folder = Folder(copy, read_only=False, cache_bytes=_CACHE_BYTES, keyring=keyring)
        try:
            rebuild.write(folder.engine.writer(1), progress)
            files.sync()
        finally:
            folder.close()
        wreck.notes += [f"not looked into: {note}" for note in _set_aside(source)]
        return outcome(wreck, remains, rebuild, closed)


def _set_aside(source: Path) -> list[str]:
    """What recovery has dropped before, which nothing reads."""
    with suppress(NotAStore, OSError):
        return SetAside(source).notes()
    return []


def outcome(wreck: Wreck, remains: Remains, rebuild: Rebuild, closed: bool) -> Salvaged:
    """What was saved, and what could not be."""
    doubtful = len(remains.doubtful)
    notes = [*wreck.notes, *rebuild.notes]
    if doubtful and not any(loss.kind == "doubtful" for loss in rebuild.losses):
        notes.append(f"{doubtful:,} records stand on damaged pages; --doubtful takes those that "
                     "look whole")
    return Salvaged(
        rebuild.items,
        None if remains.state is None else remains.state.counts["items"],
        rebuild.entries,
        rebuild.pools,
        rebuild.files,
        tuple(rebuild.losses),
        tuple(notes),
        wreck.recovered or closed,
    )


@contextmanager
def opened_wreck(
    environment: Path, scratch: Path, keyring: Keyring | None, progress: Progress
) -> Iterator[Wreck]:
    password = None if keyring is None else keyring.password
    wreck = Wreck(environment, scratch, progress, page_code(password), password or "")
    try:
        yield wreck
    finally:
        wreck.close()
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Make sure that nobody has the store, locked meanwhile; answers if it was closed in order."""
    owner = None
    with suppress(NotAStore, FileNotFoundError, PermissionError, NotADirectoryError):
        owner = Owner(path, shared=True)
    try:
        yield owner is not None and owner.closed_files is not None
    finally:
        if owner is not None:
            owner.release()


def last_serial(path: Path) -> int:
    """The serial of the last commit that clients were told of; 0 if that is not known."""
    try:
        return int.from_bytes((path / SERIAL).read_bytes()[:_SERIAL_BYTES], "big") % _TOO_LATE
    except OSError:
        return 0


def _check_there(path: Path) -> None:
    if not path.exists():
        raise NotAStore(f"there is no store at {path}", str(path))
    if not (path / "environment").is_dir():
        raise NotAStore(f"{path} is not a store: it has no folder environment", str(path))
