"""Measure stores that processes share, beside ZEO and Durus: ``benchmarks/sharing.py --help``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import BERKELEY_DB, machine
from benchmarks.rounds import ROOT
from benchmarks.sharing_goals import rows
from benchmarks.sharing_measures import Sizes
from benchmarks.sharing_report import SHEET, page
from benchmarks.sharing_rounds import Run
from benchmarks.sharing_worker import CLIENTS

PAGE = ROOT / "doc" / "performance-sharing.rst"


def main() -> None:
    """Run, print the table, and write the page."""
    asked = _arguments()
    sizes = (Sizes.quick if asked.quick else Sizes.whole)(asked.items, asked.rounds)
    begun = perf_counter()

    def tell(what: str) -> None:
        print(f"{perf_counter() - begun:4.0f} s  {what}", file=sys.stderr)

    with tempfile.TemporaryDirectory(prefix=".sharing-", dir=asked.dir) as folder:
        ran_on = {**machine(Path(folder)), "Berkeley DB": BERKELEY_DB, **_versions()}
        run = Run(Path(folder), asked.only, sizes, tell)
        run.measure()
    tell("done")
    shown = list(SHEET.lines(run.table, rows(sizes)))
    SHEET.show(shown)
    if asked.write is not None:
        asked.write.write_text(page(ran_on, shown, sizes), encoding="utf-8")


def _versions() -> dict[str, str]:
    return {
        name.capitalize(): ", ".join(f"{each} {version(each)}" for each in client.packages)
        for name, client in CLIENTS.items()
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--quick", action="store_true", help="little of everything, in a minute")
    parser.add_argument("--items", type=int, help="how many contacts (default 100000)")
    parser.add_argument("--rounds", type=int, help="rounds that count (default 7)")
    parser.add_argument("--only", nargs="+", choices=CLIENTS, default=list(CLIENTS), help="whom")
    parser.add_argument("--dir", type=Path, default=ROOT, help="where files are made meanwhile")
    parser.add_argument("--write", type=Path, help="the page to write (default of a whole run: "
                        f"{PAGE.relative_to(ROOT)})")
    asked = parser.parse_args()
    whole = not asked.quick and asked.items is None and asked.only == list(CLIENTS)
    if asked.write is None and whole:
        asked.write = PAGE
    asked.items = asked.items or (5_000 if asked.quick else 100_000)
    asked.rounds = asked.rounds or (2 if asked.quick else 7)
    return asked


if __name__ == "__main__":
    main()
