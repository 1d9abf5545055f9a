"""Measure Atop beside what else there is: ``python benchmarks/core.py --help``."""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import grid, plots
from benchmarks.contenders import CONTENDERS, packages
from benchmarks.goals import MINE
from benchmarks.machine import BERKELEY_DB, machine
from benchmarks.plan import Sizes
from benchmarks.report import page, ratios
from benchmarks.rounds import ROOT, Run
from benchmarks.targets import targets

PAGE = ROOT / "doc" / "performance.rst"
PLOTS = "plots"


def main() -> None:
    """Run, print the tables, and write the page with its plots."""
    asked = _arguments()
    sizes = Sizes.around(asked.items, asked.rounds)
    begun = perf_counter()

    def tell(what: str) -> None:
        print(f"{perf_counter() - begun:5.0f} s  {what}", file=sys.stderr)

    with tempfile.TemporaryDirectory(prefix=".benchmark-", dir=asked.dir) as folder:
        ran_on = {
            **machine(Path(folder)), "Berkeley DB": BERKELEY_DB, "SQLite": sqlite3.sqlite_version,
            **packages(asked.only),
        }
        run = Run(Path(folder), asked.only, sizes, tell)
        run.measure()
    tell("done")
    for shown in (*ratios(run.table, asked.only, sizes), grid.goals(run.table, targets(sizes))):
        shown.show()
    if asked.write is not None:
        plots.draw(asked.write.parent / PLOTS, run.table, asked.only, sizes)
        asked.write.write_text(page(ran_on, run.table, asked.only, sizes), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--quick", action="store_true", help="a tenth, in two minutes")
    parser.add_argument("--only", metavar="NAMES", type=_names, default=list(CONTENDERS),
                        help=f"some contenders, with commas between: {', '.join(CONTENDERS)}")
    parser.add_argument("--items", type=int, help="bulk inserts of so many (default 100000), and "
                        "of a tenth and of ten times as many")
    parser.add_argument("--rounds", type=int, help="rounds that count (default 5)")
    parser.add_argument("--dir", type=Path, default=ROOT, help="where files are made meanwhile")
    parser.add_argument("--write", type=Path, help="the page to write, with plots beside it "
                        f"(default of a whole run: {PAGE.relative_to(ROOT)})")
    asked = parser.parse_args()
    whole = not asked.quick and asked.items is None and asked.only == list(CONTENDERS)
    if asked.write is None and whole:
        asked.write = PAGE
    asked.items = asked.items or (10_000 if asked.quick else 100_000)
    asked.rounds = asked.rounds or (2 if asked.quick else 5)
    return asked


def _names(text: str) -> list[str]:
    """The contenders that are asked for; Atop always takes part."""
    asked = {MINE, *text.split(",")}
    unknown = sorted(asked.difference(CONTENDERS))
    if unknown:
        raise argparse.ArgumentTypeError(
            f"there is no contender {unknown[0]!r}, only {', '.join(CONTENDERS)}"
        )
    return [name for name in CONTENDERS if name in asked]


if __name__ == "__main__":
    main()
