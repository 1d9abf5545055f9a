"""One client of a server: its bytes, its limits, and the service behind it.

What breaks the protocol ends this connection, is told to the client, and is a line in the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from msgspec import structs

from atop.engine import address, wire
from atop.engine.host import LATER
from atop.engine.limits import Rights
from atop.engine.messages import (
    Answer,
    Committed,
    Hello,
    Leaving,
    Message,
    Request,
    Welcome,
)
from atop.engine.owner import command
from atop.engine.pipe import Pipe
from atop.engine.service import Service
from atop.engine.tunnel import Tunnel
from atop.engine.workload import Workload
from atop.errors import AtopError, ProtocolError, StoreError

if TYPE_CHECKING:
    from atop.engine.server import Server
    from atop.engine.tls import Certificates

log = logging.getLogger("atop.server")


Admit = Callable[[Hello, "Client"], Rights]

# So long a client that is hung up on has for reading why.
_LAST_WORDS = 1.0
_SHOWN = 200


class Client(asyncio.Protocol):
    """A connection that was accepted, and is let in by `admit`; `certificates` are for TLS."""

    def __init__(self, server: Server, admit: Admit, certificates: Certificates | None) -> None:
        self.service: Service | None = None
        self.rights = self.admitted = Rights("somebody new", read_only=True)
        self.hello: Hello | None = None
        self.distant = False
        self.peer: address.Peer | None = None
        self.socket: Any = None
        self.where = ""
        self.admit = admit
        self._server = server
        self._certificates = certificates
        self._pipe: Pipe = cast(Pipe, None)
        self._work = Workload(server.limits.unanswered)
        self._received = bytearray()
        self._greeted = False
        self._parting = False
        self._choked = False
        self._told = 0
        self._slow: asyncio.TimerHandle | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(self._server.limits.buffered)
        sock = self.socket = transport.get_extra_info("socket")
        self.distant = sock.family != socket.AF_UNIX
        if self.distant:
            address.tune(sock)
            self.where = _place(transport.get_extra_info("peername"))
        else:
            self.peer = address.peer(sock)
            self.where = f"process {self.peer.pid}"
        self.rights = Rights(self.where, read_only=True)
        certificates = self._certificates
        tunnel = None if certificates is None else Tunnel(certificates.context, self.where)
        self._pipe = Pipe(transport, tunnel)
        self._expect_within(self._server.limits.greeting)
        self._server.arrived(self)

    def data_received(self, data: bytes) -> None:
        if self._parting or self._server.retired:
            return
        try:
            self._received += self._pipe.receive(data)
        except StoreError as error:
            log.warning("no TLS with %s", error)
            self._part()
            return
        self._take_all()

    def pause_writing(self) -> None:
        self._choked = True
        self._pipe.pause()

    def resume_writing(self) -> None:
        self._choked = False
        self._resume()

    def connection_lost(self, error: BaseException | None) -> None:
        self._parting = True
        self._server.gone(self)
        self._whole()
        if self.service is not None:
            self.service.close()
            log.info("%s has gone", self.rights.name)

    # What the server calls

    def send(self, message: Message) -> None:
        """Send it, unless the client has gone."""
        if not (self._parting or self._pipe.closing):
            self._pipe.write(wire.pack(message))

    def tell(self, serial: int) -> bool:
        """Tell of a commit, unless the client is still to read what was sent before."""
        if not self.distant or self.service is None or self._told >= serial:
            return True
        if self._pipe.buffered:
            return False
        self._told = serial
        self.send(Committed(serial))
        return True

    def leave(self, reason: str) -> None:
        """Say good-bye and hang up, when all is sent."""
        if not self._parting:
            self._say_goodbye(reason)
        self._parting = True
        self._pipe.close()

    def drop(self, reason: str) -> None:
        """Hang up on a client that may not go on, and has a moment to read why."""
        if self._parting:
            return
        log.warning("%s is dropped: %s", self.rights.name, reason)
        self._say_goodbye(reason)
        self._part()

    def check_rights(self) -> None:
        """Hang up, if it would not be let in any more, or with other rights."""
        if self.hello is None:
            return
        try:
            rights = self.admit(self.hello, self)
        except StoreError as error:
            self.drop(str(error))
            return
        if rights != self.admitted:
            self.drop("its rights have changed: connect again")

    def status(self) -> dict[str, Any]:
        """What ``atopdb serve --status`` shows of it."""
        hello = self.hello
        return {
            "name": self.rights.name,
            "where": self.where,
            "pid": hello.pid if hello else 0,
            "host": hello.host if hello else "",
            "command": hello.command if hello else "",
            "read_only": self.rights.read_only,
            "answered": self._work.answered,
            "mean_us": self._work.mean_us,
            "turn": bool(self.service and self.service.has_turn),
            "waiting": bool(self.service and self.service.turns),
        }

    @property
    def subject(self) -> str | None:
        """What its certificate calls it; ``None`` if it has shown none."""
        return self._pipe.subject

    # Messages

    @property
    def _limit(self) -> int:
        return self._server.limits.request if self.service is not None else wire.MAX_HELLO

    @property
    def _full(self) -> bool:
        """Whether it has to wait before more of what it says is read."""
        return self._choked or self._work.size > self._server.limits.buffered

    def _take_all(self) -> None:
        """Take the messages that have come, one after the other."""
        try:
            if not self._greeted:
                if len(self._received) < wire.PREAMBLE_BYTES:
                    return
                self._greet()
            for frame in wire.frames(self._received, self._limit):
                self._whole()
                self._take(frame)
                if self._parting:
                    return
                if self._full:
                    self._pipe.pause()
                    return
        except ProtocolError as error:
            self.drop(str(error))
            return
        except Exception:
            log.exception("%s: a request ended in a fault of Atop's own", self.rights.name)
            self.drop("a fault in the server; see its log")
            return
        if self._received and self._slow is None:
            self._expect_within(self._server.limits.half_message)

    def _greet(self) -> None:
        self._greeted = True
        self._pipe.write(wire.preamble())
        wire.check_preamble(bytes(self._received[: wire.PREAMBLE_BYTES]), self.where)
        del self._received[: wire.PREAMBLE_BYTES]

    def _take(self, frame: bytes) -> None:
        request = wire.request(frame)
        if self.service is None:
            self._meet(request)
            return
        self._work.begin(request, len(frame))
        try:
            serial, body = self.service.handle(request, len(frame))
        except ProtocolError:
            raise
        except (AtopError, OSError) as error:
            self._failed(request.number, error)
            return
        if body is not LATER:
            self._reply(request.number, serial, body)
        else:
            self._work.wait(request.number)

    def _reply(self, number: int, serial: int, body: Any) -> None:
        if self._end(number):
            self.send(Answer(number, serial, body))

    def _failed(self, number: int, error: BaseException) -> None:
        if self._end(number):
            self.send(wire.failure(number, error))

    def _reply_later(self, number: int, serial: int, body: Any) -> None:
        self._work.come(number)
        self._reply(number, serial, body)
        self._resume()

    def _fail_later(self, number: int, error: BaseException) -> None:
        self._work.come(number)
        self._failed(number, error)
        self._resume()

    def _end(self, number: int) -> bool:
        """A request has come to its end; answers whether anybody waits for that."""
        took = self._work.end(number)
        if took is None:
            return False
        self._server.answered(took)
        return True

    def _meet(self, hello: Request) -> None:
        if not isinstance(hello, Hello):
            raise ProtocolError("a connection begins with who is there")
        hello = structs.replace(hello, host=shown(hello.host), command=shown(hello.command))
        try:
            self._server.check_room()
            rights = self.admit(hello, self)
            state = self._server.engine.state
        except StoreError as error:
            log.warning("%s is not let in: %s", self.where, error)
            if hello.number:
                self.send(wire.failure(hello.number, error))
            self._part()
            return
        self.hello, self.admitted = hello, rights
        read_only = rights.read_only or hello.read_only or self._server.read_only
        self.rights = Rights(rights.name, read_only)
        self.service = Service(
            self._server, rights.name, hello.pid, read_only=read_only, local=not self.distant,
            trusted=self.peer is not None and self.peer.uid in (0, os.geteuid()),
            reply=self._reply_later, fail=self._fail_later,
        )
        self._server.met(self)
        self._told = state.serial
        welcome = Welcome(
            os.getpid(), socket.gethostname(), command(), read_only,
            self._server.timeout, self._server.limits.request, state,
        )
        self.send(Answer(hello.number, state.serial, welcome))
        log.info("%s has come from %s%s", rights.name, self.where, ", to read" * read_only)

    # Bytes

    def _say_goodbye(self, reason: str) -> None:
        if not self._greeted:
            self._greeted = True
            self._pipe.write(wire.preamble())
        self.send(Leaving(reason))

    def _part(self) -> None:
        """Let go of all that it has. What is still sent gets lost if we do not hear it out."""
        self._parting = True
        self._whole()
        self._server.parted(self)
        if self.service is not None:
            self.service.close()
        if not self._pipe.closing:
            self._pipe.say_no_more()
            self._server.later(_LAST_WORDS, self._pipe.abort)

    def _resume(self) -> None:
        """Read on, when there is room again: first what has come already."""
        if self._full or self._parting or self._pipe.closing:
            return
        if self._pipe.resume():
            self._server.soon(lambda: self.data_received(b""))

    def _whole(self) -> None:
        """A message has come whole: there is no hurry about the next one."""
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _expect_within(self, seconds: float) -> None:
        assert self._server.loop is not None
        self._slow = self._server.loop.call_later(
            seconds, self.drop, f"no whole message in {seconds:g} s"
        )


def shown(text: str) -> str:
    """What a client has sent, for the eyes of others: not too much of it, and nothing to obey."""
    if text.isprintable():
        return text[:_SHOWN]
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )[:_SHOWN]


def _place(peername: Any) -> str:
    """Where a connection over TCP comes from."""
    host, port = peername[:2] if peername else ("somewhere", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
