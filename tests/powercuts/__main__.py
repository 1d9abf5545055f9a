"""``python -m tests.powercuts``: cut the power a hundred thousand times, and look each time."""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.powercuts.cutting import Result
from tests.powercuts.jobs import Plan, run


def main() -> int:
    options = _options()
    base = tempfile.mkdtemp(prefix="powercuts-", dir=options.where)
    plan = Plan(
        cuts=0 if options.every_boundary else options.cuts,
        seed=options.seed,
        jobs=options.jobs,
        torn_pages=options.torn_pages,
        strict_names=options.strict_names,
        keep=options.keep,
        records=options.every_boundary,
    )
    print(f"seed {options.seed}, {options.jobs} jobs", flush=True)
    begun = time.monotonic()
    try:
        result = run(plan, Path(base))
    finally:
        shutil.rmtree(base, ignore_errors=True)
    report = _report(options, result, time.monotonic() - begun)
    for each in result.wrong[:20]:
        print(f"WRONG: {each}")
    print(json.dumps({key: value for key, value in report.items() if key != "wrong"}, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return 1 if result.wrong else 0


def _report(options: argparse.Namespace, result: Result, seconds: float) -> dict[str, Any]:
    times = sorted(result.seconds)
    cuts = sum(result.cuts.values())
    return {
        "seed": options.seed,
        "cuts": cuts,
        "records in the log": result.records,
        "by kind": dict(sorted(result.cuts.items())),
        "wrong answers": len(result.wrong),
        "refused as damaged": result.refused,
        "tails of logs set aside quietly": result.reported["quietly"],
        "tails of logs set aside and told as a loss": result.reported["as a loss"],
        "recovery and comparison, median ms": round(statistics.median(times) * 1000, 1),
        "recovery and comparison, worst ms": round(times[-1] * 1000, 1),
        "cuts per second": round(cuts / seconds, 1),
        "seconds": round(seconds),
        "wrong": result.wrong,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.powercuts", description=__doc__)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every-boundary", type=int, metavar="RECORDS", default=0,
                        help="cut at and within each record of a log of so many, instead")
    parser.add_argument("--torn-pages", action="store_true",
                        help="tear pages of tables, too: they may be refused, never be wrong")
    parser.add_argument("--strict-names", action="store_true",
                        help="lose names of new files, too, whose folder was not synced: the same")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--keep", type=Path, help="a folder for states that went wrong")
    parser.add_argument("--where", type=Path,
                        default=Path("/dev/shm") if Path("/dev/shm").is_dir() else None)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
