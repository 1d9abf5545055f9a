"""Reads: what an optimistic transaction has read, and whether that is still so.

Its commit does not depend on a turn but on this: nothing that it has read was changed since. Then
it might as well have done all of it now, and is written on what is there by now.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from atop.engine.base import (
    CATALOG,
    ID_BYTES,
    ITEMS,
    TABLES,
    Changes,
    Commit,
    Engine,
    Range,
    suffix,
)
from atop.errors import SnapshotTooOld, WriteConflict

Span = tuple[bytes, bytes | None]
_NAMED = 5


class Reads:
    """Keys and spans by table. What was not there was read, too.

    A span is all keys with ``low <= key < high``, where a high end of ``None`` is no bound.
    """

    def __init__(self) -> None:
        self.keys: dict[str, set[bytes]] = {table: set() for table in TABLES}
        self._highs: dict[str, dict[bytes, bytes | None]] = {table: {} for table in TABLES}
        self._last: dict[str, bytes] = dict.fromkeys(TABLES, b"")

    @classmethod
    def of(
        cls,
        keys: Mapping[str, Iterable[bytes]],
        spans: Mapping[str, Iterable[tuple[bytes | None, bytes | None]]],
    ) -> Reads:
        """What a client says that it has read."""
        reads = cls()
        for table, read in keys.items():
            reads.keys[table].update(read)
        for table, scanned in spans.items():
            for low, high in scanned:
                reads.span(table, low, high)
        return reads

    @property
    def spans(self) -> dict[str, list[Span]]:
        """By table."""
        return {table: list(highs.items()) for table, highs in self._highs.items()}

    def span(self, table: str, low: bytes | None, high: bytes | None) -> None:
        """A range was read; where it goes on from the last one, that is longer now."""
        highs, last, low = self._highs[table], self._last[table], low or b""
        if high is not None and high <= low:
            return
        if highs.get(last) == low:
            low = last
        self._last[table] = low
        highs[low] = _higher(highs.get(low, b""), high)

    def rows(self, table: str, within: Range, keys: Sequence[bytes]) -> None:
        """A scan `within` a range has found `keys`: what lies beyond its limit was not read."""
        low, high = within.low, within.high
        if keys and len(keys) == within.limit:
            low, high = (keys[-1], high) if within.reverse else (low, keys[-1] + b"\0")
        if not within.empty:
            self.span(table, low, high)

    def condensed(self, limit: int) -> Reads:
        """The same, or somewhat more, in about `limit` bytes at most."""
        reads = self
        while reads._size > limit:
            reads = reads._coarser()
        return reads

    def landing(self, engine: Engine, commit: Commit) -> tuple[Commit, list[bytes]]:
        """`commit` on top of what is there now, and which items others have changed meanwhile.

        The turn is held. The serial of `commit` is the one after the moment at which this was read;
        its counts are the rows that it adds.

        :raises WriteConflict: when others have changed what was read or is to be written.
        """
        since, last = commit.state.serial - 1, engine.state
        changed = _changed(engine, since) if last.serial != since else {}
        conflicts = [*self._conflicts(changed, commit), *_taken_ids(engine, commit, last.next_id)]
        if conflicts:
            raise _conflict(conflicts)
        state = replace(
            commit.state,
            serial=last.serial + 1,
            next_id=max(last.next_id, commit.state.next_id),
            counts={name: last.counts[name] + more for name, more in commit.state.counts.items()},
        )
        return replace(commit, state=state), changed.get(ITEMS, [])

    def _conflicts(
        self, changed: Mapping[str, list[bytes]], commit: Commit
    ) -> Iterator[tuple[str, bytes]]:
        for table, keys in changed.items():
            found = self.keys[table].intersection(keys)
            found |= set(keys).intersection(Changes.of(commit.changes.get(table, ())).keys)
            found.update(_within(sorted(keys), self._highs[table]))
            yield from ((table, key) for key in found)

    def _coarser(self) -> Reads:
        """With neighbours in pairs."""
        reads = Reads()
        for table, highs in self._highs.items():
            spans = sorted([*highs, *self.keys[table]])
            for at in range(0, len(spans), 2):
                pair = spans[at : at + 2]
                ends = [highs.get(low, low + b"\0") for low in pair]
                reads.span(table, pair[0], _higher(ends[0], ends[-1]))
        return reads

    @property
    def _size(self) -> int:
        keys = sum(len(key) for read in self.keys.values() for key in read)
        return keys + sum(
            len(low) + len(high or b"") for spans in self.spans.values() for low, high in spans
        )


def _higher(one: bytes | None, two: bytes | None) -> bytes | None:
    return None if one is None or two is None else max(one, two)


def _within(keys: list[bytes], highs: Mapping[bytes, bytes | None]) -> Iterator[bytes]:
    """Those of the sorted keys that any span has."""
    for low, high in highs.items():
        end = len(keys) if high is None else bisect_left(keys, high)
        yield from keys[bisect_left(keys, low) : end]


def _changed(engine: Engine, since: int) -> dict[str, list[bytes]]:
    try:
        if engine.serial < since:
            raise SnapshotTooOld(f"there is no commit {since}")
        return engine.changed(since)
    except SnapshotTooOld as error:
        raise WriteConflict(
            "so much was committed since this transaction began that it is not known what of it "
            "had been read: begin it again, or use store.transact"
        ) from error


def _taken_ids(engine: Engine, commit: Commit, next_id: int) -> list[tuple[str, bytes]]:
    """New items whose ids are not new: a store that has changed hands knows no reservations."""
    rows = commit.changes.get(ITEMS, ())
    new = [int.from_bytes(key[:ID_BYTES], "big") for key, _, existed in rows if not existed]
    taken: list[tuple[str, bytes]] = []
    for first, last in _runs([each for each in new if each < next_id]):
        within = Range(first.to_bytes(8, "big"), last.to_bytes(8, "big") + b"\0", limit=1)
        taken += [(ITEMS, key) for key, _ in engine.scan(ITEMS, within)[1]]
    return taken


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """The first and the last of each stretch of rising numbers that has no gap."""
    runs: list[tuple[int, int]] = []
    for each in numbers:
        if runs and each == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], each
        else:
            runs.append((each, each))
    return runs


def _conflict(found: list[tuple[str, bytes]]) -> WriteConflict:
    ids = sorted({int.from_bytes(suffix(key), "big") for table, key in found if table != CATALOG})
    named = ", ".join(map(str, ids[:_NAMED])) + (" and more" if len(ids) > _NAMED else "")
    what = f"items with the ids {named}" if ids else "pools or classes"
    return WriteConflict(
        f"others have changed {what}, which this transaction has read: begin it again, or use "
        "store.transact",
        tuple(ids),
    )
