"""What a reader is told when there is nothing to show: in words, and with a way back."""

from __future__ import annotations

from atop.errors import (
    AtopError,
    BrokenItem,
    Conflict,
    DamagedStore,
    NotFound,
    ReadOnlyStore,
    SnapshotTooOld,
    StoreBusy,
    StoreClosed,
    StoreError,
    StorePermission,
    ValueRefused,
)


class Refused(Exception):
    """A request that is not answered as asked: ``status`` is HTTP's, ``next`` what to do now."""

    def __init__(self, status: int, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.next_step = next_step


_TOLD: list[tuple[type[AtopError], int, str]] = [
    (NotFound, 404, "It may have been deleted or renamed since."),
    (BrokenItem, 409, "Import the program that its class is of, and start the browser there."),
    (Conflict, 409, "Somebody else has changed it. Look at it again, then change it."),
    (SnapshotTooOld, 410, "What this page showed is no longer kept. Look at the newest state."),
    (ReadOnlyStore, 403, "The browser was started to read only."),
    (StorePermission, 403, "Ask whoever owns the store."),
    (ValueRefused, 400, "Change what you asked for."),
    (StoreBusy, 503, "Somebody else has the store. Try again in a moment."),
    (StoreClosed, 503, "The store was closed. Start the browser again."),
    (DamagedStore, 503, "Run atopdb verify on the store: it tells the way back."),
    (StoreError, 503, "Try again in a moment."),
]


def told(error: Exception) -> Refused:
    """What to tell a reader of an error; never where in the program it came from."""
    if isinstance(error, Refused):
        return error
    for kind, status, next_step in _TOLD:
        if isinstance(error, kind):
            message = str(error.args[0]) if error.args else kind.__name__
            return Refused(status, message, next_step)
    if isinstance(error, AtopError):
        return Refused(409, str(error), "Go back and try again.")
    return Refused(503, f"This page could not be made ({type(error).__name__})",
                   "Try again; the reason is in the output of atopdb browse.")
