"""TLS between a store's server and its clients: contexts, handshakes, and what went wrong in them.

Nothing older than TLS 1.3 is spoken. A client always checks that the server's certificate is from
an authority that it trusts and for the host that it called.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from atop.engine.certificate import validity
from atop.errors import ProtocolError, StoreError, StorePermission, StoreUnreachable

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")

_LAST_WORDS = 1.0

_OTHER_KEY = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}

# OpenSSL's numbers for what is wrong with a certificate, and its names for other errors.
_EXPIRED, _EARLY = 10, 9
_OTHER_HOST = {62, 64}
_UNKNOWN = {2, 18, 19, 20, 21}
_NO_TLS = {
    "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL", "UNEXPECTED_MESSAGE", "BAD_RECORD_TYPE",
}
_REASONS = {
    "ALERT_CERTIFICATE_REQUIRED": "the server asks for a client certificate: pass one and its key",
    "DID_NOT_RETURN_A_CERTIFICATE": "the client has shown no certificate: pass it one and its key",
    "ALERT_UNKNOWN_CA": "our certificate is from an authority that the other side does not know: "
                        "let it trust the authority, or take another certificate",
    "CERTIFICATE_EXPIRED": "our certificate has expired: renew it",
    "ALERT_BAD_CERTIFICATE": "the other side refuses our certificate: take another one",
    "ALERT_UNSUPPORTED_CERTIFICATE": "our certificate is not for this use: take another one",
    "ALERT_CERTIFICATE_UNKNOWN": "the other side refuses our certificate: take another one",
    "PROTOCOL_VERSION": "the other side speaks only an older TLS: it has to speak TLS 1.3",
    "UNSUPPORTED_PROTOCOL": "the other side speaks only an older TLS: it has to speak TLS 1.3",
}


def server_context(cert: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """What a server needs for TLS: its certificate chain and key, in PEM.

    With `client_ca`, a client has to show a certificate of that authority.

    :raises StoreError: when a file is missing or wrong, the key is of another certificate, or the
        certificate is not valid today.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    # A session that is taken up again would not be asked for a certificate of today's authority.
    context.num_tickets = 0
    _load_own(context, cert, key)
    if client_ca is not None:
        _load_authority(context, client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    ca: Path | None = None, cert: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """What a client needs for TLS: `ca` is trusted, or else what the system trusts.

    `ca` may also be the server's own certificate. `cert` and `key` are what the client shows when
    it is asked.

    :raises StoreError: as for :func:`server_context`.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_authority(context, ca)
    if cert is not None:
        _load_own(context, cert, cert if key is None else key)
    elif key is not None:
        raise StoreError(f"{key} is a key without a certificate: pass both", str(key))
    return context


class Certificates:
    """A server's certificates, which can be renewed while it runs.

    ``context`` is for the next connection; those that there are keep what they have.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None = None) -> None:
        self._files = cert, key, client_ca
        self.context = server_context(cert, key, client_ca)

    def reload(self) -> None:
        """Read the files again; when something is wrong with them, ``context`` stays as it was.

        :raises StoreError: as for :func:`server_context`.
        """
        self.context = server_context(*self._files)


def connect_tls(sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """`sock` in TLS, after the handshake as `host`'s client; `sock` itself is used no more.

    What the server thinks of our certificate is known only with its first answer: read that in
    :func:`explained` too.

    :raises StoreError: when the server cannot be trusted or does not trust us.
    """
    try:
        with explained(host):
            return context.wrap_socket(sock, server_hostname=host.partition("%")[0])
    except BaseException:
        sock.close()
        raise


def accept_tls(
    sock: socket.socket, context: ssl.SSLContext, where: str = "the client"
) -> ssl.SSLSocket:
    """`sock` in TLS, after the handshake as the server; `where` is told in errors.

    :raises StoreError: when the client cannot be trusted or does not trust us.
    """
    try:
        with explained(where):
            sock = tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            tls.do_handshake()
            return tls
    except StoreError:
        _hang_up(sock)
        raise
    except BaseException:
        sock.close()
        raise


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Raise Atop's error for what goes wrong with TLS inside, at the other side `where`."""
    try:
        yield
    except OSError as error:
        raise _explain(error, where) from error


def _hang_up(sock: socket.socket) -> None:
    """Close, but read first what comes: if it were lost, so would be what we told about the end."""
    with sock, suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(_LAST_WORDS)
        end = time.monotonic() + _LAST_WORDS
        while sock.recv(1 << 16) and time.monotonic() < end:
            pass


def _context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _load_authority(context: ssl.SSLContext, path: Path) -> None:
    _first_certificate(path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise _damaged(path) from error


def _load_own(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    _check_today(cert)
    if _KEY.search(_text(key)) is None:
        raise StoreError(f"{key} holds no private key in PEM: name the file that does", str(key))

    def refuse() -> NoReturn:
        raise StoreError(f"{key} has a passphrase: store the key without one, in a file that only "
                         "the server's user can read", str(key))

    try:
        context.load_cert_chain(cert, key, refuse)
    except ssl.SSLError as error:
        if error.reason in _OTHER_KEY:
            raise StoreError(f"{key} is not the key of {cert}: name the two that belong together",
                             str(key)) from error
        raise StoreError(f"{cert} and {key} cannot be used ({error.reason or error}): "
                         "make new ones", str(cert)) from error


def _check_today(path: Path) -> None:
    try:
        begin, end = validity(ssl.PEM_cert_to_DER_cert(_first_certificate(path)))
    except ValueError as error:
        raise _damaged(path) from error
    now = datetime.now(UTC)
    if now > end:
        raise StoreError(
            f"the certificate in {path} expired on {end:%Y-%m-%d %H:%M:%S} UTC: renew it", str(path)
        )
    if now < begin:
        raise StoreError(f"the certificate in {path} is not valid before {begin:%Y-%m-%d %H:%M:%S} "
                         "UTC: set the clock, or take another one", str(path))


def _first_certificate(path: Path) -> str:
    """The server's or client's own certificate comes first, then those that lead to its root."""
    match = _CERTIFICATE.search(_text(path))
    if match is None:
        raise StoreError(f"{path} holds no certificate in PEM: name the file that does", str(path))
    return match[0]


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("ascii", "replace")
    except PermissionError as error:
        raise StorePermission(
            f"{path}: {error.strerror}; let the user of this process read it", str(path)
        ) from error
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", error)
        raise StoreError(
            f"{path} cannot be read ({told}): name a file in PEM", str(path)
        ) from error


def _damaged(path: Path) -> StoreError:
    return StoreError(f"the certificate in {path} is damaged: copy it here again", str(path))


def _explain(error: OSError, where: str) -> StoreError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return StoreError(f"{where}: {_distrust(error)}", where)
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
        return StoreUnreachable(f"{where} does not answer in TLS ({error}): check that it speaks "
                                "TLS at this port, and whether it asks for a client certificate",
                                where)
    reason = error.reason or str(error)
    if reason in _NO_TLS:
        return ProtocolError(f"{where} does not speak TLS: give the server a certificate and let "
                             "the client ask for TLS, or neither", where)
    for part, told in _REASONS.items():
        if part in reason:
            return StoreError(f"{where}: {told}", where)
    return StoreError(f"{where}: no TLS with it ({reason}); check the certificates on both sides",
                      where)


def _distrust(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with the other side's certificate, by OpenSSL's number of it."""
    if error.verify_code == _EXPIRED:
        return "its certificate has expired: it has to be renewed"
    if error.verify_code == _EARLY:
        return "its certificate is not valid yet: check the clocks on both sides"
    if error.verify_code in _OTHER_HOST:
        return (f"its certificate is for another host ({error.verify_message}): "
                "call the host by a name in its certificate")
    if error.verify_code in _UNKNOWN:
        return ("its certificate is from an unknown authority: "
                "pass the file of the authority that signed it")
    return f"its certificate cannot be trusted ({error.verify_message}): it has to be replaced"
