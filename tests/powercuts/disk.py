"""A disk that keeps what was synced, and of the rest whatever it likes.

A file is kept in blocks of 4 KiB. A block that was written since its file was last synced has
several versions, each of which may be what a power cut leaves; so have a file's length and, by the
steps that made them, the names in a folder. Names are kept from the first step on: one that is
kept has all before it in the same folder. A move to another folder is kept as soon as it is made.

A new file that is synced keeps its name, as on ext4, XFS, Btrfs and others, unless the disk is
``strict``: POSIX alone does not promise that.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.powercuts.trace import Event

BLOCK = 4096
SECTOR = 512
_ZEROS = bytes(BLOCK)

Blocks = dict[int, bytes]


class File:
    """The bytes of a file: those on disk, and what was written since, by step."""

    def __init__(self, content: bytes = b"") -> None:
        self.size = len(content)
        self.blocks: Blocks = {}
        for at in range(0, len(content), BLOCK):
            self.blocks[at // BLOCK] = content[at : at + BLOCK].ljust(BLOCK, b"\0")
        self.versions: dict[int, list[tuple[int, bytes]]] = {}
        self.sizes: list[tuple[int, int]] = []
        self.made: tuple[int, Folder] | None = None

    @property
    def last_size(self) -> int:
        """How long the file is for who reads it now."""
        return self.sizes[-1][1] if self.sizes else self.size

    def on_disk(self, number: int) -> bytes:
        """What was synced of a block."""
        return self.blocks.get(number, _ZEROS)

    def write(self, step: int, offset: int, data: bytes) -> None:
        """Bytes written in a step; they may be anywhere."""
        at = 0
        while at < len(data):
            number, start = divmod(offset + at, BLOCK)
            piece = data[at : at + BLOCK - start]
            self._change(step, number, start, piece)
            at += len(piece)
        if offset + len(data) > self.last_size:
            self.sizes.append((step, offset + len(data)))

    def truncate(self, step: int, size: int) -> None:
        """The file gets another length; what it loses is zero if it grows again."""
        number, start = divmod(size, BLOCK)
        for each in {*self.blocks, *self.versions}:
            if each > number or (each == number and not start):
                self._change(step, each, 0, _ZEROS)
            elif each == number:
                self._change(step, each, start, _ZEROS[start:])
        self.sizes.append((step, size))

    def _change(self, step: int, number: int, start: int, piece: bytes) -> None:
        versions = self.versions.setdefault(number, [])
        old = versions[-1][1] if versions else self.on_disk(number)
        versions.append((step, old[:start] + piece + old[start + len(piece) :]))

    def now(self) -> bytes:
        """All that who reads it now gets."""
        content = bytearray(self.last_size)
        for number in {*self.blocks, *self.versions}:
            versions = self.versions.get(number)
            block = versions[-1][1] if versions else self.on_disk(number)
            content[number * BLOCK : (number + 1) * BLOCK] = block
        return bytes(content[: self.last_size])

    def sync(self, step: int) -> None:
        """All that was written before `step` is on disk."""
        for number in list(self.versions):
            versions = self.versions[number]
            while versions and versions[0][0] < step:
                self.blocks[number] = versions.pop(0)[1]
            if not versions:
                del self.versions[number]
        while self.sizes and self.sizes[0][0] < step:
            self.size = self.sizes.pop(0)[1]


class Folder:
    """The names in a folder: those on disk, and the steps since."""

    def __init__(self) -> None:
        self.names: dict[str, Node] = {}
        self.now: dict[str, Node] = {}
        self.steps: list[tuple[int, str, str | None, Node | None]] = []

    def set(self, step: int, name: str, node: Node | None, was: str | None = None) -> None:
        """The name means `node` from now on, or nothing; and the name that it had, nothing."""
        self.steps.append((step, name, was, node))
        _apply(self.now, name, was, node)

    def sync(self, step: int) -> None:
        """All names from before `step` are on disk."""
        while self.steps and self.steps[0][0] < step:
            _apply(self.names, *self.steps.pop(0)[1:])

    def kept(self, count: int) -> dict[str, Node]:
        """The names, when the first `count` steps since the last sync are kept."""
        names = dict(self.names)
        for _, name, was, node in self.steps[:count]:
            _apply(names, name, was, node)
        return names


Node = File | Folder


def _apply(names: dict[str, Node], name: str, was: str | None, node: Node | None) -> None:
    if was is not None:
        names.pop(was, None)
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


class Disk:
    """What is below one folder, step by step; the folder itself is there from the beginning."""

    def __init__(self, start: Path, *, strict: bool = False) -> None:
        self.top = _load(start)
        self.step = 0
        self._strict = strict
        self._open: dict[int, Node] = {}
        self._syncing: dict[int, list[int]] = {}

    def play(self, event: Event) -> None:
        """The next step."""
        self.step += 1
        getattr(self, f"_{_NAMES[event.kind]}")(event)

    def node(self, handle: int) -> Node:
        """What an event's handle is open on."""
        return self._open[handle]

    def _opened(self, event: Event) -> None:
        path = event.data.decode()
        if event.offset & 1:
            folder, name = self._parent(path)
            made = File()
            made.made = None if self._strict else (self.step, folder)
            folder.set(self.step, name, made)
        node = self._open[event.handle] = self._find(path)
        if event.offset & 2 and isinstance(node, File):
            node.truncate(self.step, 0)

    def _written(self, event: Event) -> None:
        file = self._open[event.handle]
        assert isinstance(file, File)
        file.write(self.step, event.offset, event.data)

    def _truncated(self, event: Event) -> None:
        file = self._open[event.handle]
        assert isinstance(file, File)
        file.truncate(self.step, event.offset)

    def _sync_begun(self, event: Event) -> None:
        self._syncing.setdefault(event.handle, []).append(self.step)

    def _synced(self, event: Event) -> None:
        begun, node = self._syncing[event.handle].pop(0), self._open[event.handle]
        node.sync(begun)
        if isinstance(node, File) and node.made is not None and node.made[0] < begun:
            made, folder = node.made
            folder.sync(made + 1)
            node.made = None

    def _renamed(self, event: Event) -> None:
        old, new = event.data.decode().split("\0")
        folder, name = self._parent(old)
        target, new_name = self._parent(new)
        node = folder.now.get(name)
        if node is None:
            return  # a socket, of which nothing else is recorded
        if folder is target:
            folder.set(self.step, new_name, node, name)
            return
        target.set(self.step, new_name, node)
        folder.set(self.step, name, None)
        for each in (folder, target):
            each.sync(self.step + 1)

    def _unlinked(self, event: Event) -> None:
        folder, name = self._parent(event.data.decode())
        if name in folder.now:
            folder.set(self.step, name, None)

    def _made_folder(self, event: Event) -> None:
        folder, name = self._parent(event.data.decode())
        folder.set(self.step, name, Folder())

    def _parent(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        folder = self._find(above)
        assert isinstance(folder, Folder)
        return folder, name

    def _find(self, path: str) -> Node:
        node: Node = self.top
        for name in filter(None, path.split("/")):
            assert isinstance(node, Folder)
            node = node.now[name]
        return node


_NAMES = {
    "o": "opened", "w": "written", "t": "truncated", "s": "sync_begun", "S": "synced",
    "r": "renamed", "u": "unlinked", "m": "made_folder",
}


def _load(path: Path) -> Folder:
    folder = Folder()
    for entry in os.scandir(path):
        if entry.is_dir():
            folder.names[entry.name] = _load(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            folder.names[entry.name] = File(Path(entry.path).read_bytes())
    folder.now = dict(folder.names)
    return folder
