"""A store's folder: made, checked, locked and opened.

::

    pim.atop/
      FORMAT        one line: format number and engine
      KEY           the keys of an encrypted store, locked up
      environment/  Berkeley DB: tables and logs
      files/        external files, by id
      owner         who has the store
      serial        of the last commit, for clients
      set-aside/    what recovery had to drop, until somebody removes it
      socket        where the owner's clients find it
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from atop.engine.base import ITEMS, TABLES
from atop.engine.bdb import BerkeleyEngine
from atop.engine.checksum import Checksum
from atop.engine.environment import COMMITS, Environment, check_config
from atop.engine.failures import has_ended, translated
from atop.engine.filefolder import FileFolder
from atop.engine.firstlook import check_first_pages, check_touched
from atop.engine.keyring import Keyring, check, check_fits, check_tables
from atop.engine.log import renew_all, sync_folder, try_disk
from atop.engine.owner import Owner, check_lengths
from atop.engine.published import is_held_before, last_on_disk, last_published, share_with_group
from atop.engine.recovery import Recovery
from atop.engine.setaside import FOLDER as SET_ASIDE
from atop.engine.trust import check_trusted
from atop.errors import NewerFormat, NotAStore, StoreError, StoreFailed

FORMAT = 1
_LINE = re.compile(r"atop (\d{1,9}) (\w+)\n?")
_RECOVERY_CACHE = 8 << 20
_OURS = {
    "FORMAT", "FORMAT.new", "KEY", "KEY.new", "environment", "files", "owner", "serial", "socket",
    "wanted", SET_ASIDE,
}
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "glusterfs"}


class Folder:
    """An open folder, which this process owns; or shares with others who only read."""

    def __init__(
        self, path: Path, *, read_only: bool, cache_bytes: int, keyring: Keyring | None = None
    ) -> None:
        self.path = path
        self.read_only = read_only
        self.keyring = keyring
        self.files = FileFolder(path / "files", None if keyring is None else keyring.files)
        self.is_held_before: Callable[[int], bool] = partial(is_held_before, path)
        self.files.held_elsewhere = self._is_held_before
        self._owner = self._share() if read_only else Owner(path)
        try:
            self.recovered = self._owner.closed_files is None
            self.swept: list[str] = []
            self._recovery = Recovery(path, self.password)
            self._check()
            self.engine = self._open(cache_bytes)
        except BaseException:
            self._owner.release()
            raise

    @property
    def password(self) -> str | None:
        """Berkeley DB's, if the store is encrypted."""
        return None if self.keyring is None else self.keyring.password

    @property
    def dropped(self) -> list[str]:
        """What recovery had to drop, now or earlier: what is left of it is in ``set-aside``."""
        return self._recovery.notes

    @property
    def in_place(self) -> bool:
        """Whether the folder is still where it was when it was opened."""
        return self._owner.in_place

    def close(self) -> None:
        """Close the environment and unlock the folder; it counts as closed if all went well."""
        try:
            failed = self.engine.failed
            try:
                self.files.close()
            finally:
                self.engine.close()
            strays = self.files.doomed or self.engine.adopting
            if not (failed or self.read_only or strays):
                for folder in (self.path / "environment", self.files.folder):
                    sync_folder(folder)  # no file comes back, or goes, behind what is written now
                self._owner.sign_off(_lengths(self.path))
        finally:
            self._owner.release()

    def abandon(self) -> None:
        """In a forked child: the folder is the parent's."""
        self.engine.abandon()
        self._owner.release()

    def _is_held_before(self, serial: int) -> bool:
        """Whether others have a snapshot older than `serial`; who has moved the folder may."""
        return not self.in_place or self.is_held_before(serial)

    def _share(self) -> Owner:
        """A shared lock on a store that was closed in order; else recover it first."""
        try:
            owner = Owner(self.path, shared=True)
        except FileNotFoundError:
            owner = None
        if owner is not None:
            if owner.closed_files is not None:
                return owner
            owner.release()
        Folder(
            self.path, read_only=False, cache_bytes=_RECOVERY_CACHE, keyring=self.keyring
        ).close()
        return Owner(self.path, shared=True)

    def _check(self) -> None:
        """Look for what is damaged before Berkeley DB does, and before anything is written."""
        folder = self.path / "environment"
        complete = (self.path / "FORMAT").exists()
        check(self.path, self.keyring)
        check_config(folder)
        if self._owner.closed_files is not None:
            check_lengths(folder, self._owner.closed_files)
        checksum = None if self.password is None else Checksum(self.password)
        check_fits(folder, (*TABLES, COMMITS), self.keyring)
        check_first_pages(folder, complete=complete, checksum=checksum)
        check_tables(folder, (*TABLES, COMMITS), self.keyring)
        if self._owner.closed_files is not None:
            check_touched(folder, self._owner.written_at)
        if not self.read_only:
            restarted = self._owner.was_restarted_here
            self._recovery.prepare(
                closed=not self.recovered, complete=complete, restarted=restarted
            )

    def _open(self, cache_bytes: int) -> BerkeleyEngine:
        if self.read_only:
            return self._engine(cache_bytes)
        if self._owner.doubtful:
            renew_all(self.path / "environment")
        self._owner.sign()
        try:
            for folder in (self.path / "environment", self.files.folder):
                folder.mkdir(0o700, exist_ok=True)
            share_with_group(self.files.folder, self.path, 0o750)
            engine = self._engine(cache_bytes)
        except BaseException as error:
            self._owner.take_back()
            if has_ended(error) or isinstance(error, StoreFailed):
                self._owner.doubt()
            raise
        try:
            sync_folder(self.path / "environment")
            if self.recovered:
                self._recovery.finish(engine.serial, self._published(), self._on_disk())
                self.swept = self.files.sweep(
                    lambda ident: _has_item(engine, ident), engine.serial, self._recovery.take
                )
            _write_format(self.path)
        except BaseException:
            engine.close()
            raise
        return engine

    def _published(self) -> int:
        """The last commit of the process that was killed, if what it wrote must be there."""
        return last_published(self.path) if self._owner.was_killed_here else 0

    def _on_disk(self) -> int:
        """The last commit that was known to be on the disk before the system ended."""
        return last_on_disk(self.path) if self._owner.was_restarted_here else 0

    def _engine(self, cache_bytes: int) -> BerkeleyEngine:
        folder = self.path / "environment"
        try:
            environment = self._environment(folder, cache_bytes)
        except StoreError as error:
            if not has_ended(error) or self.read_only:
                raise
            try_disk(self.path)  # Berkeley DB does not tell why it gave up: a disk does
            renew_all(folder)
            environment = self._environment(folder, cache_bytes)
        try:
            if self.recovered and not self.read_only:
                self._recovery.check_tables()
            engine = BerkeleyEngine(self.path, environment, self.files)
        except BaseException:
            environment.close(checkpoint=False)
            raise
        if not self.read_only:
            environment.check_place = self._owner.check_place
            engine.on_doubt = self._owner.doubt
        return engine

    def _environment(self, folder: Path, cache_bytes: int) -> Environment:
        return Environment(
            folder, cache_bytes, read_only=self.read_only, password=self.password
        )


def open_folder(
    path: Path, *, read_only: bool, cache_bytes: int, keyring: Keyring | None = None
) -> Folder:
    """Open the store in `path`, making it if there is none; recover it, always.

    :raises WrongKey: when `keyring` has not the keys of the store that is there.
    :raises NotAStore: when the path holds something else, or nothing and `read_only`.
    :raises StoreBusy: when anybody has it open.
    """
    with translated(str(path)):
        path = path.absolute()
        look(path, read_only)
        return Folder(path, read_only=read_only, cache_bytes=cache_bytes, keyring=keyring)


def _has_item(engine: BerkeleyEngine, ident: int) -> bool:
    return engine.get(ITEMS, ident.to_bytes(8, "big"))[1] is not None


def look(path: Path, read_only: bool) -> None:
    """Make sure that `path` is a folder that a store is in, or may be made in."""
    if not path.exists():
        if read_only:
            raise NotAStore(f"there is no store at {path}", str(path))
        path.mkdir(0o700, exist_ok=True)
        sync_folder(path.parent)
    if not path.is_dir():
        raise NotAStore(f"{path} is a file, a store is a folder", str(path))
    check_trusted(path)
    _refuse_network(path)
    if (path / "FORMAT").exists():
        with suppress(PermissionError):  # its owner may let us in all the same
            check_format(path)
    elif read_only or not {entry.name for entry in path.iterdir()} <= _OURS:
        raise NotAStore(
            f"{path} is not a store: it has no file FORMAT; name a new or an empty folder",
            str(path),
        )


def check_format(path: Path) -> None:
    """Refuse what is no store, or a newer one.

    :raises NotAStore: when the file FORMAT does not say what a store's should.
    :raises NewerFormat: when this Atop does not read the format.
    """
    with (path / "FORMAT").open("rb") as file:
        line = file.read(100).decode("ascii", "replace")
    match = _LINE.fullmatch(line)
    if match is None:
        raise NotAStore(
            f"{path / 'FORMAT'} does not say what a store's should: {line[:40]!r}", str(path)
        )
    if int(match[1]) > FORMAT or match[2] != "berkeleydb":
        raise NewerFormat(
            f"{path} has format {match[1]} on {match[2]}; this Atop reads format {FORMAT} on "
            "berkeleydb: install a newer one",
            str(path),
        )


def _write_format(path: Path) -> None:
    if not (path / "FORMAT").exists():
        new = path / "FORMAT.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, f"atop {FORMAT} berkeleydb\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.rename(path / "FORMAT")
        sync_folder(path)


def _lengths(path: Path) -> dict[str, int]:
    folder = path / "environment"
    return {entry.name: entry.stat().st_size for entry in sorted(folder.iterdir())}


def _refuse_network(path: Path) -> None:
    """Locks and syncs do not hold on a network file system."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        return
    best, kind = "", ""
    place = str(path.resolve())
    for line in mounts.read_text(errors="replace").splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4]
        inside = point == "/" or place == point or place.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    if kind in _NETWORK:
        raise StoreError(
            f"{path} is on a network file system ({kind}), whose locks and syncs do not hold: "
            "keep the store on a local disk",
            str(path),
        )
