"""The browser behind a real server, and a real Chromium before it."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from atop.web.app import Browser

PATIENCE = 30
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def served(app: Browser) -> Iterator[str]:
    """Serves `app` on a free port of this machine; gives the address of its home page."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", ws="none",
        timeout_graceful_shutdown=1,
    ))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listening.close()
        assert not thread.is_alive()


def why_no_chromium() -> str:
    """Why there is no Chromium to look with; nothing if there is."""
    try:
        import playwright.sync_api
    except ImportError as error:
        return f"{error.name} is not installed"
    assert playwright.sync_api
    return "" if _found() else f"none of {', '.join(NAMES)} is installed: run scripts/tools"


@contextmanager
def chromium() -> Iterator[Any]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=_found(), args=root)
        yield browser
        browser.close()


def _found() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)
