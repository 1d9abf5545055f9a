"""Many clients that do nothing: ``python -m benchmarks.sharing_idle CONTENDER FOLDER COUNT``.

They live in forked processes, since that is the cheapest way to have many. A line is printed when
all are connected; they stay until the end of the standard input.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from benchmarks.sharing_client import Client
from benchmarks.sharing_worker import CLIENTS


def main(kind: type[Client], folder: Path, count: int) -> None:
    """Fork until there are enough; say so; wait."""
    gc.freeze()
    ready, connected = os.pipe()
    children = []
    for first in range(0, count, kind.idle_in_one_process):
        children.append(os.fork())
        if not children[-1]:
            os.close(ready)
            _stay(kind, folder, min(kind.idle_in_one_process, count - first), connected)
    os.close(connected)
    for _ in range(count):
        if not os.read(ready, 1):
            sys.exit("a client could not connect: its error is above")
    print("ready", flush=True)
    for child in children:
        os.waitpid(child, 0)


def _stay(kind: type[Client], folder: Path, count: int, connected: int) -> None:
    """Hold that many clients; does not return."""
    held = []
    for _ in range(count):
        held.append(kind.idle(folder))
        os.write(connected, b".")
    os.close(connected)
    sys.stdin.buffer.read()
    os._exit(len(held) != count)


if __name__ == "__main__":
    main(CLIENTS[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3]))
