"""A store's folder copied, while readers and writers go on.

Tables are copied first, then the log, then the files. The tables may be of different moments; the
log, which has all that was committed since the last checkpoint, brings them to one: that of the
last commit in it. What a commit may need is there: no checkpoint is made, no log and no file
removed meanwhile. Nobody writes a page without the latch, so no page is copied half written.

A copy has a temporary name until it is recovered, closed, checked and synced: what has the name
that was asked for is complete.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from atop.engine.base import TABLES
from atop.engine.environment import COMMITS, Environment
from atop.engine.failures import translated
from atop.engine.firstlook import check_first_pages
from atop.engine.folder import Folder, check_format
from atop.engine.keyfile import FILE as KEY
from atop.engine.keyring import Keyring, has_key
from atop.engine.keyring import check as check_key
from atop.engine.log import sync_folder
from atop.engine.owner import Owner, check_lengths
from atop.engine.pagecheck import table_damage
from atop.engine.progress import Progress
from atop.engine.recovery import Recovery
from atop.errors import DamagedStore, StoreError, StoreFailed, StoreFull, StorePermission

_CHUNK = 1 << 20
_CACHE_BYTES = 32 << 20

Check = Callable[[Folder], None]


def back_up(
    copy_to: Callable[[Path, Progress], int],
    source: Path,
    target: Path,
    check: Check,
    progress: Progress,
    keyring: Keyring | None = None,
) -> None:
    """Make `target` a copy of the store in `source`, whose files `copy_to` copies to a folder.

    `check` looks at the recovered copy before it counts.

    :raises StoreError: when `target` holds something, or lies in the store itself.
    """
    if target.resolve().is_relative_to(source.resolve()):
        raise StoreError(f"{target} is inside the store {source}: name a folder outside it",
                         str(target))
    with translated(str(target)), new_folder(target) as copy:
        serial = copy_to(copy, progress)
        _complete(copy, serial, check, progress, keyring)
        _check_pages(copy, target, keyring)


def copy_back(
    backup: Path, target: Path, check: Check, progress: Progress, keyring: Keyring | None = None
) -> None:
    """Copy the closed store in `backup` to `target`; `backup` itself is not written.

    :raises NotAStore: when there is no store in `backup`.
    :raises StoreBusy: when it is open.
    :raises DamagedStore: when it is not complete.
    :raises WrongKey: when `keyring` has not its keys.
    :raises StoreError: when `target` holds something.
    """
    with translated(str(backup)):
        check_format(backup)
        owner = Owner(backup, shared=True)
    try:
        environment = backup / "environment"
        check_first_pages(environment, complete=True)
        if owner.closed_files is not None:
            check_lengths(environment, owner.closed_files)
        with translated(str(target)), new_folder(target) as copy:
            names = [file.name for file in environment.iterdir()]
            copying = _Copying(backup, copy, progress)
            copying.key()
            copying.environment(names)
            copying.files()
            _check_pages(copy, backup, keyring)
            _complete(copy, None, check, progress, keyring)
    finally:
        owner.release()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target`, which gets its name in the end, or is removed."""
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise StoreError(f"{target} exists already: name a new or an empty folder", str(target))
    copy = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent))
    try:
        for name in ("environment", "files"):
            (copy / name).mkdir(0o700)
        yield copy
        _sync_all(copy)
        copy.rename(target)
    except BaseException:
        shutil.rmtree(copy, ignore_errors=True)
        raise
    sync_folder(target.parent)


def copy_open(folder: Folder, copy: Path, progress: Progress) -> int:
    """Copy a store that others may be writing to `copy`, which has its folders and no files yet.

    Answers the serial of the last commit in it.
    """
    engine = folder.engine
    if not folder.read_only:
        with suppress(StoreFull, StoreFailed, StorePermission):  # the log has it all
            engine.checkpoint()
    with engine.environment.paused(), folder.files.held():
        copying = _Copying(folder.path, copy, progress, engine.latch)
        copying.key()
        copying.environment([*TABLES, COMMITS])
        with engine.latch:
            serial = engine.state.serial
            logs = _logs(engine.environment)
        for name, size in logs.items():
            copying.copy(f"environment/{name}", size)
        copying.files()
    return serial


def _logs(environment: Environment) -> dict[str, int]:
    """The log files and their lengths: the last one has room for more behind its end."""
    logs = {path.name: path.stat().st_size for path in sorted(environment.folder.glob("log.*"))}
    if not environment.read_only:
        end = environment.handle.log_stat()
        logs[f"log.{end['cur_file']:010}"] = end["cur_offset"]
    return logs


def _complete(
    copy: Path,
    serial: int | None,
    check: Check,
    progress: Progress,
    keyring: Keyring | None,
) -> None:
    """Recover the copy and close it, so that it is a store like any other."""
    progress("recovery", 0, 1)
    check_key(copy, keyring)
    password = None if keyring is None else keyring.password
    Recovery(copy, password).prepare(closed=False, complete=True)
    Environment(copy / "environment", _CACHE_BYTES, fatal=True, password=password).close()
    folder = Folder(copy, read_only=False, cache_bytes=_CACHE_BYTES, keyring=keyring)
    try:
        found = folder.engine.state.serial
        if serial is not None and found != serial:
            raise DamagedStore(
                f"{copy} was to have commit {serial} and has {found}: the logs are damaged, run "
                "`atopdb verify`",
                str(copy),
            )
        check(folder)
    finally:
        folder.close()
    progress("recovery", 1, 1)


def _check_pages(copy: Path, named: Path, keyring: Keyring | None) -> None:
    """Raise :class:`DamagedStore` for a bad page in the `copy` of a store that is `named` so."""
    tables = [copy / "environment" / name for name in (*TABLES, COMMITS)]
    damage = table_damage(tables, "" if keyring is None else keyring.password)
    for table, text in damage.items():
        path = named / "environment" / table.name
        raise DamagedStore(f"{path} is damaged ({text}): run `atopdb verify --repair {named}`",
                           str(path))


class _Copying:
    """From one store's folder to another, a chunk at a time; each is read under the `latch`."""

    def __init__(
        self,
        source: Path,
        target: Path,
        progress: Progress,
        latch: AbstractContextManager[object] | None = None,
    ) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._latch = nullcontext() if latch is None else latch
        self._done = 0
        self._total = sum(map(_size, (*source.glob("environment/*"), *source.glob("files/*"))))

    def key(self) -> None:
        """Copy what an encrypted store is opened with."""
        if has_key(self._source):
            self.copy(KEY, None)

    def environment(self, names: list[str]) -> None:
        """Copy files of the environment."""
        for name in names:
            self.copy(f"environment/{name}", None)

    def files(self) -> None:
        """Copy, last, the external files, without those that a transaction is still writing."""
        for name in os.listdir(self._source / "files"):
            if name.isascii() and name.isdigit():
                with suppress(FileNotFoundError):  # rolled back, or missing: `check` will tell
                    self.copy(f"files/{name}", None)
        self._progress("bytes", self._done, self._done)

    def copy(self, name: str, size: int | None) -> None:
        """Copy one file durably, or its first `size` bytes."""
        left = size
        with (
            (self._source / name).open("rb", buffering=0) as source,
            open(self._target / name, "xb", buffering=0, opener=_private) as target,
        ):
            while left is None or left > 0:
                with self._latch:
                    chunk = source.read(_CHUNK if left is None else min(_CHUNK, left))
                if not chunk:
                    break
                _write_all(target.fileno(), chunk)
                left = None if left is None else left - len(chunk)
                self._done += len(chunk)
                self._progress("bytes", self._done, max(self._done, self._total))
            os.fsync(target.fileno())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_folder(folder)
