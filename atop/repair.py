"""Repair: all of a store that follows from its items, made anew in its place.

Index rows, counts, the next id, the catalogue, and Berkeley DB's own pages and logs are written
again from the records, in a new environment beside the old one. The old one is set aside, whole,
when the new one is complete; where an item would be lost, nothing is touched.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from atop.engine.base import CATALOG, INDEX, ITEMS
from atop.engine.failures import translated
from atop.engine.folder import Folder
from atop.engine.keyfile import FILE as KEY
from atop.engine.keyring import Keyring, Secret, unlock
from atop.engine.log import sync_folder
from atop.engine.owner import Owner
from atop.engine.progress import Progress, silent
from atop.engine.setaside import FOLDER as SET_ASIDE
from atop.engine.wreck import Wreck
from atop.errors import DamagedStore, NotAStore, StoreError
from atop.rebuild import Rebuild
from atop.remains import Remains
from atop.report import Salvaged
from atop.salvage import last_serial, opened_wreck, outcome
from atop.savedfiles import SavedFiles

_NEW = "new"
_READY = "ready"
_CACHE_BYTES = 32 << 20
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair has made: how many items and index entries, and where the old parts are.

    ``strays`` are files that no item stood for, which are set aside too. ``left`` is what is wrong
    with files, whose bytes nothing can bring back but a backup.
    """

    items: int
    entries: int
    pools: int
    aside: Path
    strays: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def repair(
    path: str | os.PathLike[str],
    progress: Progress | None = None,
    *,
    key: str | bytes | None = None,
) -> Repaired:
    """Make anew, from the items of the store in `path`, all else that it has.

    Nobody may have the store open. What was there before is set aside in its folder ``set-aside``.
    A repair that was cut off is taken up by the next one.

    :raises StoreBusy: when somebody has the store.
    :raises DamagedStore: when an item would be lost: nothing was changed, it is to be salvaged.
    :raises NotAStore: when there is none in `path`.
    :raises WrongKey: when `key` is not its key.
    """
    secret = None if key is None else Secret(key)
    del key
    folder = Path(path).absolute()
    if not ((folder / "environment").is_dir() or _unfinished(folder)):
        raise NotAStore(f"there is no store at {folder}", str(folder))
    with translated(str(folder)):
        keyring = unlock(folder, secret)
        return _Repair(folder, keyring, progress or silent).run()


class _Repair:
    def __init__(self, folder: Path, keyring: Keyring | None, progress: Progress) -> None:
        self._folder = folder
        self._keyring = keyring
        self._progress = progress

    def run(self) -> Repaired:
        """Finish what an earlier repair has made complete, or make it."""
        aside = _unfinished(self._folder)
        if aside is not None:
            self._swap(aside)
        owner = Owner(self._folder)
        try:
            closed = owner.closed_files is not None
            aside = self._new_aside()
            try:
                saved, kept = self._make(aside, closed)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                _remove_empty(aside.parent)
                raise
            self._swap(aside)
            strays = self._strays(kept, aside)
        finally:
            owner.release()
        left = tuple(loss.what for loss in saved.losses)
        return Repaired(saved.items, saved.entries, saved.pools, aside, strays, left, saved.notes)

    def _new_aside(self) -> Path:
        moment = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime())
        parent = self._folder / SET_ASIDE
        parent.mkdir(0o700, exist_ok=True)
        for number in range(1000):
            aside = parent / (f"{moment}-{number:03}" if number else moment)
            with suppress(FileExistsError):
                aside.mkdir(0o700)
                return aside
        raise StoreError(f"{parent} is full of folders: remove them", str(parent))

    def _make(self, aside: Path, closed: bool) -> tuple[Salvaged, set[int]]:
        """Make a new environment in `aside`, complete and synced; answers the ids of its items."""
        files = SavedFiles(self._folder / "files", None, _key(self._keyring))
        source, new = self._folder / "environment", aside / _NEW
        new.mkdir(0o700)
        (new / "files").mkdir(0o700)
        if self._keyring is not None:
            shutil.copyfile(self._folder / KEY, new / KEY)
        with opened_wreck(source, aside / "scratch", self._keyring, self._progress) as wreck:
            remains = Remains(wreck)
            rebuild = Rebuild(remains, files, serial=last_serial(self._folder))
            rebuild.plan(self._progress)
            self._check(outcome(wreck, remains, rebuild, closed), rebuild.planned, wreck)
            folder = Folder(new, read_only=False, cache_bytes=_CACHE_BYTES, keyring=self._keyring)
            try:
                rebuild.write(folder.engine.writer(1), self._progress)
            finally:
                folder.close()
            saved = outcome(wreck, remains, rebuild, closed)
            self._check(saved, saved.items, wreck)
        (aside / _READY).touch(0o600)
        for each in (new / "environment", new, aside, aside.parent, self._folder):
            sync_folder(each)
        return saved, rebuild.kept

    def _check(self, saved: Salvaged, planned: int, wreck: Wreck) -> None:
        """Refuse to go on where anything would be lost that is still there."""
        lost = [loss.what for loss in saved.losses if loss.kind != "file"]
        if not saved.current:
            lost.append("the store was not closed in order, and not all of its logs can be used")
        if saved.expected is None:
            if {ITEMS, INDEX, CATALOG} & wreck.damaged.keys():
                lost.append("how many items there were is not known")
        elif saved.expected > planned:
            lost.append(f"{saved.expected - planned:,} of {saved.expected:,} items are not found")
        if lost:
            more = f"; and {len(lost) - _SHOWN:,} more" if len(lost) > _SHOWN else ""
            raise DamagedStore(
                f"{self._folder} cannot be repaired in place, nothing was changed: "
                f"{'; '.join(lost[:_SHOWN])}{more}. Restore a backup with `atopdb restore`, or "
                f"save what can be with `atopdb salvage {self._folder} NEW`",
                str(self._folder),
            )

    def _strays(self, kept: set[int], aside: Path) -> tuple[str, ...]:
        """Set aside the files that no item stands for."""
        strays = []
        for entry in os.scandir(self._folder / "files"):
            name = entry.name
            if not (name.isascii() and name.isdigit() and int(name) in kept):
                (aside / "files").mkdir(0o700, exist_ok=True)
                os.rename(entry.path, aside / "files" / name)
                strays.append(name)
        return tuple(strays)

    def _swap(self, aside: Path) -> None:
        """Put the new environment in place; whoever is cut off in here is finished by the next."""
        place, new = self._folder / "environment", aside / _NEW
        if (new / "environment").exists():
            if place.exists() and not (aside / "environment").exists():
                place.rename(aside / "environment")
                sync_folder(self._folder)
            if place.exists():
                place.rmdir()  # an opening that came between has made it
            (new / "environment").rename(place)
        for name in ("FORMAT", "owner"):
            with suppress(FileNotFoundError):
                os.replace(new / name, self._folder / name)
        sync_folder(self._folder)
        (aside / _READY).unlink()
        shutil.rmtree(new, ignore_errors=True)


def _unfinished(folder: Path) -> Path | None:
    """Where an earlier repair stopped that had all it needs."""
    return next((ready.parent for ready in folder.glob(f"{SET_ASIDE}/*/{_READY}")), None)


def _key(keyring: Keyring | None) -> bytes | None:
    """The key of the external files."""
    return None if keyring is None else keyring.files


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
