"""Whether a store's folder is as Atop made it: it leads nowhere else, and not all may write in it.

Who may write in a folder has the store in it. So one that everybody may write in is not opened, and
nothing is written through a link that somebody else may have put there, be it symbolic or hard. The
external files may have other names, as backups give them: none is ever written again.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from atop.errors import NotAStore, StorePermission

_FOLDERS = ("environment", "files")
_FILES = ("FORMAT", "FORMAT.new", "KEY", "KEY.new", "owner", "serial", "wanted")
_KINDS = {
    **dict.fromkeys(_FILES, stat.S_IFREG),
    **dict.fromkeys((*_FOLDERS, "set-aside"), stat.S_IFDIR),
    "socket": None,
}
_REPLACED = ("FORMAT", "KEY")


def check_trusted(path: Path) -> None:
    """Look at the folder `path` before anything in it is opened; it may itself be a link.

    :raises StorePermission: when everybody may write in it.
    :raises NotAStore: when something in it is a link, or has another name elsewhere, or is else not
        what it should be.
    """
    _check_private(path, path.stat())
    for name, kind in _KINDS.items():
        _check(path / name, kind)
    environment = path / "environment"
    if environment.is_dir() and os.access(environment, os.R_OK | os.X_OK):
        for name in os.listdir(environment):
            _check(environment / name, stat.S_IFREG)


def _check(path: Path, kind: int | None) -> None:
    try:
        status = path.lstat()
    except (FileNotFoundError, PermissionError):
        return
    if stat.S_ISLNK(status.st_mode):
        raise NotAStore(
            f"{path} is a symbolic link, and a store has none: move what it leads to here",
            str(path),
        )
    if kind is not None and stat.S_IFMT(status.st_mode) != kind:
        wanted = "a folder" if kind == stat.S_IFDIR else "a file"
        raise NotAStore(f"{path} is not {wanted}: move it away, then open the store", str(path))
    if path.name in _FOLDERS:
        _check_private(path, status)
    elif kind == stat.S_IFREG and status.st_nlink > 1 and path.name not in _REPLACED:
        raise NotAStore(
            f"{path} is a hard link: it has another name somewhere, and what is written here would "
            "change there too; copy the store's folder with `cp -R`, and open the copy",
            str(path),
        )


def _check_private(path: Path, status: os.stat_result) -> None:
    if status.st_mode & stat.S_IWOTH:
        mode = stat.S_IMODE(status.st_mode)
        raise StorePermission(
            f"everybody may write in {path} (mode {mode:03o}): look who has, then chmod 700 {path}",
            str(path),
        )
