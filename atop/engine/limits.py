"""What clients of a server may do, and how much they may take."""

from __future__ import annotations

from dataclasses import dataclass

from atop.engine import wire
from atop.errors import StoreBusy


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, or all of them, may take. Times in seconds, sizes in bytes.

    ``strangers`` are connections that have not said who they are; beyond that many the one that
    has been silent longest is dropped. ``buffered`` is what may wait for one client, or be in work
    for it: beyond that nothing more is read from it.
    """

    clients: int = 2000
    strangers: int = 2000
    request: int = wire.MAX_REQUEST
    unanswered: int = 1000
    greeting: float = 10.0
    half_message: float = 60.0
    buffered: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Rights:
    """What a client may do, and what it is called in the log."""

    name: str
    read_only: bool


def check_room(clients: int, limits: Limits) -> None:
    """Make sure that there is room for one more client.

    :raises StoreBusy: when there are as many as the limit allows.
    """
    if clients >= limits.clients:
        raise StoreBusy(f"the server has {clients:,} clients already: try again later, or begin it "
                        "with more --max-clients")
