"""What the benchmark ran on, without a word on whose machine it is."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from berkeleydb import db

BERKELEY_DB = ".".join(map(str, db.version())) + f", berkeleydb {db.__version__}"


def machine(folder: Path) -> dict[str, str]:
    """What may matter to the figures of anybody, for files in `folder`."""
    return {
        "Processor": f"{_processor()}, {os.cpu_count()} cores",
        "Memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.0f} GB",
        "System": f"{_system()}, kernel {platform.release().partition('-')[0]}",
        "File system": _file_system(folder),
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
    }


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    for line in facts.read_text().splitlines() if facts.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    if sys.platform == "linux":
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{platform.system()} {platform.mac_ver()[0]}".strip()


def _file_system(folder: Path) -> str:
    """The kind of the innermost mount that `folder` is in."""
    mounts = Path("/proc/mounts")
    kinds = {"": "unknown"}
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        _, point, kind, *_ = line.split()
        if folder.resolve().is_relative_to(point):
            kinds[point] = kind
    return kinds[max(kinds, key=len)]
