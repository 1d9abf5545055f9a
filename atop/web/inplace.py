"""Files that may be shown in place: images, text and PDF, and never what could run."""

from __future__ import annotations

import mimetypes

from atop.errors import StoreError
from atop.store import Store
from atop.web.cells import visible
from atop.web.moment import Seen

LONGEST_TEXT = 20_000
_SHOWN = {"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "text/plain"}


def shown_as(seen: Seen) -> str:
    """The media type as which a file may be shown; nothing if it may not."""
    kind = seen.state.get("content_type")
    if not isinstance(kind, str):
        kind = mimetypes.guess_type(str(seen.state.get("name", "")))[0] or ""
    kind = kind.partition(";")[0].strip().lower()
    if kind.startswith("text/") and kind != "text/html":
        return "text/plain"
    return kind if kind in _SHOWN else ""


def text_of(store: Store, seen: Seen) -> str:
    """The beginning of a text file; or what is wrong with it."""
    try:
        with store.files.open(seen.id, int(seen.state["size"]), str(seen.state["sha256"])) as file:
            return visible(file.read(LONGEST_TEXT).decode("utf-8", "replace"))
    except (OSError, StoreError) as error:
        return f"This file cannot be read: {error}"
