"""``serve`` and ``token``: a store for other programs and machines."""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from atop.cli.opening import credentials, store_key
from atop.cli.output import clean, print_json, print_pairs, print_table
from atop.engine.address import Address, TcpAddress, UnixAddress, parse
from atop.engine.admission import Admission
from atop.engine.daemon import Daemon, FolderSite, Site, UpstreamSite
from atop.engine.doors import Door, Doors
from atop.engine.keyring import Secret
from atop.engine.limits import Limits
from atop.engine.messages import Status, Stop
from atop.engine.owner import Owner
from atop.engine.remotelink import Access, Called
from atop.engine.serving import SOCKET
from atop.engine.systemd import passed_sockets
from atop.engine.tokens import line_for, new_token
from atop.engine.upstream import Upstream
from atop.errors import NotAStore, StoreBusy, StoreError, StoreUnreachable
from atop.plain import plain

_LEVELS = ["debug", "info", "warning", "error"]
_PATIENCE = 10.0
_SPARE_FILES = 200
_LOOK_EVERY = 0.02
_STOPPING = 60.0
_NAME = 60

_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("store", metavar="[STORE]", required=False)
@click.option("--listen", multiple=True, metavar="HOST:PORT",
              help="A port to serve other machines at; 2972 if it is left out. May be repeated.")
@click.option("--socket", "sockets", multiple=True, type=_file, metavar="PATH",
              help="A Unix socket to serve this machine at, beside that in STORE. May be repeated.")
@click.option("--read-only", is_flag=True, help="Let nobody change anything.")
@click.option("--tls-cert", type=_file, help="The server's certificate, in PEM, with its chain.")
@click.option("--tls-key", type=_file, help="The key of that certificate, in PEM.")
@click.option("--client-ca", type=_file,
              help="Ask clients for a certificate from this authority.")
@click.option("--tokens", type=_file, help="Ask clients for a token that this file knows.")
@click.option("--insecure-loopback", is_flag=True,
              help="Serve without TLS, on loopback addresses alone.")
@click.option("--upstream", metavar="URL",
              help="Serve, to be read only, what another server has.")
@click.option("--max-clients", type=click.IntRange(min=1), default=2000, show_default=True,
              help="How many clients there may be at once.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=10.0, show_default=True,
              help="Seconds after which a silent client may lose its turn, and that transactions "
                   "have to end when the server does.")
@click.option("--cache-size", type=click.IntRange(min=1), default=64, show_default=True,
              help="Memory for pages of the store, in MiB.")
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True,
              help="What to tell on standard error.")
@click.option("--pid-file", type=_file, help="Where to write the number of the process.")
@click.option("--status", is_flag=True, help="Show how the server of STORE is, and end.")
@click.option("--stop", is_flag=True, help="End the server of STORE, in order.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text",
              show_default=True, help="How to print the status.")
def serve(store: str | None, upstream: str | None, **options: Any) -> None:
    """Own STORE, and serve it to other programs and machines.

    Programs of this machine find the server by the folder STORE, which is made if there is none;
    other machines at atop://HOST:PORT. Over TCP there is TLS 1.3, and a client shows a token or a
    certificate; `atopdb token` makes tokens. SIGTERM ends the server: transactions that have begun
    may come to their end, and no others begin. SIGHUP reads certificates and tokens again. Under
    systemd, sockets may be passed, and readiness is told.

    With --upstream, and without STORE, a server reads what another one has, keeps what was read,
    and tells with --status how far it is behind. ATOP_TOKEN or ATOP_TOKEN_FILE, ATOP_CA,
    ATOP_CERT and ATOP_CERT_KEY are for the other server.

    A STORE that has a key, or is to be made with one, is opened with ATOP_KEY, or what is in the
    file that ATOP_KEY_FILE names.

    --status and --stop also take an address: atop://host:2972, or atop+unix:///path.

    \b
    Example:
      atopdb serve pim.atop --listen 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --tokens tokens
      atopdb serve --status pim.atop
      atopdb serve --upstream atop://barn.example.org --listen localhost --insecure-loopback
    """
    if (store is None) == (upstream is None):
        raise click.UsageError("name the STORE to serve, or another server with --upstream")
    if options["status"] or options["stop"]:
        if store is None:
            raise click.UsageError("name the STORE whose server is meant, or its address")
        _stop(store) if options["stop"] else _show(store, options["form"])
        return
    _log(options["log_level"])
    if not _serve(store, upstream, options):
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("name")
@click.argument("file", type=_file, required=False)
@click.option("--read-only", is_flag=True, help="A token that is only good for reading.")
def token(name: str, file: Path | None, read_only: bool) -> None:
    """Make a token, by which a server knows the client NAME.

    The token is shown once, on standard error; the line for the server's file of tokens, which
    does not tell the token, goes to the end of FILE, or to standard output without one. The server
    reads the file again on SIGHUP.

    \b
    Example:
      atopdb token laptop tokens
      atopdb token --read-only wall-display tokens
    """
    made = new_token()
    line = line_for(name, made, read_only)
    if file is None:
        click.echo(line)
    else:
        _append(file, line)
    click.echo(f"{made}", err=True)


def _serve(store: str | None, upstream: str | None, options: dict[str, Any]) -> bool:
    """Serve until somebody ends it; whether that is why it has ended."""
    limits = Limits(clients=options["max_clients"])
    _allow_files(limits.clients + limits.strangers + _SPARE_FILES)
    admission = _admission(options)
    folder = None if store is None else Path(store)
    with ExitStack() as opened:
        site = _site(folder, upstream, limits, options)
        opened.callback(site.close)
        doors = []
        for door in _doors(Doors(admission, folder, options["insecure_loopback"]), options):
            opened.callback(door.close)
            doors.append(door)
        return Daemon(site, doors, admission, timeout=options["timeout"]).run(options["pid_file"])


def _admission(options: dict[str, Any]) -> Admission | None:
    files = [options[name] for name in ("tls_cert", "tls_key", "client_ca", "tokens")]
    if not any(files) and not options["insecure_loopback"]:
        return None
    return Admission(*files, insecure=options["insecure_loopback"])


def _site(
    folder: Path | None, upstream: str | None, limits: Limits, options: dict[str, Any]
) -> Site:
    timeout, cache_bytes = options["timeout"], options["cache_size"] << 20
    if upstream is not None:
        engine = Upstream(*_place(upstream), cache_bytes=cache_bytes, timeout=timeout)
        return UpstreamSite(engine, timeout=timeout, limits=limits)
    assert folder is not None
    return FolderSite(folder, cache_bytes=cache_bytes, timeout=timeout,
                      read_only=options["read_only"], limits=limits, secret=_secret(folder))


def _secret(folder: Path) -> Secret | None:
    key = store_key(folder)
    return None if key is None else Secret(key)


def _doors(doors: Doors, options: dict[str, Any]) -> Iterator[Door]:
    for sock in passed_sockets():
        yield doors.passed(sock)
    for place in options["listen"]:
        yield from doors.tcp(place)
    for path in options["sockets"]:
        yield doors.unix(path)


def _place(text: str) -> tuple[Address, Access]:
    address = parse(text)
    if address is None:
        raise click.BadParameter(f"{text!r} is no address: write atop://host:2972")
    if not isinstance(address, TcpAddress):
        return address, Access()
    told = credentials()
    ca, cert, cert_key = (told.get(name) for name in ("ca", "cert", "certKey"))
    return address, Access(told["token"], _path(ca), _path(cert), _path(cert_key), told["insecure"])


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


# What servers are told and asked


def _call(place: str, *, read_only: bool) -> Called:
    """A connection to the server of a folder, or at an address."""
    address, access = (None, Access()) if parse(place) is None else _place(place)
    folder = Path(place).absolute()
    if address is None and not (folder / "FORMAT").exists():
        raise NotAStore(f"there is no store at {folder}", str(folder))
    try:
        return Called(address or UnixAddress(folder / SOCKET), access, read_only, _PATIENCE)
    except StoreUnreachable as error:
        if address is not None:
            raise
        raise StoreUnreachable(f"nobody serves {folder}", str(folder)) from error


def _stop(place: str) -> None:
    called = _call(place, read_only=False)
    try:
        pid = called.connection.welcome.pid if called.connection.welcome else 0
        called.connection.ask(Stop)
        end = time.monotonic() + _STOPPING
        while not called.connection.lost or _owns(place, pid):
            if time.monotonic() > end:
                raise StoreBusy(f"process {pid} has not ended in {_STOPPING:g} s", place, pid)
            called.connection.poll()
            time.sleep(_LOOK_EVERY)
    finally:
        called.close()
    click.echo(f"process {pid} has ended")


def _owns(place: str, pid: int) -> bool:
    """Whether that process still has the folder `place`."""
    if parse(place) is not None:
        return False
    try:
        Owner(Path(place), shared=True).release()
    except StoreBusy as error:
        return error.pid == pid
    return False


def _show(place: str, form: str) -> None:
    called = _call(place, read_only=True)
    try:
        told = called.connection.ask(Status)[1]
    finally:
        called.close()
    if form == "json":
        print_json(told)
        return
    clients = told.pop("clients", [])
    told.update({f"upstream {key}": value for key, value in told.pop("upstream", {}).items()})
    print_pairs([(key.replace("_", " "), _told(key, value)) for key, value in told.items()])
    print_table(
        ["client", "from", "rights", "requests", "mean µs", "turn"],
        [[clean(str(each["name"])[:_NAME]), clean(str(each["where"])),
          "read" if each["read_only"] else "write", f"{each['answered']:,}",
          f"{each['mean_us']:,}",
          "has it" if each["turn"] else "waits" if each["waiting"] else ""]
         for each in clients],
    )


def _told(key: str, value: Any) -> str:
    if key in ("since", "upstream out_of_reach_since") and value:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, int) and key != "pid":
        return f"{value:,}"
    return "" if value is None else str(plain(value))


# The process


class _OneLine(logging.Formatter):
    """Nothing that a client has sent can look like another event, or be obeyed by a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return clean(super().formatMessage(record))


def _log(level: str) -> None:
    when = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(f"{when}%(levelname)s %(message)s"))
    logger = logging.getLogger("atop")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def _allow_files(count: int) -> None:
    """Each client is an open file; more of them than usual may have to be allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = count if hard == unlimited else min(count, hard)
    if soft not in (unlimited,) and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _append(file: Path, line: str) -> None:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}", str(file)) from error
    with open(descriptor, "rb+") as opened:
        opened.seek(0)
        text = opened.read()
        opened.write((b"" if text.endswith(b"\n") or not text else b"\n") + line.encode() + b"\n")
