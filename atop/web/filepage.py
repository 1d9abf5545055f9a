"""Files: their bytes, which never run in the browser that shows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from atop.engine.base import ITEMS, Range
from atop.errors import NoSuchItem
from atop.store import Store
from atop.web import asjson, html
from atop.web.inplace import shown_as
from atop.web.itempage import is_id, item_id
from atop.web.moment import Moment, Moments, Seen
from atop.web.refusals import Refused

Handler = Callable[..., Response]
_BYTES = "application/octet-stream"
_CHUNK = 1 << 18
_PAGE = 100
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; sandbox"


class FilePages:
    """What is shown of files."""

    def __init__(self, store: Store, moments: Moments) -> None:
        self._store = store
        self._moments = moments

    def routes(self) -> Iterator[tuple[str, str, Handler]]:
        yield "GET", "/files", self.list
        yield "GET", "/files/{id}.json", self.json
        yield "GET", "/files/{id}", self.bytes

    def list(self, request: Request) -> Response:
        after = request.query_params.get("after", "")
        with self._moments.at() as moment:
            files = list_files(moment, int(after) if is_id(after) else -1)
            return html.page(request.scope, "files.html", title="Files", files=files,
                             more=len(files) == _PAGE)

    def json(self, request: Request) -> Response:
        seen = self._file(request)
        return asjson.answer({"id": seen.id, "name": seen.state.get("name"),
                             "size": seen.state.get("size"), "sha256": seen.state.get("sha256")})

    def bytes(self, request: Request) -> Response:
        """All of a file, or the part that is asked for; in place with ``?show=1``, if it may be."""
        seen = self._file(request)
        size, digest = int(seen.state["size"]), str(seen.state["sha256"])
        kind = shown_as(seen) if request.query_params.get("show") == "1" else ""
        name = quote(str(seen.state.get("name", "")).encode("utf-8", "replace"), safe="")
        headers = {
            "content-disposition": f"{'inline' if kind else 'attachment'}; filename*=utf-8''{name}",
            "accept-ranges": "bytes", "etag": f'"{digest}"',
            "content-security-policy": _SANDBOX,
        }
        if kind == "application/pdf":
            del headers["content-security-policy"]  # viewers do not open in a sandbox
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        first, last = _part(request.headers.get("range", ""), size)
        partly = (first, last) != (0, size - 1)
        headers["content-length"] = str(max(0, last - first + 1))
        if partly:
            headers["content-range"] = f"bytes {first}-{last}/{size}"
        media = "text/plain; charset=utf-8" if kind == "text/plain" else kind or _BYTES
        file = self._store.files.open(seen.id, size, digest)
        return StreamingResponse(
            _chunks(file, first, last - first + 1), 206 if partly else 200, headers, media
        )

    def _file(self, request: Request) -> Seen:
        with self._moments.at() as moment:
            seen = moment.item(item_id(request))
        if not seen.is_file or seen.problem or "size" not in seen.state:
            raise NoSuchItem(f"item {seen.id} is no file", seen.id)
        return seen


def _part(asked: str, size: int) -> tuple[int, int]:
    """The first and last byte that are asked for; all of them where that makes no sense."""
    match = _RANGE.fullmatch(asked)
    if match is None or match[0] == "bytes=-":
        return 0, size - 1
    if not match[1]:
        return max(0, size - int(match[2])), size - 1
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if first >= size:
        raise Refused(416, f"There are {size:,} bytes, none from {first:,} on", "")
    return (first, last) if first <= last else (0, size - 1)


def _chunks(file: BinaryIO, first: int, size: int) -> Iterator[bytes]:
    with file:
        file.seek(first)
        while size > 0 and (chunk := file.read(min(_CHUNK, size))):
            size -= len(chunk)
            yield chunk


def list_files(moment: Moment, after: int) -> list[Seen]:
    """A page of files, by id."""
    found: list[Seen] = []
    rest = Range(low=(after + 1).to_bytes(8, "big"), limit=500)
    while rows := moment.view.scan(ITEMS, rest):
        for key, record in rows:
            seen = moment.decode(key, record)
            if seen.is_file:
                found.append(seen)
                if len(found) == _PAGE:
                    return found
        rest = rest.after(rows[-1][0])
    return found


