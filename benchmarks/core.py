"""Measure Atop beside Berkeley DB and SQLite by hand: ``python benchmarks/core.py --help``."""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.goals import rows
from benchmarks.machine import BERKELEY_DB, machine
from benchmarks.report import SHEET, page
from benchmarks.rounds import ROOT, Run, Sizes

PAGE = ROOT / "doc" / "performance.rst"


def main() -> None:
    """Run, print the table, and write the page."""
    asked = _arguments()
    sizes = Sizes.around(asked.items, asked.rounds)
    begun = perf_counter()

    def tell(what: str) -> None:
        print(f"{perf_counter() - begun:4.0f} s  {what}", file=sys.stderr)

    with tempfile.TemporaryDirectory(prefix=".benchmark-", dir=asked.dir) as folder:
        ran_on = {
            **machine(Path(folder)), "Berkeley DB": BERKELEY_DB, "SQLite": sqlite3.sqlite_version,
        }
        run = Run(Path(folder), sizes, tell)
        run.measure()
    tell("done")
    shown = list(SHEET.lines(run.table, rows(sizes)))
    SHEET.show(shown)
    if asked.write is not None:
        asked.write.write_text(page(ran_on, shown, sizes.rounds, sizes.large), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--quick", action="store_true", help="a tenth, in under a minute")
    parser.add_argument("--items", type=int, help="bulk inserts of so many (default 100000)")
    parser.add_argument("--rounds", type=int, help="rounds that count (default 7)")
    parser.add_argument("--dir", type=Path, default=ROOT, help="where files are made meanwhile")
    parser.add_argument("--write", type=Path, help="the page to write (default of a whole run: "
                        f"{PAGE.relative_to(ROOT)})")
    asked = parser.parse_args()
    if asked.write is None and not asked.quick and asked.items is None:
        asked.write = PAGE
    asked.items = asked.items or (10_000 if asked.quick else 100_000)
    asked.rounds = asked.rounds or (3 if asked.quick else 7)
    return asked


if __name__ == "__main__":
    main()
