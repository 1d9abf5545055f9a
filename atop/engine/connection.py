"""A client's connection: requests of any number of threads, whose answers may overtake one another.

It has no thread of its own: whoever waits for an answer reads from the socket, for all who wait.
After an interrupt that may have lost bytes it is given up, so that what it brings is never wrong.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from atop.engine import wire
from atop.engine.channel import Channel
from atop.engine.messages import Answer, Committed, Failure, Hello, Leaving, Request, Welcome
from atop.errors import ProtocolError, StoreBusy, StoreError, StoreUnreachable

_MUCH = 1 << 16
_LOOK_EVERY = 0.2


class Connection:
    """Requests and answers over `sock`, which is connected to the server at `place`.

    ``serial`` is that of the newest commit that the server has told of, and ``lost`` tells that
    nothing can be asked any more.
    """

    def __init__(self, sock: socket.socket, place: str, timeout: float) -> None:
        self.place = place
        self.pid: int | None = None
        self.timeout = timeout
        self.serial = 0
        self.lost = False
        self.reason = "the connection was closed"
        self.welcome: Welcome | None = None
        self._channel = Channel(sock)
        self._numbers = itertools.count(1)
        self._sending = threading.Lock()
        self._arrived = threading.Condition(threading.Lock())
        self._reading = False
        self._later: deque[bytes | bytearray] = deque()
        self._asked: dict[int, tuple[type[Request], Answer | Failure | None]] = {}
        self._received = bytearray()
        self._limit = wire.MAX_ANSWER

    def greet(self, hello: Callable[[int], Hello]) -> Welcome:
        """Agree on the version, and say who we are.

        :raises ProtocolError: when the other side speaks another version, or something else.
        :raises StorePermission: when it does not let us in.
        """
        deadline = time.monotonic() + self.timeout
        try:
            self._send(wire.preamble())
            while len(self._received) < wire.PREAMBLE_BYTES:
                self._receive(deadline)
        except TimeoutError as error:
            raise self.silent(self.timeout) from error
        except StoreUnreachable as error:
            if self._received:
                raise ProtocolError(f"{self.place} hung up in the middle of its greeting",
                                    self.place) from error
            raise
        wire.check_preamble(bytes(self._received[: wire.PREAMBLE_BYTES]), self.place)
        del self._received[: wire.PREAMBLE_BYTES]
        self.welcome = self.ask(hello)[1]
        assert self.welcome is not None
        self.serial = max(self.serial, self.welcome.state.serial)
        return self.welcome

    def ask(
        self, make: Callable[..., Request], *fields: Any, patience: float | None = None
    ) -> tuple[int, Any]:
        """The serial and the body of the answer to a request.

        :raises StoreBusy: when it has not come after `patience` seconds.
        :raises StoreUnreachable: when the connection is lost.
        """
        return self.wait(self.begin(make, *fields), patience)

    def begin(self, make: Callable[..., Request], *fields: Any) -> int:
        """Send a request, whose answer somebody will wait for; answers its number."""
        number = next(self._numbers)
        request = make(number, *fields)
        self._asked[number] = type(request), None
        try:
            self._send(wire.pack(request))
        except BaseException:
            self._asked.pop(number, None)
            raise
        return number

    def tell(self, make: Callable[..., Request], *fields: Any) -> None:
        """Send what has no answer; nothing, when nobody listens any more.

        This may be called while something is collected, in the middle of a message: then it is
        sent after that.
        """
        self._later.append(wire.pack(make(0, *fields)))
        with suppress(StoreUnreachable, StoreBusy):
            self._send_later()

    def wait(self, number: int, patience: float | None = None) -> tuple[int, Any]:
        """The answer to request `number`; see :meth:`ask`."""
        deadline = time.monotonic() + (self.timeout if patience is None else patience)
        kind = self._asked[number][0]
        try:
            answer = self._wait(number, deadline)
        finally:
            self._asked.pop(number, None)
        if isinstance(answer, Failure):
            raise wire.error(answer)
        return answer.serial, wire.body(kind, answer.body)

    def forget(self, number: int) -> None:
        """Nobody will wait for the answer to that request."""
        self._asked.pop(number, None)

    def poll(self) -> None:
        """Take in what has arrived by now, without waiting for anything."""
        mine = False
        try:
            with self._arrived:
                if self._reading or self.lost:
                    return
                mine = self._reading = True
            while not self.lost and self._channel.ready:
                self._receive(time.monotonic() + self.timeout)
                self._take_frames()
        except BaseException as error:
            if mine:
                self._lose()
            if not isinstance(error, (StoreError, TimeoutError)):
                raise
        finally:
            if mine:
                self._stop_reading()

    def close(self, reason: str = "it was closed here") -> None:
        """Hang up."""
        if not self.lost:
            self.reason = reason
            self.lost = True
        self._channel.close()
        with self._arrived:
            self._arrived.notify_all()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's."""
        self.lost, self.reason = True, "it belongs to the process that this one was forked from"
        self._sending = threading.Lock()
        self._arrived = threading.Condition(threading.Lock())
        self._channel.abandon()

    def silent(self, seconds: float) -> StoreBusy:
        """What to tell somebody who has waited that long in vain."""
        who = self.welcome
        pid = who.pid if who else self.pid
        name = f"process {pid}" if pid else "who has it"
        if who is not None:
            name += f" ({who.command}) of {who.host}"
        return StoreBusy(
            f"{self.place}: {name} has not answered for {seconds:.1f} s; it may be stopped or very "
            "busy: end it, or wait longer with timeout=",
            self.place,
            pid,
        )

    def _wait(self, number: int, deadline: float) -> Answer | Failure:
        began = time.monotonic()
        while True:
            mine = False
            try:
                with self._arrived:
                    answer = self._asked[number][1]
                    if answer is not None:
                        return answer
                    if self.lost:
                        raise self._unreachable()
                    if self._reading:
                        left = deadline - time.monotonic()
                        if left <= 0:
                            raise TimeoutError
                        self._arrived.wait(min(left, _LOOK_EVERY))
                        continue
                    mine = self._reading = True
                self._receive(deadline)
                self._take_frames()
            except TimeoutError as error:
                raise self.silent(time.monotonic() - began) from error
            except BaseException:
                if mine:
                    self._lose()
                raise
            finally:
                if mine:
                    self._stop_reading()

    def _stop_reading(self) -> None:
        """Let another thread read; should an interrupt come between, it looks by itself."""
        self._reading = False
        with self._arrived:
            self._arrived.notify_all()

    def _take_frames(self) -> None:
        for frame in wire.frames(self._received, self._limit):
            message = wire.answer(frame)
            if type(message) is Committed:
                self.serial = max(self.serial, message.serial)
            elif type(message) is Leaving:
                self.reason = message.reason
            else:
                if type(message) is not Failure:
                    self.serial = max(self.serial, message.serial)
                asked = self._asked.get(message.number)
                if asked is not None:
                    self._asked[message.number] = asked[0], message

    def _send(self, data: bytes | bytearray) -> None:
        with self._sending:
            while self._later:
                self._send_now(self._later.popleft())
            self._send_now(data)
        self._send_later()

    def _send_later(self) -> None:
        """Send what was only told, unless somebody is sending, who does it then."""
        while self._later and self._sending.acquire(blocking=False):
            try:
                while self._later:
                    self._send_now(self._later.popleft())
            finally:
                self._sending.release()

    def _send_now(self, data: bytes | bytearray) -> None:
        if self.lost:
            raise self._unreachable()
        sent = False
        try:
            self._channel.send(data, time.monotonic() + self.timeout)
            sent = True
        except TimeoutError as error:
            raise self.silent(self.timeout) from error
        except OSError as error:
            raise self._unreachable() from error
        finally:
            if not sent:
                self._lose()

    def _receive(self, deadline: float) -> None:
        got = False
        try:
            data = self._channel.receive(deadline, much=len(self._received) > _MUCH)
            self._received += data
            got = bool(data)
        except OSError as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                got = True
                raise
            raise self._unreachable() from error
        finally:
            if not got:
                self._lose()
        if not got:
            raise self._unreachable()

    def _lose(self) -> None:
        self.lost = True
        self._channel.hang_up()

    def _unreachable(self) -> StoreUnreachable:
        return StoreUnreachable(
            f"{self.place} is out of reach ({self.reason}): see whether its process still runs",
            self.place,
        )
