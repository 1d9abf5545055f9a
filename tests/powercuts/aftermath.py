"""What a power cut leaves: a folder made of what was synced, and of some of what was not."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.powercuts.disk import BLOCK, SECTOR, Disk, File, Folder

_PAGES = re.compile(r"environment/(?!log\.)")
_KEPT = ("nothing", "all", "early", "some", "most", "few", "torn")


@dataclass(frozen=True)
class LogEnd:
    """Where to cut the log: `data` is what is kept of the last write to `file`."""

    file: File
    offset: int
    data: bytes


@dataclass(frozen=True)
class Cut:
    """One power cut: how much was kept of files, and of names; drawn from the number `seed`.

    ``kept`` is one of ``nothing``, ``all``, ``early`` (all up to a moment), ``some``, ``most`` and
    ``few`` (of the blocks), ``torn`` (of the sectors) or ``mixed`` (each file in its own way).
    Tables are torn within a page of 4 KiB only with `torn_pages`.
    """

    kept: str
    names: str
    seed: int
    torn_pages: bool = False

    @classmethod
    def drawn(cls, chance: Random, torn_pages: bool = False) -> Cut:
        """Any of them."""
        return cls(
            chance.choice(("mixed", "mixed", *_KEPT)),
            chance.choice(("nothing", "all", "all", "some")),
            chance.getrandbits(48),
            torn_pages,
        )

    def leave(self, disk: Disk, target: Path, log: LogEnd | None = None) -> None:
        """Make in the new folder `target` what is left of the `disk`."""
        _Aftermath(self, log).folder(disk.top, target, "")


class _Aftermath:
    def __init__(self, cut: Cut, log: LogEnd | None) -> None:
        self._cut = cut
        self._chance = Random(cut.seed)
        self._log = log

    def folder(self, folder: Folder, target: Path, path: str) -> None:
        target.mkdir(mode=0o700)
        count = len(folder.steps)
        kept = {"nothing": 0, "all": count}.get(self._cut.names, self._chance.randint(0, count))
        for name, node in folder.kept(kept).items():
            if isinstance(node, Folder):
                self.folder(node, target / name, f"{name}/")
            else:
                self._file(node, target / name, path + name)

    def _file(self, file: File, target: Path, path: str) -> None:
        log = self._log if self._log is not None and self._log.file is file else None
        kept = "all" if log else self._cut.kept
        if kept == "mixed":
            kept = self._chance.choice(_KEPT)
        torn = kept == "torn" and (self._cut.torn_pages or not _PAGES.search(path))
        blocks = dict(file.blocks)
        until = self._moment(file)
        for number, versions in file.versions.items():
            blocks[number] = self._block(file, number, versions, kept, until, torn)
        sizes = [file.size, *(size for _, size in file.sizes)]
        size = {"nothing": sizes[0], "all": sizes[-1]}.get(kept) or self._chance.choice(sizes)
        _write(target, blocks, size, log)

    def _moment(self, file: File) -> int:
        steps = [step for versions in file.versions.values() for step, _ in versions]
        return self._chance.choice(steps) if steps else 0

    def _block(
        self, file: File, number: int, versions: list[tuple[int, bytes]], kept: str, until: int,
        torn: bool,
    ) -> bytes:
        """One of the versions of a block, or sectors of several."""
        chance = self._chance
        known = [file.on_disk(number), *(content for _, content in versions)]
        if kept == "nothing":
            return known[0]
        if kept == "all":
            return known[-1]
        if kept == "early":
            return known[sum(step <= until for step, _ in versions)]
        if torn:
            return b"".join(
                chance.choice(known)[at : at + SECTOR] for at in range(0, BLOCK, SECTOR)
            )
        share = {"some": 0.5, "most": 0.9, "few": 0.1, "torn": 0.5}[kept]
        return chance.choice(known[1:]) if chance.random() < share else known[0]


def _write(target: Path, blocks: dict[int, bytes], size: int, log: LogEnd | None) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for first, content in _runs(blocks):
            os.pwrite(descriptor, content, first * BLOCK)
        if log is not None:
            os.pwrite(descriptor, log.data, log.offset)
            size = max(size, log.offset + len(log.data))
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def _runs(blocks: dict[int, bytes]) -> list[tuple[int, bytes]]:
    """Blocks that follow each other, joined."""
    runs: list[tuple[int, list[bytes]]] = []
    for number in sorted(blocks):
        if runs and runs[-1][0] + len(runs[-1][1]) == number:
            runs[-1][1].append(blocks[number])
        else:
            runs.append((number, [blocks[number]]))
    return [(first, b"".join(contents)) for first, contents in runs]
