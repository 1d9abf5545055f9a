"""A collection, the process that serves it, and the clients that it has."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import monotonic, sleep

from benchmarks.contacts import SEED
from benchmarks.rounds import ROOT, Worker
from benchmarks.sharing_client import socket_of
from benchmarks.sharing_worker import CLIENTS

_PATIENCE = 60.0


class Host:
    """One contender's collection in `folder`, served while this is open as a context.

    ``owner`` is the client that serves the others, ``None`` where a server does.
    """

    def __init__(self, contender: str, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.owner: Worker | None = None
        self._contender = contender
        self._kind = CLIENTS[contender]
        self._environment = environment
        self._server: subprocess.Popen[bytes] | None = None
        self._workers: list[Worker] = []
        self._seeds = count(SEED + 1)

    def __enter__(self) -> Host:
        self.folder.mkdir()
        self._serve()
        self._wait_for_server()
        if self._server is None:
            self.owner = self.client()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for worker in reversed(self._workers):  # the owner is closed last
            worker.__exit__(kind)
        if self._server is not None:
            self._server.terminate()
            self._server.wait()

    def client(self) -> Worker:
        """One more client, in a process of its own."""
        arguments = (self._contender, self.folder, self._environment)
        worker = Worker(*arguments, module="benchmarks.sharing_worker")
        self._workers.append(worker)
        worker.call("open", seed=next(self._seeds))
        return worker

    def kill(self) -> float:
        """Kill the process that serves; when was that?

        A server is started again at once. Where a client serves, that is up to the others.
        """
        if self._server is not None:
            killed = monotonic()
            self._server.kill()
            self._server.wait()
            self._serve()
            return killed
        serves = self._kind.owner(self.folder)
        (victim,) = (worker for worker in self._workers if worker.pid == serves)
        killed = monotonic()
        victim.kill()
        self._workers.remove(victim)
        victim.__exit__(None)
        return killed

    def others(self) -> list[Worker]:
        """The clients, without the one that serves."""
        serves = self._kind.owner(self.folder)
        return [worker for worker in self._workers if worker.pid != serves]

    def megabytes(self) -> float:
        """The memory that the process which serves has resident."""
        process = self._server or self.owner
        assert process is not None
        status = Path(f"/proc/{process.pid}/status")
        if status.exists():
            (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmRSS"))
            return int(line.split()[1]) / 1024
        command = ["ps", "-o", "rss=", "-p", str(process.pid)]
        return int(subprocess.run(command, check=True, capture_output=True).stdout) / 1024

    @contextmanager
    def idle(self, clients: int) -> Iterator[None]:
        """So many more clients, which do nothing."""
        arguments = [self._contender, str(self.folder), str(clients)]
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sharing_idle", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment, cwd=ROOT,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("the idle clients failed: their error is above")
            yield
        finally:
            process.communicate()

    def _serve(self) -> None:
        command = self._kind.server(self.folder)
        if command:
            with (self.folder / "server.log").open("ab") as log:
                self._server = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env=self._environment,
                )  # fmt: skip

    def _wait_for_server(self) -> None:
        deadline = monotonic() + _PATIENCE
        while self._server is not None and not _listens(socket_of(self.folder)):
            if self._server.poll() is not None or monotonic() > deadline:
                log = (self.folder / "server.log").read_text()
                raise RuntimeError(f"the server of {self._contender} does not listen:\n{log}")
            sleep(0.01)


def _listens(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(address) == 0
