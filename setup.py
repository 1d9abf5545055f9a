"""The modules in C; all else is in setup.cfg. Where they cannot be built, Python does the same."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from setuptools import Extension, setup

_WHERE_DB_H_MAY_BE = ("/usr/include/db5", "/usr/include/db53", "/usr/local/include/db5",
                      "/usr/local/include/db53", "/usr/local/BerkeleyDB.5.3/include",
                      "/opt/local/include/db5", "/opt/db-5.3/include")


def _extensions() -> list[Extension]:
    sources = ["atop/_native.c", "atop/_keys.c", "atop/_pickles.c", "atop/_items.c",
               "atop/_records.c"]
    extensions = [
        Extension("atop._native", sources, depends=["atop/_native.h"], optional=True)
    ]
    header = _header()
    if header is not None:
        folders = [str(header.parent), *_database()]
        extensions.append(Extension("atop.engine._native", ["atop/engine/_native.c"],
                                    include_dirs=folders, optional=True))
    return extensions


def _header() -> Path | None:
    """``berkeleydb.h``, which that package installs."""
    try:
        installed = files("berkeleydb") or []
    except PackageNotFoundError:
        return None
    named = [each.locate() for each in installed if each.name == "berkeleydb.h"]
    found = [Path(str(each)).resolve() for each in named]
    return next((each for each in found if each.exists()), None)


def _database() -> list[str]:
    """Where ``db.h`` may be, as the package berkeleydb looks for it."""
    chosen = os.environ.get("BERKELEYDB_INCDIR")
    if not chosen and "BERKELEYDB_DIR" in os.environ:
        chosen = os.path.join(os.environ["BERKELEYDB_DIR"], "include")
    return [chosen] if chosen else [each for each in _WHERE_DB_H_MAY_BE if os.path.isdir(each)]


setup(ext_modules=_extensions())
