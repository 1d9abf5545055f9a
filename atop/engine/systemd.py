"""What systemd and a service say to each other: sockets that are passed, and how it goes.

sd_listen_fds(3) and sd_notify(3) tell the rest.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

from atop.errors import ValueRefused

_FIRST = 3
_NAMES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def passed_sockets() -> list[socket.socket]:
    """The sockets that this process was started with, and that listen; our children get none.

    :raises ValueRefused: when one is no listening stream socket.
    """
    found = {name: os.environ.pop(name, "") for name in _NAMES}
    count = found["LISTEN_FDS"]
    if found["LISTEN_PID"] != str(os.getpid()) or not count.isdecimal():
        return []
    return [_passed(descriptor) for descriptor in range(_FIRST, _FIRST + int(count))]


def _passed(descriptor: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=descriptor)
        fits = sock.family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
        listens = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError as error:
        raise ValueRefused(f"the descriptor {descriptor} that was passed is no socket") from error
    if not (fits and listens and sock.type == socket.SOCK_STREAM):
        raise ValueRefused(
            f"the socket {descriptor} that was passed does not listen for streams: write "
            "ListenStream= and Accept=no"
        )
    os.set_inheritable(descriptor, False)
    return sock


def notify(*lines: str) -> None:
    """Tell whoever started us, ``READY=1`` for example; nothing if nobody wants to know."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return
    name = f"\0{where[1:]}" if where.startswith("@") else where
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto("\n".join(lines).encode(), name)


def reloading() -> tuple[str, str]:
    """What tells that the configuration is being read again, up to the next ``READY=1``."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"
