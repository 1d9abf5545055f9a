"""The care of a store at the other end of a connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atop.engine import messages
from atop.engine.connection import Connection
from atop.engine.keeping import Blemish, Figures, Keeper
from atop.engine.progress import Progress

_CARE_PATIENCE = 24 * 3600.0


class RemoteKeeper(Keeper):
    """The care of a store that another process owns, and has to take."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def checkpoint(self) -> None:
        self._do("checkpoint")

    def compact(self, progress: Progress) -> tuple[int, list[str]]:
        freed, left_out = self._do("compact")
        return freed, left_out

    def blemishes(self, timeout: float, progress: Progress) -> list[Blemish]:
        return [Blemish(*each) for each in self._do("pages")]

    def figures(self) -> Figures:
        figures: Figures = self._do("figures")
        return figures

    def copy_to(self, folder: Path, progress: Progress) -> int:
        serial: int = self._do("copy", str(folder))
        return serial

    def _do(self, what: str, path: str = "") -> Any:
        return self._connection.ask(messages.Care, what, path, patience=_CARE_PATIENCE)[1]
