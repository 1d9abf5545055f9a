"""All pages of the browser, by their addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from starlette.responses import Response

from atop.store import Store
from atop.web.changepage import ChangePages
from atop.web.changes import Changes
from atop.web.filepage import FilePages
from atop.web.homepage import HomePages
from atop.web.itempage import ItemPages
from atop.web.moment import Moments
from atop.web.tablepage import TablePages

Handler = Callable[..., Response]


def routes(
    store: Store, moments: Moments, changes: Changes | None
) -> Iterator[tuple[str, str, Handler]]:
    """Methods, addresses and what answers them, in the order in which they are looked through.

    Without `changes` there is nothing to change anything with.
    """
    yield from HomePages(store, moments).routes()
    yield from TablePages(store, moments).routes()
    yield from ItemPages(store, moments, writable=changes is not None).routes()
    yield from FilePages(store, moments).routes()
    if changes is not None:
        yield from ChangePages(moments, changes).routes()
