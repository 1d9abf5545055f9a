"""What is done to the processes of a round: kills, fail points, stops, and bad ends."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from atop import Store
from atop.errors import StoreBusy
from tests.torture.arena import Arena
from tests.torture.bank import Broken, expect
from tests.torture.figures import Figures
from tests.torture.hangs import HANGS
from tests.torture.points import CLIENT, CLOSING, COMING, ENDS, MEETING, OPENING, OWNER
from tests.torture.setting import Setting, report
from tests.torture.worker import (
    CLOSE_ALL,
    EXIT_AT_ONCE,
    EXIT_OPEN,
    FORK_ONE,
    LEAVE,
    LOSE_THREAD,
)

_ORDERS = {
    CLOSE_ALL: "closed in order",
    EXIT_OPEN: "interpreter ended in a transaction",
    EXIT_AT_ONCE: "ended at once in a transaction",
    LEAVE: "interpreter ended with all open",
    FORK_ONE: "forked in a transaction",
    LOSE_THREAD: "thread died in a transaction",
}
_NAMED_IN = 5.0
_PATIENCE = 0.3


class Attacks:
    """Attacks the processes in the arena, about so many times in a second."""

    def __init__(self, arena: Arena, figures: Figures, dice: random.Random, rate: float) -> None:
        self._arena = arena
        self._figures = figures
        self._dice = dice
        self._pause = 1 / rate
        self._tries: Counter[int] = Counter()
        self._drilled = 0.0

    def go_on_until(self, end: float, kills: int) -> None:
        """Attack until then, or until so many processes have been killed."""
        arena, dice = self._arena, self._dice
        while time.monotonic() < end and self._figures.killed < kills:
            arena.pump_until(lambda: False, dice.expovariate(1 / self._pause) * 0.5)
            arena.pump_until(lambda: arena.all_got_on, 10 * HANGS)
            self._attack()
        arena.pump_until(lambda: arena.all_got_on, 10 * HANGS)

    def _attack(self) -> None:
        attacks = {
            self._at_point: 60, self._owner: 12, self._client: 10, self._order: 10,
            self._interrupt: 6, self._stop: 3, self._drill: 1,
        }  # fmt: skip
        attack = self._dice.choices(list(attacks), list(attacks.values()))[0]
        attack()

    # Kills

    def _owner(self) -> None:
        if self._arena.owner is not None:
            self._arena.kill(self._arena.owner, "at random")

    def _client(self) -> None:
        clients = [number for number in self._arena.workers if number != self._arena.owner]
        if clients:
            self._arena.kill(self._dice.choice(clients), "at random")

    def _at_point(self) -> None:
        """At the end that has killed least so far, and was tried in vain least."""
        end = min(range(len(ENDS)), key=self._used)
        self._tries[end] += 1
        point, name = ENDS[end]
        before = self._figures.at_points[name]
        self._arena.countdown = self._dice.choice((1, 1, 2, 3))
        if point.where == OPENING:
            self._ambush(end)
        elif point.where == CLOSING:
            self._close_at(end)
        elif point.where == COMING:
            self._arena.ambush = end + 1
            self._client()
        else:
            self._arm(end, OWNER if point.where == MEETING else point.where)
        if point.where == MEETING:
            self._client()
        self._arena.pump_until(lambda: self._figures.at_points[name] > before, 1.0)
        self._arena.disarm()

    def _used(self, end: int) -> float:
        killed = self._figures.at_points[ENDS[end][1]]
        return killed + 0.3 * (self._tries[end] - killed) + self._dice.random() * 0.9

    def _arm(self, end: int, where: str) -> None:
        arena = self._arena
        if where == OWNER:
            chosen = [] if arena.owner is None else [arena.owner]
        else:
            chosen = [number for number in arena.workers
                      if where != CLIENT or number != arena.owner]
        for number in self._dice.sample(chosen, min(1, len(chosen))):
            arena.board[number].countdown = arena.countdown
            arena.board[number].armed = end + 1

    def _ambush(self, end: int) -> None:
        """Kill the owner, while whoever comes next is to die at that point."""
        arena, owner = self._arena, self._arena.owner
        arena.countdown, arena.ambush = self._dice.choice((1, 1, 1, 2)), end + 1
        for number in arena.workers:
            if number != owner:
                arena.board[number].countdown = arena.countdown
                arena.board[number].armed = end + 1
        if owner is None:
            return
        if self._dice.random() < 0.5:
            arena.kill(owner, "at random")
            return
        arena.board[owner].countdown = 1
        arena.board[owner].armed = 1 + self._dice.choice(_HALFWAY)
        if not arena.pump_until(lambda: owner != arena.owner, 1.0) and arena.owner == owner:
            arena.kill(owner, "at random")

    def _close_at(self, end: int) -> None:
        owner = self._arena.owner
        if owner is not None:
            place = self._arena.board[owner]
            place.countdown, place.armed = 1, end + 1
            place.order = CLOSE_ALL

    # Other troubles

    def _order(self) -> None:
        arena, dice = self._arena, self._dice
        order = dice.choice(list(_ORDERS))
        if arena.workers:
            number = dice.choice(arena.workers)
            arena.board[number].order = order
            self._figures.ends[_ORDERS[order]] += 1

    def _interrupt(self) -> None:
        """As Ctrl-C does, some times in a row."""
        for _ in range(5):
            begun = [place for place in map(self._arena.board.__getitem__, self._arena.workers)
                     if place.lines[0].done]
            if begun:
                os.kill(self._dice.choice(begun).pid, signal.SIGINT)
                self._figures.ends["interrupted"] += 1
            self._arena.pump(self._dice.random() * 0.02)

    def _stop(self) -> None:
        """Somebody stands still for a moment, and goes on, or is killed then."""
        arena, dice = self._arena, self._dice
        if not arena.workers:
            return
        number = dice.choice(arena.workers)
        if arena.owner is not None and dice.random() < 0.5:
            number = arena.owner
        if not arena.stop(number):
            return
        self._figures.ends["stopped for a moment"] += 1
        time.sleep(dice.random() * 0.4)
        arena.go_on(number, kill=dice.random() < 0.3)

    def _drill(self) -> None:
        """The owner is stopped: who comes then is told which process that is, in bounded time."""
        arena, now = self._arena, time.monotonic()
        owner = arena.owner
        if owner is None or arena.setting.addresses or now - self._drilled < 20:
            return
        self._drilled = now
        if not arena.stop(owner):
            return
        if arena.board[owner].owns:
            result = arena.setting.folder / "named"
            pid = arena.board[owner].pid
            arena.do(lambda: _be_told(arena.setting, pid, result))
            self._figures.named_after.append(float(result.read_text()))
            self._figures.ends["owner stopped, and asked for"] += 1
        arena.go_on(owner, kill=self._dice.random() < 0.5)


_HALFWAY = [at for at, (_, name) in enumerate(ENDS)
            if name in ("commit.settle after", "server.commit after", "sync before", "commit after",
                        "server.sync before", "commit.publish after", "commit.row after")]


def _be_told(setting: Setting, pid: int, result: Path) -> None:
    """In a fresh process: open the store whose owner is stopped."""
    began = time.monotonic()
    try:
        Store(setting.store, timeout=_PATIENCE).close()
        raise Broken(f"a store was opened whose owner, process {pid}, is stopped")
    except StoreBusy as error:
        took = time.monotonic() - began
        try:
            expect(error.pid == pid, f"process {pid} is stopped, and this was told: {error}")
            expect(took < _NAMED_IN, f"it took {took:.1f} s until a stopped owner was named")
        except Broken:
            report(setting, "a process that asks for a stopped owner")
            return
        result.write_text(str(took))
    except Exception:
        report(setting, "a process that asks for a stopped owner")
