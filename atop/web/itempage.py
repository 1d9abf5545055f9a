"""An item's page: all that its record tells, what it refers to and what refers to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from atop.errors import NoSuchItem, ValueRefused
from atop.files import File
from atop.index import pool_keys
from atop.store import Store
from atop.web import asjson, html
from atop.web.asjson import dumped, jsonable, utf8
from atop.web.asked import parse
from atop.web.cells import Cell, cell, visible
from atop.web.changes import editable
from atop.web.inplace import shown_as, text_of
from atop.web.moment import Moment, Moments, PoolSeen, Reference, Seen
from atop.web.references import referrers, within

Handler = Callable[..., Response]
LONG = 4000
_MOST = 500
_MOST_FILES = 24


@dataclass(frozen=True, slots=True)
class Membership:
    """One pool that holds an item: where the item stands in each index, counted from 1."""

    pool: PoolSeen
    rows: tuple[tuple[str, int], ...]


class ItemPages:
    """What is shown of single items."""

    def __init__(self, store: Store, moments: Moments, *, writable: bool) -> None:
        self._store = store
        self._moments = moments
        self._writable = writable

    def routes(self) -> Iterator[tuple[str, str, Handler]]:
        yield "GET", "/items/{id}.json", self.json
        yield "GET", "/items/{id}/value", self.value
        yield "GET", "/items/{id}", self.item

    def item(self, request: Request) -> Response:
        after = request.query_params.get("after", "")
        with self._moments.at(_at(request)) as moment:
            seen = moment.item(item_id(request))
            found = referrers(moment, seen.id, int(after) if is_id(after) else -1)
            attributes = list(seen.state.items())
            return html.page(
                request.scope, "item.html", title=name_of(seen), seen=seen, name=name_of(seen),
                attributes=[(name, cell(value, moment, LONG), references(value, moment),
                             editable(value)) for name, value in attributes[:_MOST]],
                writable=self._writable and not seen.problem, mark=seen.mark,
                others=[pool.name for pool in moment.pools()],
                more=len(attributes) - _MOST, pools=memberships(moment, seen), found=found,
                files=files_of(moment, seen), shown_as=shown_as,
                text_of=partial(text_of, self._store), total=len(moment),
                pool=_own_pool(moment, seen),
            )

    def json(self, request: Request) -> Response:
        with self._moments.at(_at(request)) as moment:
            seen = moment.item(item_id(request))
            return asjson.answer({
                "id": seen.id, "class": seen.kind.name, "version": seen.version,
                "bytes": seen.size, "problem": seen.problem, "commit": moment.serial,
                "pools": [{"name": each.pool.name, "rows": dict(each.rows)}
                          for each in memberships(moment, seen)],
                "attributes": {name: jsonable(value) for name, value in seen.state.items()},
            })

    def value(self, request: Request) -> Response:
        """The whole of one attribute, as a file."""
        name = request.query_params.get("name", "")
        with self._moments.at(_at(request)) as moment:
            seen = moment.item(item_id(request))
        if name not in seen.state:
            raise NoSuchItem(f"item {seen.id} has no attribute {name!r}", name)
        value = seen.state[name]
        content = value if isinstance(value, bytes) else utf8(_text(value))
        kind = "application/octet-stream" if isinstance(value, bytes) else "text/plain"
        return Response(content, media_type=kind, headers={"content-disposition": "attachment"})


def item_id(request: Request) -> int:
    """The id in the address.

    :raises ValueRefused: when it is none.
    """
    text = request.path_params["id"]
    if not is_id(text):
        raise ValueRefused(f"{text[:40]!r} is no id of an item: ids are numbers", text)
    return int(text)


def name_of(seen: Seen) -> str:
    """What to call an item: what it calls itself, else its class; and its id."""
    for attribute in ("name", "title", "subject", "summary", "_name"):
        called = seen.state.get(attribute)
        if isinstance(called, str) and called.strip():
            return f"{seen.class_label} {seen.id}: {visible(called[:100])}"
    return f"{seen.class_label or 'Item'} {seen.id}"


def memberships(moment: Moment, seen: Seen) -> list[Membership]:
    """The pools that hold an item, as its record tells."""
    key, found = seen.id.to_bytes(8, "big"), []
    for pool_key in sorted(pool_keys(seen.entries)):
        pool = moment.pool_with(int.from_bytes(pool_key, "big"))
        if pool is None:
            continue
        rows = tuple(
            (plan.index.name, moment.view.count(plan.prefix, entry + key) + 1)
            for plan in pool.plans for entry in sorted(seen.entries)
            if entry.startswith(plan.prefix)
        )
        found.append(Membership(pool, rows))
    return found


def references(value: Any, moment: Moment) -> list[Cell]:
    """Links to the first of the items that are in a value."""
    if isinstance(value, Reference):
        return []
    found = dict.fromkeys(within(value))
    return [cell(each, moment) for each, _ in zip(found, range(_MOST_FILES), strict=False)]


def files_of(moment: Moment, seen: Seen) -> list[Seen]:
    """The files that an item is or refers to."""
    if seen.is_file:
        return [seen]
    keys = [
        each.id.to_bytes(8, "big") for each in dict.fromkeys(within(seen.state))
        if issubclass(moment.kind(each.class_number).cls, File)
    ]
    return [each for each in moment.items(keys[:_MOST_FILES]) if each is not None]


def _own_pool(moment: Moment, seen: Seen) -> PoolSeen | None:
    return moment.pool_with(seen.id) if seen.is_pool and not seen.problem else None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    plain = jsonable(value)
    return plain if isinstance(plain, str) else dumped(plain)


def is_id(text: str) -> bool:
    """Whether a text may be the id of an item."""
    return text.isascii() and text.isdigit() and len(text) < 20


def _at(request: Request) -> int | None:
    return parse("", [("at", request.query_params.get("at", ""))]).at
