"""A reader of the browser, who asks for pages without one."""

from __future__ import annotations

import html
import re
from functools import partial
from typing import Any

import anyio
import httpx

from atop import Store
from atop.web import app


class Reader:
    """Asks the browser of `store`, and sends its forms."""

    def __init__(self, store: Store, **options: Any) -> None:
        self.store = store
        self.app = app(store, **{"token": "", **options})
        self.cookies = httpx.Cookies()
        self._form_key = ""

    def get(
        self, place: str, *, status: int | None = 200, follow: bool = True, **kw: Any
    ) -> httpx.Response:
        """The answer for a place; it must have that status, where it is no redirection."""
        answer = self.send("GET", place, follow=follow, **kw)
        if status is not None and not answer.is_redirect:
            assert answer.status_code == status, answer.text[:2000]
        return answer

    def text(self, place: str) -> str:
        """The page at a place, characters as they are."""
        return self.unescape(self.get(place).text)

    def post(self, place: str, *, follow: bool = False, **fields: Any) -> httpx.Response:
        """Send a form as the page of the item does, with its key."""
        files = fields.pop("files", None)
        key = self.form_key("/items/" + place.split("/")[2] if "/items/" in place else "/")
        return self.send("POST", place, data={"form_key": key, **fields}, files=files,
                         follow=follow)

    def form_key(self, page: str) -> str:
        """The key that forms on a page have; where there are none, the last one that was seen."""
        key = re.search(r'name="form_key" value="([^"]+)"', self.get(page).text)
        self._form_key = key[1] if key else self._form_key
        return self._form_key

    def mark(self, ident: int | None) -> str:
        """What the item's page marks it by."""
        found = re.search(r'name="mark" value="([^"]+)"', self.get(f"/items/{ident}").text)
        assert found is not None, f"item {ident} cannot be changed"
        return found[1]

    def send(self, method: str, place: str, *, follow: bool = False, **kw: Any) -> httpx.Response:
        return anyio.run(partial(self._send, method, place, follow, kw))

    @staticmethod
    def unescape(text: str) -> str:
        return html.unescape(text)

    async def _send(
        self, method: str, place: str, follow: bool, kw: dict[str, Any]
    ) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", cookies=self.cookies
        ) as client:
            answer = await client.request(method, place, follow_redirects=follow, **kw)
            self.cookies.update(client.cookies)
            return answer
