"""``browse``: the tabular data browser, and whoever looks at it."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import re
import secrets
import signal
import socket
import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import click

from atop.cli.opening import place_argument, sharing
from atop.cli.output import clean
from atop.store import Store

if TYPE_CHECKING:
    import uvicorn

_PORT = 8765
_TRIED = 20
_PATIENCE = 1


@click.command()
@place_argument
@click.option("--no-open", is_flag=True, help="Print the link, and leave it at that.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="NAME",
              help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="NUMBER",
              help=f"The port; 0 for any. Without it, the first free one from {_PORT} on.")
@click.option("--read-only", is_flag=True, help="Let nobody change anything.")
@click.option("--token", metavar="TEXT",
              help="What the link ends in. Others on this machine can see it here: better is "
                   "ATOP_BROWSE_TOKEN in the environment, best a new one each time.")
@click.option("--url-prefix", default="", metavar="PATH_OR_URL",
              help="What a proxy puts before all addresses, such as /data or "
                   "https://example.org/data.")
def browse(
    store: str, no_open: bool, host: str, port: int | None, read_only: bool, token: str | None,
    url_prefix: str,
) -> None:
    """Show the tables of STORE_OR_URL in a web browser.

    Other programs may go on using the store. The link that is printed has a token in it, without
    which nobody is let in; Ctrl-C ends it.

    \b
    Example:
      atopdb browse pim.atop
      atopdb browse pim.atop --read-only --no-open --port 8000
    """
    with sharing(store, read_only=read_only) as opened:
        show(opened, no_open=no_open, host=host, port=port, read_only=read_only, token=token,
             url_prefix=url_prefix)


def show(
    store: Store, *, no_open: bool, host: str = "127.0.0.1", port: int | None = None,
    read_only: bool = False, token: str | None = None, url_prefix: str = "",
) -> None:
    """Show an open store until Ctrl-C.

    :raises click.ClickException: when that cannot be.
    """
    try:
        from atop.web.app import Browser
    except ImportError as error:
        raise click.ClickException(
            f"the browser needs {error.name}: pip install 'atopdb[web]'"
        ) from error
    chosen = os.environ.get("ATOP_BROWSE_TOKEN") if token is None else token
    if chosen == "" and not _is_loopback(host):
        raise click.UsageError(f"without a token everybody who reaches {host} could see the store")
    chosen = secrets.token_urlsafe(24) if chosen is None else chosen
    name, prefix = _outside(url_prefix)
    with _listen(host, port) as listening:
        app = Browser(store, token=chosen, read_only=read_only, url_prefix=prefix,
                      hosts=[each for each in (host, name) if each])
        here = _base(host, listening.getsockname()[1])
        base = url_prefix if name else here + prefix
        link = f"{base.rstrip('/')}/{'?token=' + quote(chosen) if chosen else ''}"
        click.echo(f"{clean(store.place)} is shown at\n  {link}")
        click.echo(f"by a proxy that asks {here}\nCtrl-C ends it." if name else "Ctrl-C ends it.")
        _serve(_server(app), listening, "" if no_open else link)


def _outside(url_prefix: str) -> tuple[str, str]:
    """The name and the path by which a proxy is reached; no name where only a path is given.

    :raises click.UsageError: when it is neither.
    """
    refused = click.UsageError(f"--url-prefix is a path such as /data, or an address such as "
                               f"https://example.org/data, not {clean(url_prefix)!r}")
    try:
        parts = urlsplit(url_prefix)
    except ValueError as error:
        raise refused from error
    wrong = parts.query or parts.fragment or (parts.scheme not in {"http", "https"}
                                              if parts.netloc else parts.scheme)
    path = parts.path.strip("/")
    if wrong or not re.fullmatch(r"[\w.:/~\[\]-]*", url_prefix, re.ASCII) or ".." in path:
        raise refused
    return parts.hostname or "", f"/{path}" if path else ""


def _server(app: Any) -> uvicorn.Server:
    import uvicorn

    return uvicorn.Server(uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False,
        lifespan="off", timeout_graceful_shutdown=_PATIENCE, h11_max_incomplete_event_size=1 << 16,
    ))


def _serve(server: uvicorn.Server, listening: socket.socket, link: str) -> None:
    if link:
        webbrowser.open(link)  # it waits in the socket until the server answers
    logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])  # raises again what ended it
    finally:
        signal.signal(signal.SIGTERM, before)


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket at `port`, or at the first free one.

    :raises click.ClickException: when there is none.
    """
    tried = range(_PORT, _PORT + _TRIED) if port is None else (port,)
    for each in tried:
        try:
            family, kind, _, _, place = socket.getaddrinfo(
                host, each, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listening = socket.socket(family, kind)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(128)
            return listening
        except OSError as error:
            if error.errno != errno.EADDRINUSE or each == tried[-1]:
                raise click.ClickException(
                    f"cannot listen at {clean(host)}, port {each}: {error.strerror or error}; "
                    "name another with --port, or 0 for any"
                ) from error
    raise AssertionError("there is a last one")


def _base(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    shown = "127.0.0.1" if host in {"0.0.0.0", ""} else "[::1]" if host == "::" else name
    return f"http://{shown}:{port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
