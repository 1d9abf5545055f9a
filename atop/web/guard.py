"""Who may see the browser, and what its pages may do.

A page of another site can send requests to this machine, under a name of its own even (DNS
rebinding). So a request has to name a host that is ours, show the token or the cookie that it was
exchanged for, and, where it changes anything, come from a page of ours.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atop.web.address import place_in, root_of
from atop.web.html import refusal
from atop.web.refusals import Refused

_READING = {"GET", "HEAD"}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; frame-src 'self'; media-src 'self'; form-action 'self'; "
        "frame-ancestors 'self'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_CACHED = "/static/"


class Guard:
    """Lets a request through to `app`, or refuses it.

    `token` is what lets a reader in; an empty one lets everybody in. `hosts` are the names that
    the browser is reached by, beside ``localhost`` and addresses in figures.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = {"localhost", *(host.lower() for host in hosts)}
        self._session = _derived(token, b"session") if token else ""
        self.form_key = _derived(token or secrets.token_urlsafe(), b"form")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["form_key"] = self.form_key
        caching = _caching(scope)  # before a mounted application changes the scope

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", caching)
            await send(message)

        answer = self._answer(scope)
        await (answer or self._app)(scope, receive, guarded)

    def _answer(self, scope: Scope) -> Response | None:
        """What to answer instead of the page that is asked for."""
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            self._check_origin(scope, headers)
            return self._check_token(scope, headers)
        except Refused as error:
            return refusal(scope, error)

    def _check_host(self, headers: Headers) -> None:
        name = _host_name(",".join(headers.getlist("host")))
        if name not in self._hosts and not _is_address(name):
            raise Refused(
                421, f"{name[:100]!r} is no name of this browser",
                "Open it by the address that was printed when it was started; with --host NAME it "
                "is known by that name too.",
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        if scope["method"] in _READING:
            return
        origin = headers.get("origin")
        from_here = origin is None or urlsplit(origin).netloc == headers.get("host")
        if not from_here or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise Refused(403, "This change was asked for by a page of another site",
                          "Nothing was changed. Go to the browser's own page and do it there.")

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        if not self._token:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        shown = [value for name, value in query if name == "token"]
        name = _cookie_name(scope)
        if shown and scope["method"] in _READING:
            if not _same(shown[-1], self._token):
                raise Refused(403, "This is not the token of this browser",
                              "Copy the whole link that was printed when it was started.")
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            root = root_of(scope)
            place = quote(place_in(scope).encode("utf-8", "surrogatepass"), safe="/%")
            answer = RedirectResponse(f"{root}{place}{'?' + rest if rest else ''}", 303)
            answer.set_cookie(name, self._session, httponly=True, samesite="strict",
                              path=root or "/", secure=scope["scheme"] == "https")
            return answer
        if not _same(cookie_parser(headers.get("cookie", "")).get(name, ""), self._session):
            raise Refused(403, "This browser wants to see its token first",
                          "Open the link that was printed when it was started: it ends in "
                          "?token= and the token.")
        return None


def check_form(scope: Scope, key: object) -> None:
    """Raise :class:`Refused` unless a form was one of ours."""
    if not isinstance(key, str) or not _same(key, scope["state"]["form_key"]):
        raise Refused(403, "This form is not from this browser, or is too old",
                      "Nothing was changed. Load the page again, and do it there.")


def _caching(scope: Scope) -> str:
    """What has its version in its address may be kept; what has none is asked for again."""
    if not place_in(scope).startswith(_CACHED):
        return "no-store"
    return "max-age=31536000, immutable" if scope["query_string"] else "no-cache"


def _derived(token: str, purpose: bytes) -> str:
    return hmac.new(token.encode("utf-8", "replace"), purpose, hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _cookie_name(scope: Scope) -> str:
    """Cookies of one machine are shared by all its ports, and those of a path by what is below."""
    server: Any = scope.get("server") or ("", 0)
    return f"atop-{server[1]}{re.sub('[^0-9A-Za-z]', '-', scope.get('root_path', ''))}"


def _host_name(host: str) -> str:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") and ":" in host else host
    return name.strip("[]").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
