"""The forms with which a reader changes something, and what becomes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from atop.errors import ValueRefused
from atop.keytext import TYPES, typed
from atop.web import html
from atop.web.address import root_of, segment
from atop.web.cells import cell
from atop.web.changes import Changed, Changes, editable
from atop.web.itempage import LONG, item_id, name_of
from atop.web.moment import Moments

Handler = Callable[..., Response]


class ChangePages:
    """What changes items. Every form is answered with the way to a page that shows it."""

    def __init__(self, moments: Moments, changes: Changes) -> None:
        self._moments = moments
        self._changes = changes

    def routes(self) -> Iterator[tuple[str, str, Handler]]:
        yield "GET", "/items/{id}/edit", self.edit
        yield "GET", "/items/{id}/delete", self.ask_to_delete
        yield "POST", "/items/{id}/edit", self.save
        yield "POST", "/items/{id}/add", self.add
        yield "POST", "/items/{id}/remove", self.remove
        yield "POST", "/items/{id}/delete", self.delete
        yield "POST", "/items/{id}/attach", self.attach
        yield "POST", "/undo", self.undo

    def edit(self, request: Request) -> Response:
        name = request.query_params.get("name", "")
        with self._moments.at() as moment:
            seen = moment.item(item_id(request))
            if name in seen.state and not editable(seen.state[name]):
                raise ValueRefused(f"{name!r} is not of a type that can be edited here", name)
            kind = editable(seen.state[name]) if name in seen.state else "str"
            text = typed(seen.state[name]) if name in seen.state else ""
            return self._form(request, seen, name, kind, text)

    def save(self, request: Request, form: FormData) -> Response:
        ident, name = item_id(request), _text(form, "name")
        kind, text = _text(form, "kind"), _text(form, "text").replace("\r\n", "\n")
        try:
            self._changes.set_value(ident, _text(form, "mark"), name, kind, text)
        except Changed:
            return self._conflict(request, name, kind, text)
        except ValueRefused as error:
            with self._moments.at() as moment:
                return self._form(request, moment.item(ident), name, kind, text, str(error))
        return _to(request, f"/items/{ident}")

    def add(self, request: Request, form: FormData) -> Response:
        return self._change(request, form, lambda ident, mark: self._changes.add_to_pool(
            ident, mark, _text(form, "pool")))

    def remove(self, request: Request, form: FormData) -> Response:
        return self._change(request, form, lambda ident, mark: self._changes.remove_from_pool(
            ident, mark, _text(form, "pool")))

    def ask_to_delete(self, request: Request) -> Response:
        with self._moments.at() as moment:
            seen = moment.item(item_id(request))
            return html.page(request.scope, "delete.html", title="Delete", seen=seen,
                             name=name_of(seen), final=seen.is_file or seen.is_pool)

    def delete(self, request: Request, form: FormData) -> Response:
        pool = _text(form, "pool")
        place = f"/pools/{segment(pool)}" if pool else "/"
        return self._change(request, form, self._changes.delete, place)

    def attach(self, request: Request, form: FormData) -> Response:
        upload = form.get("file")
        if not isinstance(upload, UploadFile) or not upload.filename:
            raise ValueRefused("there was no file to attach: choose one", None)
        name, source = upload.filename, upload.file
        return self._change(request, form, lambda ident, mark: self._changes.attach(
            ident, mark, _text(form, "attribute"), name, source))

    def undo(self, request: Request, form: FormData) -> Response:
        self._changes.undo()
        return _to(request, _own(_text(form, "back")))

    def _change(
        self, request: Request, form: FormData, change: Callable[[int, str], object],
        place: str = "",
    ) -> Response:
        ident = item_id(request)
        try:
            change(ident, _text(form, "mark"))
        except Changed:
            return self._conflict(request, "", "", "")
        return _to(request, place or f"/items/{ident}")

    def _form(
        self, request: Request, seen: Any, name: str, kind: str, text: str, problem: str = ""
    ) -> Response:
        return html.page(request.scope, "edit.html", 400 if problem else 200, title="Edit",
                         seen=seen, item=name_of(seen), name=name, kind=kind, text=text,
                         kinds=TYPES, problem=problem)

    def _conflict(self, request: Request, name: str, kind: str, text: str) -> Response:
        """Both versions: what is stored by now, and what was to be stored."""
        with self._moments.at() as moment:
            seen = moment.item(item_id(request))
            stored = cell(seen.state.get(name), moment, LONG)
            return html.page(request.scope, "conflict.html", 409, title="Changed meanwhile",
                             seen=seen, item=name_of(seen), name=name, kind=kind, text=text,
                             stored=stored)


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def _to(request: Request, place: str) -> Response:
    return RedirectResponse(f"{root_of(request.scope)}{place}", 303)


def _own(place: str) -> str:
    """A place to go back to, which is in this browser."""
    return place if re.fullmatch(r"/([^/\\\s][^\s]*)?", place) else "/"
