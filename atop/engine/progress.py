"""How work that can take long tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], object]
"""Called with what is being worked on, how much of it is done, and of how much."""


def silent(what: str, done: int, total: int) -> None:
    """Nobody wants to know."""
