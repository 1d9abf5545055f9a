"""What one client reads, and the snapshots that it has; all of it is answered at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from atop.engine import messages
from atop.engine.base import INDEX, Range
from atop.engine.host import Host, known_table
from atop.errors import ProtocolError

_PAGE_ROWS = 1000
_PAGE_BYTES = 16 << 20
_MAX_SNAPSHOTS = 1 << 16
_RESPITE = 0.2
MAX_ROWS = 1 << 31


class ServedReads:
    """The reads of one client of `host`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._snapshots: list[int] = []

    def get(self, asked: messages.Get) -> tuple[int, Any]:
        return self._host.engine.get(known_table(asked.table), asked.key)

    def getmany(self, asked: messages.GetMany) -> tuple[int, Any]:
        return self._host.engine.getmany(known_table(asked.table), asked.keys)

    def count(self, asked: messages.Count) -> tuple[int, Any]:
        return self._host.engine.count(asked.low, asked.high)

    def scan(self, asked: messages.Scan) -> tuple[int, Any]:
        engine, table = self._host.engine, known_table(asked.table)
        if table != INDEX and (asked.within.skip or asked.within.reverse):
            raise ProtocolError("only the index has rows with numbers")
        return _page(lambda part: engine.scan(table, part), asked.within)

    def join(self, asked: messages.Join) -> tuple[int, Any]:
        engine, known = self._host.engine, frozenset(asked.known)
        return _page(lambda part: engine.join(part, known), asked.within)

    def look(self, asked: messages.Look) -> tuple[int, Any]:
        engine = self._host.engine
        state = engine.state if asked.serial is None else engine.state_at(asked.serial)
        return state.serial, state

    def changed(self, asked: messages.Changed) -> tuple[int, Any]:
        return self._host.engine.serial, self._host.engine.changed(asked.since)

    def commits(self, asked: messages.Commits) -> tuple[int, Any]:
        deltas = self._host.engine.commits(asked.since)
        return self._host.engine.serial, [(each.serial, each.before) for each in deltas]

    def begin_snapshot(self, asked: messages.BeginSnapshot) -> tuple[int, Any]:
        if len(self._snapshots) >= _MAX_SNAPSHOTS:
            raise ProtocolError(f"more than {_MAX_SNAPSHOTS:,} snapshots at once")
        serial = self._host.engine.begin_snapshot(asked.serial)
        self._snapshots.append(serial)
        return serial, True

    def end_snapshot(self, asked: messages.EndSnapshot) -> tuple[int, Any]:
        if asked.serial is None:  # it was a lock on the file ``serial``
            self._host.files.remove_freed()
        elif asked.serial in self._snapshots:
            self._snapshots.remove(asked.serial)
            self._host.engine.end_snapshot(asked.serial)
        else:
            raise ProtocolError(f"there is no snapshot of commit {asked.serial:,} to be ended")
        return 0, None

    def outcome(self, asked: messages.Outcome) -> tuple[int, Any]:
        if asked.turn:
            self._host.end_turn(asked.turn)
        return self._host.engine.serial, self._host.engine.outcome(asked.serial, asked.token)

    def close(self) -> None:
        """End the snapshots that the client has left open, also those that are locks."""
        while self._snapshots:
            self._host.engine.end_snapshot(self._snapshots.pop())
        if self._host.files.doomed:  # the kernel takes its locks back in its own time
            self._host.later(_RESPITE, self._host.files.remove_freed)


READS: dict[type[messages.Request], Callable[[ServedReads, Any], tuple[int, Any]]] = {
    messages.Get: ServedReads.get,
    messages.GetMany: ServedReads.getmany,
    messages.Scan: ServedReads.scan,
    messages.Join: ServedReads.join,
    messages.Count: ServedReads.count,
    messages.Look: ServedReads.look,
    messages.Changed: ServedReads.changed,
    messages.Commits: ServedReads.commits,
    messages.BeginSnapshot: ServedReads.begin_snapshot,
    messages.EndSnapshot: ServedReads.end_snapshot,
    messages.Outcome: ServedReads.outcome,
}


def _page(
    read: Callable[[Range], tuple[int, Sequence[Any]]], within: Range
) -> tuple[int, tuple[bool, list[Any]]]:
    """The first rows of a range, as many as go into one answer; and whether there are more."""
    if not (0 <= within.limit <= MAX_ROWS and 0 <= within.skip <= MAX_ROWS):
        raise ProtocolError(f"{within.skip} and {within.limit} are no numbers of rows")
    rows: list[Any] = []
    size, rest, first = 0, within, -1
    while True:
        part = rest._replace(limit=min(rest.limit, _PAGE_ROWS))
        serial, page = read(part)
        if first not in (-1, serial):
            return first, (True, rows)
        first = serial
        rows += page
        size += sum(len(key) + len(value or b"") for key, value in page)
        left = within.limit - len(rows)
        if len(page) < part.limit or left <= 0:
            return serial, (False, rows)
        if size > _PAGE_BYTES:
            return serial, (True, rows)
        rest = rest.after(page[-1][0])._replace(limit=left)
