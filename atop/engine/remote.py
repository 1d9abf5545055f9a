"""The seam over a connection: an engine that is in another process."""

from __future__ import annotations

from dataclasses import replace

from atop.engine import messages, sending
from atop.engine.base import TABLES, Commit, Landed
from atop.engine.lasting import FindOut
from atop.engine.reads import Reads
from atop.engine.remotereads import RemoteReads
from atop.engine.remoteturn import RemoteTurn

_READS_BYTES = 16 << 20


class RemoteEngine(RemoteReads):
    """All that can be done with the store of the server at the other end."""

    def writer(self, timeout: float, find_out: FindOut | None = None) -> RemoteTurn:
        return RemoteTurn(self, timeout, find_out)

    def attempt(self, commit: Commit, reads: Reads, durable: bool, timeout: float) -> Landed:
        read = reads.condensed(_READS_BYTES)
        keys = {table: list(found) for table, found in read.keys.items() if found}
        spans = {table: found for table, found in read.spans.items() if found}
        state = replace(commit.state, counts=dict.fromkeys(TABLES, 0))
        landed: Landed = self.ask(
            messages.Attempt, state, keys, spans, sending.staged(self.connection, commit),
            commit.note, durable, timeout, list(commit.files), list(commit.removed),
            patience=timeout + sending.patience(self.connection),
        )[1]
        self.answers.committed(landed.state.serial, lambda: sending.changed_keys(commit))
        return landed

    def new_file(self) -> str:
        """The name of a new file, which the server has made."""
        name: str = self.ask(messages.NewFile)[1]
        return name

    def drop_file(self, name: str) -> None:
        """That file is not wanted."""
        self.connection.tell(messages.FileDrop, name)
