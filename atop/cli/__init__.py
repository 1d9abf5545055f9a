"""The command ``atopdb``. It needs the extra ``cli``; the library does without."""

from __future__ import annotations

import sys

_EXTRA = ("click", "rich")


def main() -> None:
    """Run the command, or say what it lacks."""
    try:
        from atop.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print('atopdb needs more than the library: pip install "atopdb[cli]"', file=sys.stderr)
        sys.exit(1)
    run()
