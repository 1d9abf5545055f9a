"""The server's side of TLS without a socket: bytes of a connection in, bytes for it out.

The event loop has TLS of its own, but says nothing when a handshake fails, neither in the log nor
to the client; and it has one context for good, where certificates are renewed.
"""

from __future__ import annotations

import ssl
from typing import Any

from atop.engine.tls import explained

_CHUNK = 1 << 16


class Tunnel:
    """TLS with one client. After each call, send what :meth:`outgoing` has.

    ``open`` tells that the handshake is done: nothing may be encrypted before.
    """

    def __init__(self, context: ssl.SSLContext, who: str) -> None:
        self.open = False
        self._who = who
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)

    def receive(self, data: bytes) -> bytes:
        """What the client has said in `data`, decrypted.

        :raises StoreError: when the client cannot be trusted, or does not speak TLS.
        """
        self._in.write(data)
        with explained(self._who):
            try:
                if not self.open:
                    self._tls.do_handshake()
                    self.open = True
                return self._read()
            except ssl.SSLWantReadError:
                return b""

    def encrypt(self, data: bytes | bytearray) -> None:
        """Say `data` to the client."""
        self._tls.write(data)

    def close(self) -> None:
        """Nothing more is said."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            return  # the client has not said so yet, or there was no handshake

    def outgoing(self) -> bytes:
        """What is to be sent."""
        return self._out.read()

    @property
    def certificate(self) -> bytes | None:
        """The client's certificate in DER, if it has shown one."""
        return self._tls.getpeercert(binary_form=True)

    @property
    def subject(self) -> str:
        """What the client's certificate calls it; nothing without one."""
        told: dict[str, Any] = dict(self._tls.getpeercert() or {})
        parts = [part for each in told.get("subject", ()) for part in each]
        names = [value for kind, value in parts if kind == "commonName"]
        names += [value for _, value in told.get("subjectAltName", ())]
        return str(names[0]) if names else ""

    def _read(self) -> bytes:
        parts = []
        while True:
            try:
                part = self._tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                break
            if not part:
                break
            parts.append(part)
        return b"".join(parts)
