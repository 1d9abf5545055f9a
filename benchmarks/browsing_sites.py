"""The contenders: web servers that show the same rows, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple
from urllib.parse import urlencode

from atop import Index, Item, Store
from benchmarks.contacts import Contact
from benchmarks.rounds import ROOT

PAGE = 50
_PATIENCE = 120
_BATCH = 50_000


class Place(NamedTuple):
    """What is asked for: a page from a row on, counted from 0, or from a key on.

    ``before`` is the row before it, where it is known which that is.
    """

    row: int
    key: str | None = None
    before: tuple[str, int] | None = None


class Site(ABC):
    """A server of the contacts in a file or folder below `folder`."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: HTTPConnection | None = None

    @abstractmethod
    def make(self, people: Sequence[Contact]) -> None:
        """Make the file or folder."""

    @abstractmethod
    def command(self) -> list[str]:
        """What serves it at ``port``."""

    @abstractmethod
    def path(self, measure: str, place: Place) -> str | None:
        """The address of a page for a measure; ``None`` where there is no such thing."""

    def start(self) -> None:
        """Returns when it answers."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", *self.command()], cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        end = perf_counter() + _PATIENCE
        while True:
            try:
                self.get("/")
                return
            except OSError:
                assert self._process.poll() is None, f"{self.name} has ended"
                assert perf_counter() < end, f"{self.name} does not answer"
                sleep(0.05)

    def get(self, path: str) -> bytes:
        """All of the answer for a path, over a connection that is kept."""
        kept = self._connection is not None
        if self._connection is None:
            self._connection = HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
            body = answer.read()
        except OSError:
            self._connection.close()
            self._connection = None
            if kept:  # a server closes what was idle for long
                return self.get(path)
            raise
        assert answer.status == 200, f"{self.name}: {path}: {answer.status} {body[:500]!r}"
        return body

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_PATIENCE)


class Atop(Site):
    """``atopdb browse``."""

    name = "atop"

    def make(self, people: Sequence[Contact]) -> None:
        with Store(self.folder / "contacts.atop") as store:
            for begin in range(0, len(people), _BATCH):
                with store.transaction():
                    pool = store.pool("contacts", "name", Index("email", unique=True), "born")
                    for person in people[begin : begin + _BATCH]:
                        pool.addItem(Item(**person._asdict()))

    def command(self) -> list[str]:
        return ["atop", "browse", str(self.folder / "contacts.atop"), "--no-open", "--token", "",
                "--port", str(self.port)]

    def path(self, measure: str, place: Place) -> str | None:
        suffix = ".json" if measure.endswith("json") else ""
        asked = {"from": place.key} if place.key else {"row": str(place.row + 1)}
        return f"/pools/contacts{suffix}?{urlencode({'index': 'name', **asked})}"


class Datasette(Site):
    """Datasette, on an immutable SQLite file whose rows were counted before."""

    name = "datasette"

    def make(self, people: Sequence[Contact]) -> None:
        file = self.folder / "contacts.db"
        with sqlite3.connect(file) as database:
            database.execute("create table contacts (id integer primary key, name text, "
                             "email text, city text, born integer)")
            database.executemany("insert into contacts values (?, ?, ?, ?, ?)",
                                 ((at, *person) for at, person in enumerate(people, 1)))
            for column in ("name", "born"):
                database.execute(f"create index by_{column} on contacts ({column})")
            database.execute("create unique index by_email on contacts (email)")
            database.execute("analyze")
        database.close()
        counts = subprocess.run(
            [sys.executable, "-m", "datasette", "inspect", str(file)],
            capture_output=True, check=True,
        ).stdout
        assert json.loads(counts)["contacts"]["tables"]["contacts"]["count"] == len(people)
        (self.folder / "counts.json").write_bytes(counts)

    def command(self) -> list[str]:
        return ["datasette", "serve", "--immutable", str(self.folder / "contacts.db"),
                "--inspect-file", str(self.folder / "counts.json"), "--port", str(self.port),
                "--setting", "sql_time_limit_ms", "60000", "--setting", "suggest_facets", "off"]

    def path(self, measure: str, place: Place) -> str | None:
        suffix = ".json" if measure.endswith("json") else ""
        if measure.startswith("next"):
            assert place.before is not None
            token = {"_next": f"{_tilde(place.before[0])},{place.before[1]}"}
        else:
            token = {}
        if place.row and not token and place.key is None:
            sql = f"select * from contacts order by name limit {PAGE} offset {place.row}"
            return f"/contacts{suffix}?{urlencode({'sql': sql})}"
        asked = {"_sort": "name", "_size": str(PAGE), **token}
        if place.key is not None:
            asked["name__gte"] = place.key
        return f"/contacts/contacts{suffix}?{urlencode(asked)}"


SITES: dict[str, type[Site]] = {each.name: each for each in (Atop, Datasette)}


def _tilde(text: str) -> str:
    """A text as Datasette has it in its tokens."""
    kept = "_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join("+" if each == " " else each if each in kept else f"~{ord(each):02X}"
                   for each in text)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
