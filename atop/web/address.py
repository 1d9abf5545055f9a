"""Names in addresses: whatever a pool is called, its address is one segment of a path.

A server decodes a path before it is looked up, which would make two segments of ``a%2Fb``. So
slashes, percent signs, dots and control characters stay encoded until the segment is cut out.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes

_KEPT = re.compile(rb"%([01][0-9a-fA-F]|2[fFeE]|25|7[fF])")
_ROOT = "atop.root"
_FORMS = (".json", ".csv", ".ndjson")


def segment(name: str) -> str:
    """`name` as a segment of a path, which does not end like a form of the page."""
    quoted = quote(name.encode("utf-8", "surrogatepass"), safe="")
    return quoted.replace(".", "%2E") if name.endswith(_FORMS) or not name.strip(".") else quoted


def name_in(segment: str) -> str:
    """The name that is in a segment of a path that was cut by :func:`path_of`."""
    return unquote(segment, errors="surrogatepass")


def rooted(scope: Any, prefix: str) -> dict[str, Any]:
    """`scope` with the path below all that stands before the browser: mounts, and a `prefix`.

    Some proxies take the prefix off, others leave it; here it is on.
    """
    root = f"{scope.get('root_path', '')}{prefix}"
    path = path_of(scope)
    below = path == root or path.startswith(f"{root}/")
    return {**scope, "root_path": root, "path": path if below else f"{root}{path}", _ROOT: root}


def root_of(scope: Any) -> str:
    """What stands before all addresses in links."""
    return quote(_root(scope))


def _root(scope: Any) -> str:
    """The root of the browser, also below a mount inside it."""
    return str(scope.get(_ROOT, scope.get("root_path", "")))


def place_in(scope: Any) -> str:
    """The path of a page, from the root of the browser."""
    return f"/{str(scope['path']).removeprefix(_root(scope)).lstrip('/')}"


def path_of(scope: Any) -> str:
    """The path of a request, decoded but for what would be mistaken."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        return str(scope["path"]).replace("%", "%25")
    kept = _KEPT.sub(lambda found: b"%25" + found[1].upper(), raw.partition(b"?")[0])
    path = unquote_to_bytes(kept)
    try:
        return path.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return path.decode("utf-8", "replace")
