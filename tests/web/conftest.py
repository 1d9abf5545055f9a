"""Chromium, for the tests that look through it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.web.serving import chromium, why_no_chromium


@pytest.fixture(scope="module")
def chrome(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Chromium; where there is none, tests are skipped, and say why.

    It ends with its module, since others run event loops of their own.
    """
    missing = why_no_chromium()
    if missing:
        told = request.config.pluginmanager.get_plugin("terminalreporter")
        if told is not None:
            told.write_line(f"\nThe browser is not looked at: {missing}")
        pytest.skip(missing)
    with chromium() as browser:
        yield browser
