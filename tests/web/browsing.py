"""``atopdb browse`` in a process of its own."""

from __future__ import annotations

import atexit
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx

from tests.sharing.serving import until

ROOT = Path(__file__).parents[2]
PATIENCE = 30


class Browsing:
    """Shows the store at a place; ``client`` has been let in by the link that was printed."""

    def __init__(self, *words: object, program: tuple[str, ...] = ("atop", "browse"),
                 enter: bool = True, **environment: str) -> None:
        self.output: list[str] = []
        options = ["--no-open", "--port", "0"] if program[-1] == "browse" else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", *program, *map(str, words), *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1",
                           "COLUMNS": "200", **environment},
        )  # fmt: skip
        atexit.register(self.process.kill)  # a failing test may leave it behind
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.link = self._await_link()
        self.client = httpx.Client(base_url=self.link.partition("?")[0], timeout=PATIENCE)
        if enter:
            self.client.get(self.link, follow_redirects=True).raise_for_status()

    def get(self, place: str, **kw: Any) -> httpx.Response:
        """The answer for a place in the browser, such as ``pools/people``."""
        return self.client.get(place, follow_redirects=True, **kw)

    def form(self, page: str) -> dict[str, str]:
        """The hidden fields of the forms on a page."""
        return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', self.get(page).text))

    def end(self, number: int = signal.SIGINT) -> int:
        """Ask it to end; answers its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._thread.join()
        return code

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.end()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> Browsing:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _await_link(self) -> str:
        def link() -> str:
            assert self.process.poll() is None or self._thread.is_alive(), self.output
            return next((word for line in self.output for word in line.split()
                         if word.startswith(("http://", "https://"))), "")

        found: str = until(link, lambda: f"no link was printed: {self.output}")
        return found

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip("\n"))
