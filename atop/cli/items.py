"""Items as rows: what is known of one, whether or not its class can be imported."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

from atop.classes import Broken
from atop.errors import DamagedStore, NewerClass, NotLoadable
from atop.item import Item, class_of
from atop.pool import Pool
from atop.store import Store

_LOOKED_AT = 50
_INTERNAL = {"_class", "_problem"}


def row_of(store: Store, ident: int) -> dict[str, Any]:
    """``id``, ``class`` and all attributes of an item; where it cannot be loaded, ``problem``.

    :raises NoSuchItem: when there is none with that id.
    """
    try:
        item = store.getItemByID(ident)
        return {"id": ident, **_attributes(item)}
    except (NotLoadable, NewerClass, DamagedStore) as error:
        if isinstance(error, DamagedStore) and store.folder and store.folder.engine.failed:
            raise
        return {"id": ident, "class": "", "problem": str(error)}


def column(row: dict[str, Any], name: str) -> Any:
    """What a column shows: an attribute, or what a dotted path leads to."""
    value: Any = row
    if name in row:
        return row[name]
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value


def columns_of(rows: Iterable[dict[str, Any]]) -> tuple[list[str], Iterable[dict[str, Any]]]:
    """All names in the first rows, in order of appearance; and all rows."""
    left = iter(rows)
    first = list(islice(left, _LOOKED_AT))
    names = dict.fromkeys(name for row in first for name in row)
    return list(names), chain(first, left)


def _attributes(item: Item) -> dict[str, Any]:
    state = item.attributes()
    if isinstance(item, Broken):
        told = {"class": state.get("_class"), "problem": state.get("_problem")}
        return told | {name: value for name, value in state.items() if name not in _INTERNAL}
    told = {"class": f"{class_of(item).__module__}:{class_of(item).__qualname__}"}
    if isinstance(item, Pool):
        return told | {"name": item.name, "indexes": [index.name for index in item.indexes]}
    return told | state
