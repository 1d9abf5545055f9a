"""Counting a contender's syncs from outside, by strace: whether it does what it says."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_CALLS = ("fsync(", "fdatasync(", "msync(")


def can_trace() -> bool:
    """Whether that is possible here."""
    return sys.platform == "linux" and shutil.which("strace") is not None


def command(notes: Path) -> list[str]:
    """What to put before a command, so that its syncs are written down."""
    calls = ",".join(call.rstrip("(") for call in _CALLS)
    return ["strace", "-f", "-qq", "-o", str(notes), "-e", f"trace={calls}"]


def count(notes: Path) -> int:
    """How many syncs were written down."""
    lines = notes.read_text().splitlines()
    return sum(any(call in line for call in _CALLS) for line in lines)
