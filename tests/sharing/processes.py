"""Other processes that have the same store, and do what a test tells them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from atop import Item, Store

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
MAIN = """
import sys
from tests.sharing import processes
processes.main(sys.argv[1], processes.json.loads(sys.argv[2]))
"""


class Thing(Item):
    """Any attributes will do."""


class Other:
    """A process that has opened the store in `path`, as ``store``."""

    def __init__(self, path: Path, *, opened: bool = True, **options: Any) -> None:
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", MAIN, str(path),
             json.dumps(options if opened else None)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self._rest = b""
        self.pid = self._process.pid
        assert self.answer() == "ready"

    @property
    def owns(self) -> bool:
        """Whether that process owns the folder, and serves the others."""
        return bool(self.do("answer = store.folder is not None"))

    def do(self, code: str) -> Any:
        """What `code` leaves in ``answer``; or its error, as `Failed`."""
        self.start(code)
        return self.answer()

    def start(self, code: str) -> None:
        """Let it run `code`, and do not wait."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(code).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self, patience: float = PATIENCE) -> Any:
        """What came out of the code that was started."""
        assert self._process.stdout is not None
        end = time.monotonic() + patience
        while b"\n" not in self._rest:
            ready = select.select([self._process.stdout], [], [], max(0, end - time.monotonic()))
            assert ready[0], f"process {self.pid} hangs"
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            if not data:
                raise Failed("Killed", "the process has ended")
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        kind, *told = json.loads(line)
        if kind != "ok":
            raise Failed(kind, *told)
        return told[0]

    def kill(self) -> None:
        """Let it end at once, without a word."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it stand still."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        os.kill(self.pid, signal.SIGINT)

    def end(self) -> None:
        """Let it close its store and end; whatever state it is in."""
        if self._process.poll() is None:
            self.go_on()
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Failed(Exception):
    """What went wrong in another process: the name of the error, its words, where it was."""

    def __init__(self, kind: str, message: str = "", where: str = "") -> None:
        super().__init__(f"{kind}: {message}\n{where}")
        self.kind = kind
        self.message = message


def main(path: str, options: dict[str, Any] | None) -> None:
    """Run the lines of the input, each a piece of code."""
    known: dict[str, Any] = {"Thing": Thing, "Item": Item, "Store": Store, "os": os, "time": time,
                             "path": path}
    if options is not None:
        known["store"] = Store(path, **{"timeout": 5, "durable": False, **options})
    print('["ok", "ready"]', flush=True)
    for line in sys.stdin:
        known["answer"] = None
        try:
            exec(json.loads(line), known)
            told = ["ok", known["answer"]]
        except BaseException as error:
            told = [type(error).__name__, str(error), traceback.format_exc()]
        print(json.dumps(told), flush=True)
    if "store" in known:
        known["store"].close()
