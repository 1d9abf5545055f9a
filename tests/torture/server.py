"""A process of the torture that serves the store, over TLS and over a Unix socket."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import trustme

from atop.engine.admission import Admission
from atop.engine.daemon import FolderSite
from atop.engine.doors import Door, Doors
from atop.engine.limits import Limits
from atop.engine.tokens import line_for
from tests.torture.board import CLOSE, NOTHING, OPEN, THREADS, Board
from tests.torture.setting import PATIENCE, TOKEN, Setting, die_with_parent, prepare, report
from tests.torture.worker import CLOSE_ALL

_CACHE = 8 << 20


def issue(folder: Path) -> None:
    """The files that a server needs; ``ca.pem`` is for its clients."""
    folder.mkdir(exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = authority.issue_cert("127.0.0.1", "localhost")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "tokens").touch(0o600)
    (folder / "tokens").write_text(line_for("torture", TOKEN, read_only=False) + "\n")


class Serving:
    """The process in place number `number`, which serves at the setting's addresses."""

    def __init__(self, board: Board, number: int, setting: Setting) -> None:
        self.board = board
        self.number = number
        self.place = board[number]
        self.setting = setting

    def run(self) -> None:
        """Serve until an order or a signal ends it."""
        self.place.pid = os.getpid()
        die_with_parent()
        prepare(self.setting, self.board, self.number)
        try:
            self._serve()
        except Exception:
            report(self.setting, f"the server, process {os.getpid()}")
            os._exit(3)

    def _serve(self) -> None:
        self.place.lines[0].began, self.place.lines[0].operation = time.monotonic(), OPEN
        site = FolderSite(self.setting.store, cache_bytes=_CACHE, timeout=PATIENCE,
                          read_only=False, limits=Limits())
        server, loop = site.server, site.server.loop
        assert loop is not None
        doors = self._doors()
        for door in doors:
            listening = server.listen(door.sock, door.admit, door.certificates)
            asyncio.run_coroutine_threadsafe(listening, loop).result()
        while self.place.order != CLOSE_ALL:
            for line in self.place.lines[:THREADS]:
                line.operation, line.began = NOTHING, time.monotonic()
                line.done += 1
            time.sleep(0.005)
        self.place.lines[0].operation = CLOSE
        site.close()
        for door in doors:
            door.close()

    def _doors(self) -> list[Door]:
        folder = self.setting.credentials
        assert folder is not None
        admission = Admission(folder / "cert.pem", folder / "key.pem", tokens=folder / "tokens")
        doors = Doors(admission, self.setting.store)
        tls, unix = self.setting.addresses
        return [*doors.tcp(tls.removeprefix("atop://")),
                doors.unix(Path(unix.removeprefix("atop+unix://")))]
