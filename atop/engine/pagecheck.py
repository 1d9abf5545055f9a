"""The pages of tables checked: their checksums here, and all else by Berkeley DB's own verifier.

Where a checksum is wrong the verifier is not asked: it can take half a minute over one such page.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from atop.engine.leaves import Leaves, listed
from atop.engine.pages import page_damage
from atop.errors import StoreError


def table_damage(
    tables: list[Path], password: str = "", done: Callable[[int], object] = lambda count: None
) -> dict[Path, str]:
    """What is damaged in the files of tables, which nobody may be writing; nothing of whole ones.

    `password` is Berkeley DB's, of encrypted tables; their checksums are left to the verifier.
    `done` is called with how many tables are checked.

    :raises StoreError: when there can be no child process that verifies.
    """
    damage = {} if password else {path: text for path in tables if (text := _sums(path))}
    done(len(damage))
    rest = [path for path in tables if path not in damage]
    try:
        found = page_damage(rest, password, lambda count: done(len(damage) + count))
    except ChildProcessError as error:
        raise StoreError(f"{rest[0].parent}: {error.strerror}", str(rest[0])) from error
    return {path: (damage | found)[path] for path in tables if path in damage or path in found}


def _sums(path: Path) -> str:
    """What checksums tell of a table, and what pages tell of others."""
    try:
        leaves = Leaves(path)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    try:
        leaves.survey()
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    finally:
        leaves.close()
    wrong = sorted({*leaves.bad, *leaves.mended})
    told = [f"{listed(wrong)} damaged"] if wrong else []
    if leaves.absent:
        told.append(f"{listed(leaves.absent)} zeroed or cut off")
    return "; ".join(told)
