"""``python -m tests.soak --minutes N``: whether anything grows that should not."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.soak.running import soak


def main() -> int:
    """Answers 1 when something grows, or has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    given = parser.parse_args()
    result = soak(given.minutes * 60)
    print("\n".join(result.lines()))
    if given.json is not None:
        given.json.write_text(json.dumps(result.json()) + "\n")
    return 1 if result.failed or result.growing else 0


if __name__ == "__main__":
    sys.exit(main())
