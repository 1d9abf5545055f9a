"""What the services of clients need of the server that they are parts of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from atop.engine.base import TABLES, Engine
from atop.engine.filefolder import FileFolder
from atop.engine.keeping import Keeper
from atop.errors import ProtocolError

LATER = object()
"""In the place of an answer that does not come yet."""

Done = Callable[[Any, BaseException | None], None]


class Timer(Protocol):
    """What will be called later."""

    def cancel(self) -> None:
        """It is not to be called after all."""


class Host(Protocol):
    """What a service needs of the server that it is a part of."""

    engine: Engine
    files: FileFolder
    keeper: Keeper
    timeout: float
    slow: bool

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call it after so many seconds, where services run."""

    def soon(self, call: Callable[[], None]) -> None:
        """Call it as soon as possible where services run; from any thread."""

    def aside(self, work: Callable[[], Any], done: Done) -> None:
        """Do `work` in another thread, then call `done` with its result, where services run."""

    def care(self, work: Callable[[], Any], done: Done) -> None:
        """The same for what may take very long."""

    def synced(self, serial: int, done: Done) -> None:
        """Call `done` when the commit `serial` is on disk, where services run."""

    def end_turn(self, token: bytes) -> None:
        """End the turn of that token, whichever client has it."""

    def status(self) -> dict[str, Any]:
        """How the server is."""

    def stop(self) -> None:
        """Begin to end the server."""


@dataclass(frozen=True, slots=True)
class Replies:
    """How one client is answered later: with a number, a serial and a body, or an error."""

    reply: Callable[[int, int, Any], None]
    fail: Callable[[int, BaseException], None]


def known_table(name: str) -> str:
    """That name, if a table has it.

    :raises ProtocolError: when there is no such table.
    """
    if name not in TABLES:
        raise ProtocolError(f"there is no table {name!r}")
    return name
