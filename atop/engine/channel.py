"""A stream of bytes to and from another process, with deadlines, over a socket with TLS or without.

One thread may send while another receives. The socket never blocks: with TLS, sending and receiving
at the same time would harm it, so each happens under a lock, and the waiting outside of it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
import time
from contextlib import suppress

_WANT_READ = (BlockingIOError, ssl.SSLWantReadError)
_CHUNK = 1 << 16
_LARGE = 1 << 20
_LOOK_EVERY = 0.2


class Channel:
    """What goes through `sock`. Deadlines are on the clock ``time.monotonic``."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()
        self._closed = False
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(sock, select.POLLIN)
        self._writable.register(sock, select.POLLOUT)
        sock.setblocking(False)

    def send(self, data: bytes | bytearray, deadline: float) -> None:
        """Send all of it.

        :raises TimeoutError: when that was not possible in time; some of it may have been sent.
        :raises OSError: when the other side has gone.
        """
        rest = memoryview(data)
        while rest:
            try:
                with self._lock:
                    rest = rest[self._socket.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(self._writable, deadline)
            except ssl.SSLWantReadError:
                time.sleep(0.001)

    def receive(self, deadline: float, *, much: bool = False) -> bytes:
        """What has come, at least one byte; or nothing when the other side has hung up.

        :raises TimeoutError: when nothing has come in time.
        :raises OSError: when the other side has gone.
        """
        size = _LARGE if much else _CHUNK
        while True:
            if not self._pending():
                self._wait(self._readable, deadline)
            try:
                with self._lock:
                    return self._socket.recv(size)
            except _WANT_READ:
                continue
            except ssl.SSLWantWriteError:
                self._wait(self._writable, deadline)

    @property
    def ready(self) -> bool:
        """Whether there is anything to receive now."""
        return self._pending() or bool(self._readable.poll(0))

    def hang_up(self) -> None:
        """End it, also for a thread that is waiting in it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        self.hang_up()
        self._socket.close()

    def abandon(self) -> None:
        """In a forked child: let it go without a word, since it is the parent's."""
        with suppress(OSError):
            os.close(self._socket.detach())

    def _pending(self) -> bool:
        return self._tls and self._socket.pending() > 0  # type: ignore[attr-defined]

    def _wait(self, poll: select.poll, deadline: float) -> None:
        """Wait for the socket. Should it be closed just before, another may have its number."""
        while not self._closed:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if poll.poll(1000 * min(left, _LOOK_EVERY)):
                return
        raise OSError(errno.EBADF, "the connection was closed")
