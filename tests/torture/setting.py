"""How the workers of a round work, and what each process of the torture is prepared with."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atop import Store
from atop.engine import environment, log
from atop.engine.owner import Owner
from atop.errors import StoreUnreachable
from tests.torture import points
from tests.torture.board import Board

PATIENCE = 8.0
TOKEN = "a-token"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Setting:
    """How the workers of a round work. Without an `address` all of them have the folder itself."""

    folder: Path
    seed: int
    slow_sync: float = 0.0
    small_logs: bool = False
    addresses: tuple[str, ...] = ()
    credentials: Path | None = None

    @property
    def store(self) -> Path:
        return self.folder / "store.atop"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def failures(self) -> Path:
        return self.folder / "failures"


def open_store(setting: Setting, number: int, **options: Any) -> Store:
    """The store, by its folder or, if it is served, by one of its addresses."""
    if not setting.addresses:
        return Store(setting.store, timeout=PATIENCE, cacheSize=8 << 20, **options)
    address = setting.addresses[number % len(setting.addresses)]
    if address.startswith("atop://"):
        assert setting.credentials is not None
        options |= {"token": TOKEN, "ca": setting.credentials / "ca.pem"}
    end = time.monotonic() + PATIENCE
    while True:  # who comes first is told at once that there is no server yet
        try:
            return Store(address, timeout=PATIENCE, **options)
        except StoreUnreachable:
            if time.monotonic() > end:
                raise
        time.sleep(0.01)


def prepare(setting: Setting, board: Board, number: int) -> None:
    """Wrap the fail points, and what the setting asks for, in this process."""
    if setting.small_logs:
        environment._LOG_FILE_BYTES = 512 << 10
        environment._LOG_BUFFER = 64 << 10
    if setting.slow_sync:
        log._sync = _slowed(log._sync, setting.slow_sync)  # type: ignore[assignment]
    watch_owner()
    points.install(board[number])


def _slowed(sync: Callable[[int], None], seconds: float) -> Callable[[int], None]:
    def slow(descriptor: int) -> None:
        time.sleep(seconds / 2)
        sync(descriptor)
        time.sleep(seconds / 2)

    return slow


def watch_owner() -> None:
    """Show on the board when this process owns the folder."""
    take, release = Owner.__init__, Owner.release

    def taken(self: Owner, folder: Path, *, shared: bool = False) -> None:
        take(self, folder, shared=shared)
        points.here.owns = not shared  # type: ignore[union-attr]

    def released(self: Owner) -> None:
        if points.here is not None and points.here.pid == os.getpid():
            points.here.owns = 0
        release(self)

    Owner.__init__ = taken  # type: ignore[method-assign]
    Owner.release = released  # type: ignore[method-assign]


def die_with_parent() -> None:
    """Where the system can do that: nobody of the torture outlives who started it."""
    with contextlib.suppress(AttributeError):
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def report(setting: Setting, who: str) -> None:
    """Tell of the exception that is being handled."""
    text = f"{who}:\n{traceback.format_exc()}\n".encode()
    descriptor = os.open(setting.failures, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, text)
    os.close(descriptor)
