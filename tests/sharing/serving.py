"""Servers to talk to: in this process, with limits as a test needs them, or as real commands."""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trustme

from atop import Store
from atop.engine import wire
from atop.engine.admission import Admission
from atop.engine.daemon import FolderSite
from atop.engine.doors import Doors
from atop.engine.limits import Limits
from atop.engine.messages import Answer, Failure, Hello, Leaving, Request
from atop.engine.tokens import line_for

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-that-may-write"
READING = "a-token-that-may-read"
PATIENCE = 20.0


class Keys:
    """An authority and what it issues, in the files of a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.authority = trustme.CA()
        self.folder = folder
        self.ca = folder / f"{name}.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.cert, self.key = self.issue(f"{name}-server")
        self.tokens = folder / f"{name}-tokens"
        self.know(TOKEN, READING)

    def issue(self, name: str, **options: Any) -> tuple[Path, Path]:
        """A certificate for this machine, with its chain, and its key."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1", "::1", common_name=name,
                                           **options)
        cert, key = self.folder / f"{name}.cert", self.folder / f"{name}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return cert, key

    def know(self, *tokens: str) -> None:
        """Let the file of tokens have these; the one for reading is good for that alone."""
        lines = [line_for(f"client {number}", token, read_only=token == READING)
                 for number, token in enumerate(tokens)]
        self.tokens.touch(0o600)
        self.tokens.write_text("\n".join(lines) + "\n")

    def admission(self) -> Admission:
        return Admission(self.cert, self.key, tokens=self.tokens)

    @property
    def options(self) -> list[object]:
        """For the command."""
        return ["--tls-cert", self.cert, "--tls-key", self.key, "--tokens", self.tokens]


class Here:
    """A server in this process, at the port ``port``."""

    def __init__(
        self, path: Path, admission: Admission | None = None, *, read_only: bool = False,
        timeout: float = 5.0, **limits: Any,
    ) -> None:
        self.path = path
        self.insecure = admission is None
        self.admission = admission
        self._site = FolderSite(path, cache_bytes=8 << 20, timeout=timeout, read_only=read_only,
                                limits=Limits(**limits))
        self.server = self._site.server
        doors = Doors(admission or Admission(insecure=True), path, insecure=self.insecure)
        (self._door,) = doors.tcp("127.0.0.1:0")
        self.port: int = self._door.sock.getsockname()[1]
        self.url = f"atop://127.0.0.1:{self.port}"
        loop = self.server.loop
        assert loop is not None
        door = self._door
        listening = self.server.listen(door.sock, door.admit, door.certificates)
        asyncio.run_coroutine_threadsafe(listening, loop).result()

    def open(self, **options: Any) -> Store:
        """A client."""
        return Store(self.url, **{"insecure": self.insecure, "timeout": 5.0, **options})

    def close(self) -> None:
        self._site.close()
        self._door.close()

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class Raw:
    """A connection without anything of Atop's that would keep it from doing wrong."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.sock = sock if context is None else context.wrap_socket(
            sock, server_hostname="localhost"
        )
        self._received = bytearray()

    def greet(self, token: str = "", *, read_only: bool = False) -> Any:
        """Say the preamble and who we are; what is answered."""
        self.sock.sendall(wire.preamble())
        self.say(Hello(1, os.getpid(), "here", "a test", token, read_only))
        assert self.bytes(8) == wire.preamble()
        return self.hear()

    def say(self, *requests: Request) -> None:
        self.sock.sendall(b"".join(bytes(wire.pack(each)) for each in requests))

    def bytes(self, count: int) -> bytes:
        """So many bytes of what the server has sent, or fewer before it hung up."""
        while len(self._received) < count:
            got = self.sock.recv(1 << 16)
            if not got:
                break
            self._received += got
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def hear(self) -> Any:
        """The next message; ``None`` when the server has hung up."""
        head = self.bytes(4)
        if len(head) < 4:
            return None
        return wire.answer(self.bytes(int.from_bytes(head, "big")))

    def farewell(self) -> str:
        """Why the server hangs up; it has to, and to say nothing else but failures."""
        reason = ""
        while (message := self.hear()) is not None:
            if isinstance(message, Leaving):
                reason = message.reason
            else:
                assert isinstance(message, Failure | Answer) or hasattr(message, "body"), message
        return reason

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class Command:
    """``atopdb serve`` in a process of its own, which says what it does on ``log``."""

    def __init__(
        self, *words: object, fds: Sequence[int] = (), launcher: str = "", wait: bool = True,
        **environment: str,
    ) -> None:
        self.log: list[str] = []
        start = ["-c", launcher] if launcher else ["-m", "atop"]
        self.process = subprocess.Popen(
            [sys.executable, *start, "serve", *map(str, words)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            pass_fds=tuple(fds), env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )  # fmt: skip
        atexit.register(self.process.kill)  # a failing test may leave it behind
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        if wait:
            self.await_line("is served")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    def await_line(self, part: str) -> str:
        """The first line of the log that has `part`."""
        line: str = until(lambda: next((line for line in self.log if part in line), ""),
                          lambda: f"no line has {part!r}: {self.log}")
        return line

    @property
    def url(self) -> str:
        """Where it is served over TCP."""
        line = self.await_line("served at atop://")
        found = re.search(r"served at (atop://\S+)", line)
        assert found is not None
        return found[1]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit code."""
        code = self.process.wait(timeout)
        self._thread.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        self.wait()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def until(
    look: Callable[[], Any], problem: Callable[[], str] = lambda: "it does not happen"
) -> Any:
    """What `look` answers, as soon as that is something."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end, problem()
        time.sleep(0.005)
    return found


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
