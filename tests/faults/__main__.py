"""The whole sweep, ``python -m tests.faults``: each system call of a life fails, one by one.

Each fails once, and then from there on until the end of the trouble. The outcomes are printed as
they come, and as a table in the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.faults.failing import Case, Outcome, missing, run


class Kind(NamedTuple):
    """A system call, an error of it, and how many such calls a life has at least."""

    call: str
    error: str
    calls: int


KINDS = (
    Kind("fdatasync", "EIO", 84),
    Kind("fdatasync", "ENOSPC", 84),
    Kind("fsync", "EIO", 27),
    Kind("pwrite64", "ENOSPC", 330),
    Kind("pwrite64", "EIO", 330),
    Kind("pwrite64", "EROFS", 330),
    Kind("write", "ENOSPC", 12),
    Kind("pread64", "EIO", 700),
    Kind("openat", "EACCES", 240),
    Kind("openat", "EMFILE", 240),
    Kind("openat", "ENOSPC", 240),
    Kind("rename", "EIO", 11),
    Kind("rename", "EROFS", 11),
    Kind("unlink", "EACCES", 6),
    Kind("ftruncate", "EIO", 6),
    Kind("mkdir", "ENOSPC", 6),
    Kind("flock", "ENOLCK", 12),
)


def cases(every: int) -> Iterator[Case]:
    for call, error, calls in KINDS:
        step = max(1, min(every, calls // 4))
        for number in range(1, calls + 1, step):
            yield Case(call, error, str(number))
            yield Case(call, error, f"{number}+")


def sweep(every: int, workers: int) -> list[Outcome]:
    def one(case: Case) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="atop-faults-") as folder:
            outcome = run(case, Path(folder))
        said = "; ".join(f"{name} {count}" for name, count in outcome.told.items())
        print(*case, f"{outcome.seconds:.1f} s", outcome.wrong or "well", said, flush=True)
        return outcome

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, cases(every)))


def table(outcomes: list[Outcome]) -> str:
    """What came out, as a table of reStructuredText."""
    titles = ("Call", "Error", "Lives", "Errors told", "Could not read", "Lost or broken")
    rows: list[tuple[str, ...]] = [titles]
    sorted_out: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        sorted_out[outcome.case.call, outcome.case.error].append(outcome)
    for (call, error), found in sorted_out.items():
        refused = sum(sum(Counter(each.told.get("refused", {})).values()) for each in found)
        unread = sum(each.told.get("unread", 0) for each in found)
        wrong = sum(bool(each.wrong) for each in found)
        rows.append((f"``{call}``", error, *map(str, (len(found), refused, unread, wrong))))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only each n-th call of a kind")
    parser.add_argument("--workers", type=int, default=2, help="lives at the same time")
    parser.add_argument("--table", type=Path, help="a file for the table of outcomes")
    options = parser.parse_args()
    why = missing()
    if why:
        print(f"nothing was tried: {why}")
        return 2
    outcomes = sweep(options.every, options.workers)
    told = table(outcomes)
    print(told)
    if options.table is not None:
        options.table.write_text(told + "\n", "utf-8")
    return int(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
