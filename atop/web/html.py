"""Pages: templates filled in. All that comes from a store goes through Jinja's escaping."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from atop.web import asjson
from atop.web.address import place_in, root_of, segment
from atop.web.asjson import utf8
from atop.web.cells import visible
from atop.web.refusals import Refused

HERE = Path(__file__).parent
STATIC = HERE / "static"


def page(scope: Scope, template: str, status: int = 200, **context: Any) -> Response:
    """The page that `template` makes of `context`."""
    root = root_of(scope)
    text = _templates().get_template(template).render(
        root=root,
        static=lambda name: f"{root}/static/{name}?{_version(name)}",
        form_key=scope.get("state", {}).get("form_key", ""),
        here=_here(scope),
        undo=scope.get("state", {}).get("undo", ""),
        **context,
    )
    return HTMLResponse(utf8(text), status)


def refusal(scope: Scope, error: Refused) -> Response:
    """What a reader gets who asked for what there is not; JSON where that was asked for."""
    message, next_step = str(error), error.next_step
    if scope["path"].endswith((".json", ".csv", ".ndjson")):
        return asjson.answer({"error": message, "next": next_step}, error.status)
    return page(scope, "refused.html", error.status, message=message, next_step=next_step,
                title=message)


def _here(scope: Scope) -> str:
    """The address of the page, from the root of the browser."""
    path = quote(place_in(scope).encode("utf-8", "surrogatepass"), safe="/%")
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{path}?{query}" if query else path


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )
    environment.filters["number"] = lambda number: f"{number:,}"
    environment.filters["visible"] = lambda text: visible(str(text))
    environment.filters["segment"] = segment
    environment.filters["parameter"] = lambda text: quote(str(text), safe="")
    environment.filters["size"] = size_in_words
    return environment


@cache
def _version(name: str) -> str:
    """What changes when a file does, so that browsers may keep it."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def size_in_words(size: int) -> str:
    """A number of bytes for people."""
    if size < 1000:
        return f"{size} bytes"
    amount = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.5 or unit == "TB":
            break
    return f"{amount:.3g} {unit}"
