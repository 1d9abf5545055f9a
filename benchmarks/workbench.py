"""The process of one contender: ``python -m benchmarks.workbench CONTENDER FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.contenders import CONTENDERS
from benchmarks.making import Making
from benchmarks.reading import Reading
from benchmarks.worker import serve
from benchmarks.writing import Writing


class Workbench(Making, Reading, Writing):
    """All that is measured; a call names a method. ``items`` says which collection."""


if __name__ == "__main__":
    serve(Workbench(CONTENDERS[sys.argv[1]].load(), Path(sys.argv[2])))
