"""What recovery would have dropped, kept in the store's folder until a person removes it.

::

    set-aside/
      2026-11-21T09-59-53/
        note             one line: what happened
        log.0000000001   as it was before recovery
        files/           external files that no committed item stands for
      2026-11-21T10-12-00-never-synced/   what a power cut has left, and nobody misses

Bytes are moved or copied here before anything is done to where they were, and are durable then.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from atop.engine.log import sync_folder
from atop.errors import NotAStore

FOLDER = "set-aside"
_NOTE = "note"
_NEW, _HALF = "new-", "half-"
_NEVER_SYNCED = "-never-synced"
_MOST_NOTES = 100
_MOST_CHARACTERS = 2000


class SetAside:
    """The folder ``set-aside`` of the store in `store`; it may be absent.

    :raises NotAStore: when something else has its name.
    """

    def __init__(self, store: Path) -> None:
        self.folder = store / FOLDER
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(self.folder.lstat().st_mode):
                raise NotAStore(
                    f"{self.folder} is not a folder: move it away, then open the store",
                    str(self.folder),
                )

    def notes(self, *, losses: bool = False) -> list[str]:
        """What happened, and where that is, oldest first; or only where `losses` are possible."""
        places = [
            place for place in self._places() if not (losses and _NEVER_SYNCED in place.name)
        ][:_MOST_NOTES]
        told = [(place / _NOTE).read_text("utf-8", "replace") for place in places]
        return [
            f"{text[:_MOST_CHARACTERS].strip()}: see {place}"
            for place, text in zip(places, told, strict=True)
        ]

    def keep(
        self, files: Iterable[Path], note: str, *, certain: bool = True, never_synced: bool = False
    ) -> Path:
        """Copy files and write a note, durably; answers the folder in which they are.

        What is not `certain` to be damage is to be confirmed or removed: see :meth:`settle`. What
        was `never_synced` is no loss.
        """
        self._make()
        place = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.folder))
        try:
            for file in files:
                shutil.copyfile(file, place / file.name)
            suffix = _NEVER_SYNCED if never_synced else ""
            final = self._free_name("" if certain else _HALF, suffix)
            _tell(place, note)
            for path in place.iterdir():
                path.chmod(0o600)
                _sync(path)
            sync_folder(place)
            place.rename(final)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        sync_folder(self.folder)
        return final

    def settle(self, note: str) -> Path | None:
        """Confirm with a `note` what was not certain, or with none remove it; answers the last."""
        final = None
        for place in sorted(self.folder.glob(f"{_HALF}*")):
            if note:
                final = self._free_name("")
                _tell(place, note)
                place.rename(final)
                sync_folder(self.folder)
            else:
                shutil.rmtree(place)
        self._clear()
        with suppress(OSError):  # it is not empty, or not there
            self.folder.rmdir()
        return final

    def take(self, file: Path) -> bool:
        """Move a file of the store here, if ever anything was set aside; answers whether it was."""
        places = self._places()
        if not places:
            return False
        target = places[-1] / "files"
        target.mkdir(0o700, exist_ok=True)
        os.rename(file, target / file.name)
        sync_folder(target)
        sync_folder(places[-1])
        return True

    def _make(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(0o700)
            sync_folder(self.folder.parent)
        self._clear()

    def _clear(self) -> None:
        """Remove what was cut off while it was being kept: it is all where it was."""
        for place in self.folder.glob(f"{_NEW}*"):
            shutil.rmtree(place, ignore_errors=True)

    def _places(self) -> list[Path]:
        if not self.folder.exists():
            return []
        return sorted(
            path for path in self.folder.iterdir()
            if not path.name.startswith((_NEW, _HALF)) and not path.is_symlink()
            and (path / _NOTE).is_file()
        )

    def _free_name(self, prefix: str, suffix: str = "") -> Path:
        moment = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime())
        now = self.folder / f"{prefix}{moment}"
        number, place = 1, now.with_name(f"{now.name}{suffix}")
        while os.path.lexists(place):
            number += 1
            place = now.with_name(f"{now.name}-{number:03}{suffix}")
        return place


def _tell(place: Path, note: str) -> None:
    (place / _NOTE).write_text(f"{note}\n", "utf-8")
    _sync(place / _NOTE)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
