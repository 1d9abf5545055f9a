"""Disks that are small, that fail, or that take nothing more: real ones, mounted for a test.

Only root can have them, and not everywhere: `why_not` tells, and tests that need one are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_BACKING = 48 << 20
_IMAGE = 80 << 20


def mount(*args: str) -> None:
    subprocess.run(["mount", *args], check=True, capture_output=True)


def unmount(place: Path) -> None:
    if subprocess.run(["umount", str(place)], check=False, capture_output=True).returncode:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def small(place: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes."""
    place.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
    try:
        yield place
    finally:
        unmount(place)


class Failing:
    """A disk in a file that has no room of its own, beneath another: it fails when that is full.

    Its system finds room on it, takes what is written, and learns only later, when it writes to the
    disk, that this one does not take it.
    """

    def __init__(self, place: Path, backing: Path) -> None:
        self.place = place
        self._ballast = backing / "ballast"

    def break_down(self) -> None:
        """From now on the disk takes nothing that it has not had before."""
        os.sync()
        fill(self._ballast)

    def mend(self) -> None:
        self._ballast.unlink()


@contextmanager
def failing(folder: Path, kind: str) -> Iterator[Failing]:
    """A disk, of that `kind` of file system, that can be made to fail."""
    place = folder / "disk"
    with small(folder / "backing", _BACKING) as backing:
        image = backing / "image"
        with image.open("wb") as file:
            file.truncate(_IMAGE)
        subprocess.run([f"mkfs.{kind}", "-q", "-F", str(image)], check=True, capture_output=True)
        place.mkdir()
        mount("-o", "loop", str(image), str(place))
        try:
            yield Failing(place, backing)
        finally:
            unmount(place)


def remount(place: Path, options: str) -> None:
    mount("-o", f"remount,{options}", str(place))


def fill(ballast: Path) -> None:
    """Let a file grow until there is no room for another byte."""
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass


def why_not(folder: Path, *, loop: bool = False) -> str:
    """Why there is no such disk here; nothing if there is."""
    if os.geteuid() != 0:
        return "only root can mount a disk"
    if loop and shutil.which("mkfs.ext2") is None:
        return "mkfs.ext2 is not installed"
    try:
        if loop:
            with failing(folder, "ext2"):
                pass
        else:
            with small(folder / "probe", 1 << 20):
                pass
    except subprocess.CalledProcessError as error:
        return f"no disk can be mounted here: {error.stderr!r}"
    return ""
