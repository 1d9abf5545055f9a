"""A process that owns a store's folder, so that a model is its client; it is there to be killed."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

from atop import Store

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.models.owner"])
_PATIENCE = 30.0


class Owner:
    """It has opened the store in `path`, and does nothing but serve it."""

    def __init__(self, path: Path) -> None:
        self._ours, theirs = _forks.Pipe()
        self._process = _forks.Process(target=_own, args=(path, theirs), daemon=True)
        self._process.start()
        theirs.close()
        assert self._ours.poll(_PATIENCE), "a process that opens a store hangs"
        assert self._ours.recv() == "ready"

    def kill(self) -> None:
        """By SIGKILL."""
        self._process.kill()
        self._reap()

    def end(self) -> None:
        """Let it close its store."""
        if not self._ours.closed:
            self._ours.close()
            self._reap()

    def _reap(self) -> None:
        self._process.join(_PATIENCE)
        assert self._process.exitcode is not None, "the owner of the store does not end"
        self._process.close()
        if not self._ours.closed:
            self._ours.close()


def _own(path: Path, pipe: Connection) -> None:
    with Store(path, durable=False):
        pipe.send("ready")
        try:
            pipe.recv()
        except EOFError:
            return
