"""What a process did to the files below a folder, in order, as recorder.c writes it down."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_SOURCE = Path(__file__).with_name("recorder.c")
_HEAD = struct.Struct("=cIQI")


class Event(NamedTuple):
    """One step. Kinds: open, write, truncate, sync begins, Sync has ended, rename, unlink, mkdir.

    Of a write, `handle` tells the open file and `offset` the place; the others have paths in
    `data`. Of an open, `offset` is 1 if it made the file, and 2 more if it emptied it.
    """

    kind: str
    handle: int
    offset: int
    data: bytes


def read_trace(path: Path) -> Iterator[Event]:
    """The events in a recording; one that was cut short ends with its last whole event."""
    content = path.read_bytes()
    at = 0
    while at + _HEAD.size <= len(content):
        kind, handle, offset, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        yield Event(kind.decode(), handle, offset, content[at : at + length])
        at += length


def build_recorder(folder: Path) -> Path:
    """The recorder as a library in `folder`, compiled if it is not there."""
    library = folder / "recorder.so"
    if not library.exists():
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl", "-lpthread"],
            check=True,
        )
    return library


def record(library: Path, folder: Path, trace: Path, module: str, *args: object) -> None:
    """Run a Python module in a process all of whose work below `folder` goes to `trace`."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, args)],
        cwd=ROOT,
        env={
            **os.environ,
            "LD_PRELOAD": str(library),
            "RECORDED": str(folder),
            "RECORDING": str(trace),
            "SYNC_MICROSECONDS": "300",
        },
        stderr=subprocess.PIPE,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the recorded process ended with {done.returncode}: {done.stderr}")
