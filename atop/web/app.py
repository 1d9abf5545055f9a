"""The browser as an ASGI application: its addresses, and what answers them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from atop.store import Store
from atop.web.address import place_in, rooted
from atop.web.changes import Changes
from atop.web.guard import Guard, check_form
from atop.web.html import STATIC, refusal
from atop.web.moment import Moments
from atop.web.pages import Handler, routes
from atop.web.refusals import Refused, told

_FIELD_BYTES = 4 << 20
_FIELDS = 20
_log = logging.getLogger("atop.web")


class Browser:
    """The tabular data browser of `store`, to be served, or mounted in another application.

    Whoever shows the `token` may look, and change things unless `read_only`; without one a new
    token is made, and with an empty one everybody may. `hosts` are the names that it is reached
    by, beside ``localhost`` and addresses in figures. `url_prefix` is what a proxy puts before all
    addresses, whether it takes it off again or not.
    """

    def __init__(
        self,
        store: Store,
        *,
        token: str | None = None,
        read_only: bool = False,
        hosts: Iterable[str] = (),
        url_prefix: str = "",
    ) -> None:
        self.store = store
        self._prefix = f"/{url_prefix.strip('/')}" if url_prefix.strip("/") else ""
        self.token = secrets.token_urlsafe(24) if token is None else token
        self.moments = Moments(store)
        self.changes = None if read_only or store.readOnly else Changes(store)
        pages = routes(store, self.moments, self.changes)
        self._app = Starlette(
            routes=[*(Route(path, _answering(answer), methods=[method])
                      for method, path, answer in pages),
                    Mount("/static", StaticFiles(directory=STATIC))],
            middleware=[Middleware(Guard, token=self.token, hosts=tuple(hosts))],
            exception_handlers={
                Exception: _refuse, HTTPException: _refuse_http,
            },
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            undo = self.changes.undoable if self.changes else None
            state = {**scope.get("state", {}), "undo": undo.words if undo else ""}
            scope = {**rooted(scope, self._prefix), "state": state}
        await self._app(scope, receive, send)


def _answering(answer: Handler) -> Callable[[Request], Awaitable[Response]]:
    """`answer`, called in a thread of the pool; what goes wrong in it is told in words."""

    async def endpoint(request: Request) -> Response:
        try:
            if request.method != "POST":
                made = await run_in_threadpool(answer, request)
                head = request.method == "HEAD" and isinstance(made, StreamingResponse)
                return Response(headers=dict(made.headers)) if head else made
            async with request.form(
                max_part_size=_FIELD_BYTES, max_fields=_FIELDS, max_files=1
            ) as form:
                check_form(request.scope, form.get("form_key"))
                return await run_in_threadpool(answer, request, form)
        except HTTPException as error:
            return refusal(request.scope, Refused(
                413, f"What was sent is not taken: {error.detail}",
                "Nothing was changed. A field has room for 4 MB: put more into a file, "
                "and attach it."))
        except Exception as error:
            refused = told(error)
            if refused.status == 503:
                _log.warning("%s %s", request.method, request.url.path, exc_info=error)
            return refusal(request.scope, refused)

    return endpoint


def _refuse(request: Request, error: Exception) -> Response:
    return refusal(request.scope, told(error))


def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        refused = Refused(404, f"There is no page {place_in(request.scope)[:200]!r}",
                          "Begin at the home page.")
    else:
        refused = Refused(error.status_code, str(error.detail), "Go back and try again.")
    return refusal(request.scope, refused)
