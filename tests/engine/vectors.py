"""The test vectors of doc/protocol.rst."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from atop.engine import messages
from atop.engine.messages import Request

DOCUMENT = Path(__file__).resolve().parents[2] / "doc" / "protocol.rst"


def vectors() -> list[tuple[str, bytes]]:
    """The messages and frames of the section "Test vectors" in doc/protocol.rst."""
    section = DOCUMENT.read_text("utf-8").partition("\nTest vectors\n")[2]
    found = re.findall(
        r"^    (\w+\(.*(?:\n    \S.*)*)\n((?:        [0-9a-f]+\n)+)", section, re.MULTILINE
    )
    return [(" ".join(told.split()), bytes.fromhex(lines)) for told, lines in found]


def meant(expression: str) -> Any:
    return eval(expression, dict(vars(messages)))


VECTORS = vectors()
MEANT = [(meant(expression), frame) for expression, frame in VECTORS]
ASKED = {message.number: type(message) for message, _ in MEANT if isinstance(message, Request)}
