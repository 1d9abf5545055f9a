"""The addresses of tables: the page, its rows for programs, and where a key stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from atop.errors import ValueRefused
from atop.keytext import completed, type_of
from atop.store import Store
from atop.web import asjson, html, words
from atop.web.address import name_in, root_of
from atop.web.asjson import jsonable
from atop.web.asked import FILTERS, Asked, Filter, parse
from atop.web.cells import EMPTY
from atop.web.export import Export
from atop.web.facets import as_filter, facet, in_words
from atop.web.moment import Moment, Moments
from atop.web.search import Search
from atop.web.table import Line, Page, Rows, prefix_key, sample_key, typed_key

Handler = Callable[..., Response]


class TablePages:
    """What is shown of the pools of `store`."""

    def __init__(self, store: Store, moments: Moments) -> None:
        self._store = store
        self._moments = moments

    def routes(self) -> Iterator[tuple[str, str, Handler]]:
        yield "GET", "/commit.json", self.commit
        yield "GET", "/pools/{name:path}/position", self.position
        yield "GET", "/pools/{name:path}/position.json", self.position_json
        yield "GET", "/pools/{name:path}/filter", self.add_filter
        yield "GET", "/pools/{name:path}/columns", self.choose_columns
        for kind in ("json", "csv", "ndjson"):
            yield "GET", f"/pools/{{name:path}}.{kind}", getattr(self, kind)
        yield "GET", "/pools/{name:path}", self.table

    def table(self, request: Request) -> Response:
        asked = _asked(request)
        with self._moments.at(asked.at) as moment:
            page = Search(moment, asked).page()
            cells = [(line, [line.cell(name, page.pool, moment) for name in page.columns])
                     for line in page.lines]
            facets = [facet(moment, page.pool, name) for name in asked.facets]
            return html.page(
                request.scope, "table.html", title=words.title(page), page=page, asked=asked,
                cells=cells, sentence=words.sentence(page), call=words.call(moment, page),
                newest=self._store.engine.serial, facets=facets, kinds=FILTERS,
                as_filter=as_filter, in_words=in_words, sorts=sorts(page),
                choice=list(dict.fromkeys((*page.columns, *page.found))),
            )

    def json(self, request: Request) -> Response:
        asked = _asked(request)
        if request.query_params.get("all") == "1":
            return Export(self._moments, asked, "json").response()
        brief = request.query_params.get("brief") == "1"
        with self._moments.at(asked.at) as moment:
            page = Search(moment, asked).page()
            return asjson.answer({
                "pool": asked.pool, "index": page.plan.index.name, "commit": page.serial,
                "newest": self._store.engine.serial, "total": page.total, "row": page.first,
                "looked": page.looked, "columns": list(page.columns),
                "rows": [(_brief if brief else _row)(line, page, moment) for line in page.lines],
            })

    def csv(self, request: Request) -> Response:
        return Export(self._moments, _asked(request), "csv").response()

    def ndjson(self, request: Request) -> Response:
        return Export(self._moments, _asked(request), "ndjson").response()

    def position(self, request: Request) -> Response:
        """The page that begins where a key stands."""
        asked, row = self._row_of_key(request)
        place = asked.but(row=row, after=0).url()
        return RedirectResponse(f"{root_of(request.scope)}{place}", 303)

    def position_json(self, request: Request) -> Response:
        """The number of the row where a key stands."""
        return asjson.answer({"row": self._row_of_key(request)[1]})

    def _row_of_key(self, request: Request) -> tuple[Asked, int]:
        pairs = request.query_params.multi_items()
        text = next((value for name, value in pairs if name == "key"), "").strip()
        asked = parse(_name(request), [pair for pair in pairs if pair[0] != "key"])
        with self._moments.at(asked.at) as moment:
            return asked, _position(Search(moment, asked), text)

    def choose_columns(self, request: Request) -> Response:
        """From the boxes of a form to the address with those columns, one of them moved."""
        fields = {"show", "left", "right"}
        pairs = request.query_params.multi_items()
        asked = parse(_name(request), [pair for pair in pairs if pair[0] not in fields])
        names = list(dict.fromkeys(text for field, text in pairs if field == "show"))
        for field, text in pairs:
            if field in {"left", "right"} and text in names:
                at = names.index(text)
                names.insert(max(0, at + (1 if field == "right" else -1)), names.pop(at))
        place = asked.but(columns=tuple(names)).url()
        return RedirectResponse(f"{root_of(request.scope)}{place}#columns", 303)

    def add_filter(self, request: Request) -> Response:
        """From the fields of a form to the address with one more filter."""
        fields = {"column", "kind", "text"}
        pairs = request.query_params.multi_items()
        given = {name: value for name, value in pairs if name in fields}
        asked = parse(_name(request),
                      [pair for pair in pairs if pair[0] not in fields])
        kind, column = given.get("kind", "is"), given.get("column", "")
        if kind not in FILTERS or not column:
            raise ValueRefused("a filter has a column and a kind: choose both", kind)
        added = Filter(column, kind, given.get("text", ""))
        place = asked.but(filters=(*asked.filters, added)).url()
        return RedirectResponse(f"{root_of(request.scope)}{place}", 303)

    def commit(self, request: Request) -> Response:
        """The serial of the last commit."""
        self._store.check_open()
        return asjson.answer({"commit": self._store.engine.serial})


def sorts(page: Page) -> dict[str, str]:
    """For each column that an index sorts, the address of the table sorted by it, or turned."""
    asked, by = page.asked, page.plan.index.name
    found: dict[str, str] = {}
    for plan in page.pool.plans:
        name = plan.index.name
        turned = asked.but(index=name, backwards=not asked.backwards and name == by, low=None,
                           high=None, prefix=None) if name != by else asked.but(
                               index=name, low=asked.high, high=asked.low,
                               backwards=not asked.backwards)
        for column in (name, *(plan.index.paths if len(plan.index.paths) == 1 else ())):
            if name == by or column not in found:
                found[column] = turned.url()
    return found


def _position(search: Search, text: str) -> int:
    """The number of the row that `text` stands for: a row's number, or the beginning of a key."""
    plain = text.replace(",", "").removeprefix("#")
    if text.startswith("#") or search.looks:
        if not (plain.isascii() and plain.isdigit() and 0 < len(plain) < 19):
            raise ValueRefused(f"{text[:40]!r} is no number of a row", text)
        return max(1, int(plain))
    rows = Rows(search.moment, search.bounds, search.asked.backwards)
    try:
        key = prefix_key(search.moment, search.plan, text)
        return rows.position(key, beginning=True) + 1
    except ValueRefused:
        kind = type_of(sample_key(search.moment, search.plan))
        key = typed_key(search.moment, search.plan, completed(text, kind))
        return rows.position(key) + 1


def _row(line: Line, page: Page, moment: Moment) -> dict[str, Any]:
    values = {name: line.value(name, page.pool) for name in page.columns}
    return {name: jsonable(value) for name, value in values.items() if value is not EMPTY}


def _brief(line: Line, page: Page, moment: Moment) -> list[Any]:
    """What a grid shows: number and id, then text, kind, wholeness and item of each cell."""
    cells = [line.cell(name, page.pool, moment) for name in page.columns]
    return [line.number, line.id,
            [[each.text, each.kind, each.whole, each.item] for each in cells]]


def _name(request: Request) -> str:
    return name_in(request.path_params["name"])


def _asked(request: Request) -> Asked:
    return parse(_name(request), request.query_params.multi_items())
