"""The home page: the pools of a store, its files, and how it fares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from atop.engine.base import ID_BYTES, ITEMS
from atop.plain import plain
from atop.query import Bounds
from atop.store import Store
from atop.web import asjson, html
from atop.web.health import health
from atop.web.moment import Moment, Moments
from atop.web.table import Rows

Handler = Callable[..., Response]
_PARTS = 4
_SAMPLED = 5


class HomePages:
    """What is shown of all of `store`."""

    def __init__(self, store: Store, moments: Moments) -> None:
        self._store = store
        self._moments = moments

    def routes(self) -> Iterator[tuple[str, str, Handler]]:
        yield "GET", "/", self.home
        yield "GET", "/index.json", self.json

    def home(self, request: Request) -> Response:
        with self._moments.at() as moment:
            return html.page(request.scope, "home.html", title=self._store.place,
                             pools=pools(moment), health=health(self._store),
                             place=self._store.place, time=moment.time)

    def json(self, request: Request) -> Response:
        with self._moments.at() as moment:
            fares = health(self._store)
            return asjson.answer({
                "store": self._store.place, "commit": moment.serial, "items": len(moment),
                "pools": pools(moment), "stats": plain(asdict(fares.stats)),
                "commits_by_minute": list(fares.minutes),
            })


def pools(moment: Moment) -> list[dict[str, Any]]:
    """What there is to know of each pool: ``bytes`` is what its items have, about."""
    found = []
    for pool in moment.pools():
        rows = Rows(moment, Bounds(pool.once), False)
        count = len(rows)
        found.append({
            "name": pool.name, "id": pool.id, "items": count,
            "bytes": _bytes(moment, rows, count),
            "indexes": [plan.index.name for plan in pool.plans],
        })
    return found


def _bytes(moment: Moment, rows: Rows, count: int) -> int:
    """About how many bytes all items have: as many as some of them, here and there."""
    some = [row for part in range(_PARTS) for row in rows.page(part * count // _PARTS, _SAMPLED)]
    records = moment.view.getmany(ITEMS, [row[0][-ID_BYTES:] for row in some])
    sizes = [len(record) for record in records if record is not None]
    return round(count * sum(sizes) / len(sizes)) if sizes else 0
