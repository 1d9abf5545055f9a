"""What one client may ask of a store, and what is answered. Knows nothing of sockets.

Reads are answered at once; what has to wait for a turn or a disk is answered later. A client can
harm nobody but itself: what it wants to commit is checked before it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from atop.engine import messages
from atop.engine.base import ID_BYTES, ITEMS
from atop.engine.host import LATER, Done, Host, Replies
from atop.engine.progress import silent
from atop.engine.servedreads import READS, ServedReads
from atop.engine.servedturns import TURNS, ServedTurns
from atop.engine.servedwrites import WRITES, ServedWrites
from atop.engine.uploads import Uploads
from atop.errors import (
    DamagedStore,
    ProtocolError,
    ReadOnlyStore,
    SnapshotTooOld,
    StoreError,
)

_READ_BYTES = 4 << 20


class Service:
    """The requests of one client, called `who`; `reply` sends it a number, a serial and a body.

    A `local` client writes files itself, and one that is `trusted` is the same user as the server.
    """

    def __init__(
        self,
        host: Host,
        who: str,
        pid: int,
        *,
        read_only: bool,
        local: bool,
        trusted: bool,
        reply: Callable[[int, int, Any], None],
        fail: Callable[[int, BaseException], None],
    ) -> None:
        self.read_only = read_only
        self._host = host
        self._trusted = trusted
        self._replies = Replies(reply, fail)
        self._uploads = Uploads(host.files, host.aside, local=local)
        self._reads = ServedReads(host)
        self._turns = ServedTurns(host, who, pid, self._replies)
        self._writes = ServedWrites(host, self._turns, self._uploads, self._replies)
        self._closed = False

    @property
    def turns(self) -> list[bytes]:
        """The tokens of turns that this client has or waits for."""
        return self._turns.tokens

    @property
    def has_turn(self) -> bool:
        """Whether a turn has come that is not over."""
        return self._turns.granted

    def handle(self, request: messages.Request, size: int) -> tuple[int, Any]:
        """The serial and the body of the answer; the body is ``LATER`` if there is none yet.

        :raises AtopError: what the client is to be told.
        """
        kind = type(request)
        if request.writes and self.read_only:
            raise ReadOnlyStore("this connection may only read: open it with the right to write")
        if kind in READS:
            return self._read_aside(request) if self._host.slow else self._read(request)
        if kind is messages.Stage:
            self._writes.weigh(size)
        if kind in TURNS:
            return TURNS[kind](self._turns, request)
        if kind in WRITES:
            return WRITES[kind](self._writes, request)
        if kind in _OTHERS:
            return _OTHERS[kind](self, request)
        raise ProtocolError(f"{kind.__name__} in the middle of a connection")

    def close(self) -> None:
        """The client has gone: it loses its turn at once, and all that it had not committed."""
        if self._closed:
            return
        self._closed = True
        self._turns.close()
        self._reads.close()
        self._uploads.close()
        self._writes.close()

    def end_turn(self, token: bytes) -> None:
        """Take the turn away, or out of the line, if this client has it."""
        self._turns.end(token)

    def _read(self, request: messages.Request) -> tuple[int, Any]:
        return READS[type(request)](self._reads, request)

    def _read_aside(self, request: messages.Request) -> tuple[int, Any]:
        """What waits for another server, since the engine is slow."""

        def done(result: Any, error: BaseException | None) -> None:
            if error is not None:
                self._replies.fail(request.number, error)
            else:
                self._replies.reply(request.number, *result)
            if self._closed:
                self._reads.close()

        self._host.aside(lambda: self._read(request), done)
        return 0, LATER

    # Files

    def _new_file(self, asked: messages.NewFile) -> tuple[int, Any]:
        return 0, self._uploads.create()

    def _file_data(self, asked: messages.FileData) -> tuple[int, Any]:
        self._uploads.append(asked.name, asked.data, self._answering(asked.number))
        return 0, LATER

    def _file_end(self, asked: messages.FileEnd) -> tuple[int, Any]:
        done = self._answering(asked.number)
        self._uploads.finish(asked.name, asked.size, asked.sha256, done)
        return 0, LATER

    def _file_drop(self, asked: messages.FileDrop) -> tuple[int, Any]:
        self._uploads.drop(asked.name)
        return 0, None

    def _read_file(self, asked: messages.ReadFile) -> tuple[int, Any]:
        self._host.aside(lambda: self._bytes(asked), self._answering(asked.number))
        return 0, LATER

    def _bytes(self, asked: messages.ReadFile) -> bytes:
        files, size = self._host.files, min(asked.size, _READ_BYTES)
        try:
            return files.read(asked.id, asked.offset, size)
        except FileNotFoundError as error:
            key = asked.id.to_bytes(ID_BYTES, "big")
            if self._host.engine.get(ITEMS, key)[1] is not None:
                raise DamagedStore(
                    f"there is no file {asked.id}, though its item is there: restore a backup with "
                    "`atopdb restore`"
                ) from error
            raise SnapshotTooOld(
                f"there is no file {asked.id} any more: it was deleted while no snapshot kept it, "
                "as when a connection is lost; begin anew"
            ) from error

    # Care

    def _care(self, asked: messages.Care) -> tuple[int, Any]:
        keeper, timeout = self._host.keeper, self._host.timeout
        works: dict[str, Callable[[], Any]] = {
            "checkpoint": keeper.checkpoint,
            "compact": lambda: keeper.compact(silent),
            "pages": lambda: keeper.blemishes(timeout, silent),
            "figures": keeper.figures,
            "copy": lambda: keeper.copy_to(Path(asked.path), silent),
        }
        if asked.what not in works:
            raise ProtocolError(f"there is no care called {asked.what!r}")
        if asked.what == "copy" and (self._host.slow or not self._trusted):
            raise StoreError("a store is backed up by its own user, on the machine that has it")
        if self.read_only and asked.what in ("checkpoint", "compact"):
            raise ReadOnlyStore("this connection may only read: open it with the right to write")
        self._host.care(works[asked.what], self._answering(asked.number))
        return 0, LATER

    def _status(self, asked: messages.Status) -> tuple[int, Any]:
        return 0, self._host.status()

    def _stop(self, asked: messages.Stop) -> tuple[int, Any]:
        if not self._trusted:
            raise ReadOnlyStore("a server is stopped by its own user, on its own machine")
        self._host.stop()
        return 0, True

    def _answering(self, number: int) -> Done:
        """What answers that request with a result, or an error."""

        def done(result: Any, error: BaseException | None) -> None:
            if error is not None:
                self._replies.fail(number, error)
            else:
                self._replies.reply(number, self._host.engine.serial, result)

        return done


# What waits for another server where the engine is slow.


_OTHERS: dict[type[messages.Request], Callable[[Service, Any], tuple[int, Any]]] = {
    messages.NewFile: Service._new_file,
    messages.FileData: Service._file_data,
    messages.FileEnd: Service._file_end,
    messages.FileDrop: Service._file_drop,
    messages.ReadFile: Service._read_file,
    messages.Care: Service._care,
    messages.Status: Service._status,
    messages.Stop: Service._stop,
}
