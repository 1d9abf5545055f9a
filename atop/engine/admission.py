"""Who is let in over the network, and with which rights: by a token, by a certificate, or both."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from atop.engine.client import Client
from atop.engine.limits import Rights
from atop.engine.messages import Hello
from atop.engine.tls import Certificates
from atop.engine.tokens import Tokens
from atop.errors import StoreError, StorePermission, ValueRefused

log = logging.getLogger("atop.server")


class Admission:
    """Asks for what there are files of: a certificate from `client_ca`, a token out of `tokens`.

    With ``certificates`` a connection is in TLS. `insecure` does without, and lets in everybody on
    this machine where there are no tokens.

    :raises ValueRefused: when the network would not be asked for anything.
    :raises StoreError: when a file cannot be used.
    """

    def __init__(
        self,
        cert: Path | None = None,
        key: Path | None = None,
        client_ca: Path | None = None,
        tokens: Path | None = None,
        *,
        insecure: bool = False,
    ) -> None:
        _check(cert, key, client_ca, tokens, insecure)
        self.certificates: Certificates | None = None
        if cert is not None and key is not None:
            self.certificates = Certificates(cert, key, client_ca)
        self._tokens = None if tokens is None else Tokens(tokens)

    def admit(self, hello: Hello, client: Client) -> Rights:
        """What the client may do.

        :raises StorePermission: when it is not let in.
        """
        who = f"process {hello.pid} of {hello.host}"
        subject = client.subject
        if self._tokens is not None:
            right = self._tokens.check(hello.token)
            if right is None:
                raise StorePermission(
                    "the server asks for a token: pass token= with one that it knows"
                )
            return Rights(f"{right.name} ({who})", right.read_only)
        if subject is not None:
            return Rights(f"{subject} ({who})", hello.read_only)
        return Rights(f"{who} ({hello.command})", hello.read_only)

    def reload(self) -> bool:
        """Read the files again; what cannot be used stays as it was, and is a line in the log."""
        loads: list[Callable[[], None]] = []
        if self.certificates is not None:
            loads.append(self.certificates.reload)
        if self._tokens is not None:
            loads.append(self._tokens.reload)
        return False not in [_tried(load) for load in loads]


def _tried(load: Callable[[], None]) -> bool:
    try:
        load()
    except StoreError as error:
        log.error("not read again, what was read before goes on to be used: %s", error)
        return False
    return True


def _check(
    cert: Path | None, key: Path | None, client_ca: Path | None, tokens: Path | None, insecure: bool
) -> None:
    if (cert is None) != (key is None):
        raise ValueRefused("a certificate and its key belong together: pass both")
    if client_ca is not None and cert is None:
        raise ValueRefused("only a server with a certificate can ask for one: pass both")
    if cert is not None and client_ca is None and tokens is None:
        raise ValueRefused(
            "anybody on the network could change the store: ask for tokens, or for certificates of "
            "an authority"
        )
    if cert is None and not insecure:
        raise ValueRefused(
            "over TCP there is TLS: pass a certificate and its key; without, only this machine can "
            "be served, and only if you ask for that"
        )
