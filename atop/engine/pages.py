"""Berkeley DB's own verifier, run on one table in a child process.

A damaged page can kill the verifier. Run as a script, this module verifies the table that it is
given; so it imports nothing of Atop's.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from berkeleydb import db

_CACHE_BYTES = 32 << 20
_SHOWN = 3


def page_damage(table: Path) -> str | None:
    """What the verifier says of the file of a table, which nobody may be writing; ``None``: whole.

    :raises OSError: when no child process can be started.
    """
    done = subprocess.run(
        [sys.executable, "-P", __file__, str(table)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if not done.returncode:
        return None
    if done.returncode < 0:
        return f"the verifier died of signal {-done.returncode}"
    return "; ".join(done.stderr.splitlines()[:_SHOWN]) or "the verifier failed"


def _main(path: str) -> int:
    table = db.DB()
    table.set_cachesize(0, _CACHE_BYTES, 1)
    try:
        table.verify(path, None, None, 0)
    except db.DBError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
