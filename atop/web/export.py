"""Exports: exactly the rows that are shown, all of them, as a stream of one moment.

Values in CSV are text as it is: a program that takes a cell which begins with ``=`` for a formula
has to be told not to.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from atop.web.asjson import dumped, jsonable, scalar, utf8
from atop.web.asked import Asked
from atop.web.cells import EMPTY
from atop.web.moment import Moment, Moments, Reference
from atop.web.search import Search
from atop.web.table import Line


class Export:
    """The rows of a table as a file of one `kind`."""

    def __init__(self, moments: Moments, asked: Asked, kind: str) -> None:
        self._asked = asked
        self._kind = kind
        with moments.at(asked.at) as moment:
            self._moment = moment
            self._search = Search(moment, asked)
            self._columns = self._search.page(0).columns

    def response(self) -> Response:
        """What sends it. A connection that ends without the last chunk is an export cut short."""
        media, make = {
            "csv": ("text/csv; charset=utf-8", self._csv),
            "ndjson": ("application/x-ndjson", self._ndjson),
            "json": ("application/json", self._json),
        }[self._kind]
        name = quote(utf8(f"{self._asked.pool}.{self._kind}"), safe="")
        return StreamingResponse(map(utf8, make()), media_type=media, headers={
            "content-disposition": f"attachment; filename*=utf-8''{name}",
            "x-atop-commit": str(self._moment.serial),
        })

    def _blocks(self) -> Iterator[list[Line]]:
        blocks = self._search.blocks()
        while True:
            with self._moment.lock:
                block = next(blocks, None)
            if block is None:
                return
            yield block

    def _csv(self) -> Iterator[str]:
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(self._columns)
        for block in self._blocks():
            writer.writerows(self._texts(line) for line in block)
            yield file.getvalue()
            file.seek(0)
            file.truncate()
        yield file.getvalue()

    def _ndjson(self) -> Iterator[str]:
        for block in self._blocks():
            yield "".join(dumped(self._values(line)) + "\n"
                          for line in block)

    def _json(self) -> Iterator[str]:
        before = "[\n"
        for block in self._blocks():
            for line in block:
                yield before + dumped(self._values(line))
                before = ",\n"
        yield "[]\n" if before == "[\n" else "\n]\n"

    def _texts(self, line: Line) -> Sequence[str]:
        return [_text(line.value(name, self._search.pool), self._moment)
                for name in self._columns]

    def _values(self, line: Line) -> dict[str, Any]:
        values = {name: line.value(name, self._search.pool) for name in self._columns}
        return {name: jsonable(value) for name, value in values.items() if value is not EMPTY}


def _text(value: Any, moment: Moment) -> str:
    if value is EMPTY:
        return ""
    if isinstance(value, Reference):
        return f"{moment.class_name(value.class_number)} {value.id}"
    if isinstance(value, list | tuple | set | frozenset | dict):
        return dumped(jsonable(value))
    return scalar(value)
