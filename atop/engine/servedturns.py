"""The writer's turns that one client has, or waits for in the line of the server.

Who has the turn, says nothing and holds up others, loses it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from atop.engine import messages
from atop.engine.bdb import BerkeleyEngine
from atop.engine.bdbturn import BerkeleyTurn
from atop.engine.host import LATER, Host, Replies, Timer
from atop.errors import ProtocolError, ReadOnlyStore, StoreError

_LOOK_EVERY = 0.05


@dataclass
class Held:
    """A turn that a client has, or waits for."""

    turn: BerkeleyTurn
    timer: Timer
    heard: float = field(default_factory=time.monotonic)
    granted: bool = False

    def end(self) -> None:
        """Give the turn up, or wait for it no longer."""
        self.timer.cancel()
        self.turn.release()


class ServedTurns:
    """The turns of the client called `who`, which is the process `pid`."""

    def __init__(self, host: Host, who: str, pid: int, replies: Replies) -> None:
        self._host = host
        self._who = who
        self._pid = pid
        self._replies = replies
        self._held: dict[bytes, Held] = {}

    def __contains__(self, token: bytes) -> bool:
        return token in self._held

    @property
    def tokens(self) -> list[bytes]:
        """Of all turns that the client has or waits for."""
        return list(self._held)

    @property
    def granted(self) -> bool:
        """Whether a turn has come that is not over."""
        return any(held.granted for held in self._held.values())

    @property
    def engine(self) -> BerkeleyEngine:
        """What is written.

        :raises ReadOnlyStore: when nothing is written here.
        """
        engine = self._host.engine
        if not isinstance(engine, BerkeleyEngine):
            raise ReadOnlyStore(
                "this server only reads: write through the one that it reads from"
            )
        return engine

    def ask(
        self, token: bytes, number: int, timeout: float, ready: Callable[[], None]
    ) -> bool:
        """Whether the turn has come at once; else `ready` is called where services run.

        The request of that `number` fails when it has not come in `timeout` seconds.
        """
        turn = self.engine.ask_turn(self._who, self._pid, lambda: self._host.soon(ready))
        timer = self._host.later(timeout, lambda: self._waited(token, number))
        self._held[token] = Held(turn, timer)
        return turn.held

    def come(self, token: bytes) -> Held | None:
        """The turn of that token, if it has come by now and is not over."""
        held = self._held.get(token)
        return held if held is not None and held.turn.held else None

    def pop(self, token: bytes) -> Held | None:
        """The turn of that token, which the caller ends; ``None`` if it is over."""
        return self._held.pop(token, None)

    def end(self, token: bytes) -> None:
        """Take the turn away, or out of the line, if this client has it."""
        held = self._held.pop(token, None)
        if held is not None:
            held.end()

    def take(self, asked: messages.TakeTurn) -> tuple[int, Any]:
        if asked.turn in self or len(asked.turn) != messages.TOKEN_BYTES:
            raise ProtocolError("a turn needs a token of its own")
        come = self.ask(asked.turn, asked.number, asked.timeout, lambda: self._grant(asked))
        return self._begin(asked.turn) if come else (0, LATER)

    def working(self, asked: messages.Working) -> tuple[int, Any]:
        if asked.turn in self:
            self._held[asked.turn].heard = time.monotonic()
        return 0, None

    def release(self, asked: messages.Release) -> tuple[int, Any]:
        self.end(asked.turn)
        return 0, None

    def close(self) -> None:
        """The client has gone: it loses its turn at once."""
        for token in self.tokens:
            self.end(token)

    def _grant(self, asked: messages.TakeTurn) -> None:
        """The turn of somebody who waits has come."""
        held = self._held.get(asked.turn)
        if held is None or held.granted:
            return
        try:
            self._replies.reply(asked.number, *self._begin(asked.turn))
        except StoreError as error:
            self._replies.fail(asked.number, error)

    def _begin(self, token: bytes) -> tuple[int, Any]:
        held = self._held[token]
        held.granted, held.heard = True, time.monotonic()
        held.timer.cancel()
        held.timer = self._host.later(self._host.timeout, lambda: self._watch(token))
        try:
            held.turn.begin()
            state = held.turn.state
        except BaseException:
            self.end(token)
            raise
        return state.serial, (state, held.turn.ids[0])

    def _waited(self, token: bytes, number: int) -> None:
        """It has taken too long for the turn to come."""
        held = self._held.get(token)
        if held is not None and not held.granted and not held.turn.held:
            self.end(token)
            self._replies.fail(number, self.engine.turn.busy())

    def _watch(self, token: bytes) -> None:
        """Who has the turn, says nothing and holds up others, loses it."""
        held = self._held.get(token)
        if held is None:
            return
        left = held.heard + self._host.timeout - time.monotonic()
        if left <= 0 and self.engine.turn.wanted:
            self.end(token)
        else:
            held.timer = self._host.later(max(left, _LOOK_EVERY), lambda: self._watch(token))


TURNS: dict[type[messages.Request], Callable[[ServedTurns, Any], tuple[int, Any]]] = {
    messages.TakeTurn: ServedTurns.take,
    messages.Working: ServedTurns.working,
    messages.Release: ServedTurns.release,
}
