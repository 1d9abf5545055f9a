"""A process beside the tests, which owns a store that they are clients of, or writes in theirs.

It does what lines on its input tell it, one thing at a time: ``own PATH``, ``serve PATH`` over TCP
with TLS, ``meddle PATH``, ``end``.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from pathlib import Path

import trustme

from atop import Store
from atop.engine.admission import Admission
from atop.engine.base import ITEMS, Commit, Difference, Range, next_state
from atop.engine.daemon import FolderSite
from atop.engine.doors import Doors
from atop.engine.limits import Limits
from atop.engine.tokens import line_for
from atop.errors import AtopError, TransactionLost

ROOT = Path(__file__).parent.parent
TOKEN = "a-token-for-tests"


class Partner:
    """The process, as the tests see it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.partner"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def tell(self, what: str, path: Path | str = "") -> str:
        """Let it do that; answers what it says when it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what} {path}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().rstrip("\n")
        assert answer.startswith("ok"), f"the process beside: {answer!r}"
        return answer.removeprefix("ok ")

    def close(self) -> None:
        """End it."""
        self._process.communicate("", timeout=30)


class Credentials:
    """The files that a server needs; ``ca.pem`` in the folder is for its clients."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="atop-test-")
        self.folder = Path(self._temporary.name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        issued = authority.issue_cert("127.0.0.1", "localhost")
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        (self.folder / "cert.pem").write_bytes(chain)
        issued.private_key_pem.write_to_path(str(self.folder / "key.pem"))
        tokens = self.folder / "tokens"
        tokens.touch(0o600)
        tokens.write_text(line_for("tests", TOKEN, read_only=False) + "\n")

    def admission(self) -> Admission:
        names = ("cert.pem", "key.pem", "tokens")
        cert, key, tokens = (self.folder / name for name in names)
        return Admission(cert, key, tokens=tokens)


class Served:
    """A store that is served over TCP: ``url`` tells where."""

    def __init__(self, path: str, credentials: Credentials) -> None:
        self._site = FolderSite(
            Path(path), cache_bytes=16 << 20, timeout=30, read_only=False, limits=Limits()
        )
        server = self._site.server
        assert server.loop is not None
        (self._door,) = Doors(credentials.admission(), Path(path)).tcp("127.0.0.1:0")
        door = self._door
        listening = server.listen(door.sock, door.admit, door.certificates)
        asyncio.run_coroutine_threadsafe(listening, server.loop).result()
        self.url = door.name

    def close(self) -> None:
        self._site.close()
        self._door.close()


class Meddler:
    """Commits to a store what nobody sees: nothing at all, or a record that stays as it is.

    Its first commit is made when it is.
    """

    def __init__(self, path: str) -> None:
        self._store = Store(path, timeout=30, durable=False)
        self._dice = random.Random(path)
        self._stopping = threading.Event()
        self._error = ""
        self.commits = 0
        self._commit()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._store.close()
        assert not self._error, self._error

    def _run(self) -> None:
        try:
            while not self._stopping.wait(0.001):
                with suppress(TransactionLost):  # the test has closed its store
                    self._commit()
        except AtopError:
            self._error = traceback.format_exc()

    def _commit(self) -> None:
        turn = self._store.engine.writer(30)
        try:
            rows = turn.engine.scan(ITEMS, Range(limit=30))[1]
            changes: dict[str, list[Difference]] = {}
            if rows:
                key, record = self._dice.choice(rows)
                changes[ITEMS] = [(key, record, True)]
            state = next_state(turn.state, turn.state.next_id, turn.state.counts)
            turn.apply(Commit(state, changes), False)
            self.commits += 1
        finally:
            turn.release()


def main() -> None:
    """Do what is told until there is nothing more."""
    what: Store | Meddler | Served | None = None
    credentials: Credentials | None = None
    for line in sys.stdin:
        verb, _, path = line.rstrip("\n").partition(" ")
        said = "ok"
        try:
            if what is not None:
                ended, what = what, None
                ended.close()
            if verb == "own":
                what = Store(path, timeout=30, durable=False)
            elif verb == "serve":
                credentials = credentials or Credentials()
                what = Served(path, credentials)
                said = f"ok {what.url} {credentials.folder / 'ca.pem'}"
            elif verb == "meddle":
                what = Meddler(path)
        except BaseException:
            said = repr(traceback.format_exc())
        print(said, flush=True)


if __name__ == "__main__":
    main()
