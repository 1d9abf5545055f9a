"""The bytes to and from one client of a server, in TLS or as they are."""

from __future__ import annotations

import asyncio

from atop.engine.tunnel import Tunnel


class Pipe:
    """A connection that was accepted, whose bytes go through the `tunnel`, if there is one."""

    def __init__(self, transport: asyncio.Transport, tunnel: Tunnel | None) -> None:
        self._transport = transport
        self._tunnel = tunnel
        self._paused = False
        self._ended = False

    @property
    def closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport.is_closing()

    @property
    def buffered(self) -> int:
        """How many bytes the client is still to take."""
        return self._transport.get_write_buffer_size()

    @property
    def subject(self) -> str | None:
        """What the client's certificate calls it; ``None`` if it has shown none."""
        if self._tunnel is None or self._tunnel.certificate is None:
            return None
        return self._tunnel.subject

    def receive(self, data: bytes) -> bytes:
        """What the client has said in `data`.

        :raises StoreError: when there is to be TLS, and is none with this client.
        """
        if self._tunnel is None:
            return data
        said = self._tunnel.receive(data)
        self._transport.write(self._tunnel.outgoing())
        return said

    def write(self, data: bytes | bytearray) -> None:
        """Say `data`, unless TLS has not come so far."""
        if self._tunnel is not None:
            if not self._tunnel.open:
                return
            self._tunnel.encrypt(data)
            data = self._tunnel.outgoing()
        self._transport.write(data)

    def pause(self) -> None:
        """Read nothing more for now."""
        if not (self._paused or self.closing):
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> bool:
        """Read on; answers whether there was a pause."""
        paused, self._paused = self._paused, False
        if paused:
            self._transport.resume_reading()
        return paused

    def close(self) -> None:
        """Hang up, when all is sent."""
        if self._tunnel is not None and self._tunnel.open and not self._ended:
            self._end_tunnel(self._tunnel)
        self._transport.close()

    def say_no_more(self) -> None:
        """End our side. What was sent gets lost if the client is not heard out."""
        if self._tunnel is not None:
            self._end_tunnel(self._tunnel)
        self.resume()
        self._transport.write_eof()

    def abort(self) -> None:
        """Hang up at once."""
        self._transport.abort()

    def _end_tunnel(self, tunnel: Tunnel) -> None:
        self._ended = True
        tunnel.close()
        self._transport.write(tunnel.outgoing())
