"""The benchmark of the browser runs, checks what it is given, and shows every figure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from docutils.core import publish_doctree

from benchmarks.browsing_report import MEASURES
from benchmarks.rounds import ROOT


def test_a_small_run_measures_every_page_of_both(tmp_path: Path) -> None:
    pytest.importorskip("datasette", reason="it is installed with the extra bench")
    page = tmp_path / "performance-browser.rst"
    done = subprocess.run(
        [sys.executable, "benchmarks/browsing.py", "--quick", "--rounds", "2",
         "--no-chromium", "--dir", str(tmp_path), "--write", str(page)],
        capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [page], "a run removes the files that it made"
    text = page.read_text("utf-8")
    assert str(tmp_path) not in text
    assert text.count("     - datasette\n") == text.count("     - atop\n") == len(MEASURES)
    assert "times faster than Datasette" in text
    publish_doctree(text, settings_overrides={"report_level": 2, "halt_level": 2})
