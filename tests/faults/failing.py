"""System calls that fail: a program runs under strace, which answers some of its calls with errors.

strace comes late, when all is imported, so that it is the calls of the store that are counted.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


class Case(NamedTuple):
    """The `call` that fails, with what error, and when: the n-th, ``n+`` for all from then on."""

    call: str
    error: str
    when: str

    @property
    def inject(self) -> str:
        return f"inject={self.call}:error={self.error}:when={self.when}"


class Outcome(NamedTuple):
    """How a life went: ``well`` or what was ``wrong``, and what it was told on the way."""

    case: Case
    wrong: str
    told: dict[str, Any]
    seconds: float


def missing() -> str:
    """Why calls cannot be made to fail here; nothing if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else f"strace may not be used: {probe.stderr!r}"


class Program:
    """A Python module that is run, and talks on a socket whose number it is given last."""

    def __init__(self, module: str, *args: object) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(PATIENCE)
        self._rest = b""
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, args), str(theirs.fileno())],
                cwd=ROOT, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        self.pid = self._process.pid

    def hear(self) -> list[Any]:
        """What it says next."""
        while b"\n" not in self._rest:
            data = self._socket.recv(1 << 16)
            if not data:
                return ["wrong", f"the program ended with {self._process.wait(PATIENCE)}"]
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        told: list[Any] = json.loads(line)
        return told

    def go_on(self) -> None:
        with suppress(BrokenPipeError):
            self._socket.sendall(b"\n")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.close()


class Strace:
    """strace on a running program, all its threads included, until :meth:`stop`."""

    def __init__(self, pid: int, *options: str) -> None:
        self._pid = pid
        self._process = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", os.devnull, *options, "-p", str(pid)],
            stderr=subprocess.DEVNULL,
        )
        self._wait(traced=True)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        self._wait(traced=False)

    def _wait(self, *, traced: bool) -> None:
        end = time.monotonic() + PATIENCE
        while self._is_traced() != traced:
            assert time.monotonic() < end, "strace does not come, or does not go"
            time.sleep(0.002)

    def _is_traced(self) -> bool:
        try:
            lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        except FileNotFoundError:
            return False
        return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in lines)


def run(case: Case, folder: Path) -> Outcome:
    """A life in which that call fails; and how it ends when nothing fails any more."""
    began = time.monotonic()
    program = Program("tests.faults.life", folder / "store.atop")
    told: dict[str, Any] = {}
    try:
        assert program.hear() == ["ready"]
        strace = Strace(program.pid, "-e", f"trace={case.call}", "-e", case.inject)
        program.go_on()
        word, *rest = program.hear()
        strace.stop()
        if word == "trouble":
            told = rest[0]
            program.go_on()
            word, *rest = program.hear()
        wrong = "" if word == "well" else str(rest[0])
    except TimeoutError:
        wrong = "it hangs"
    finally:
        program.end()
    return Outcome(case, wrong, told, time.monotonic() - began)
