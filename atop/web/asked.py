"""What the address of a table asks for, and the address that asks for it.

Addresses are part of the interface: what a reader looks at can be kept, shared and typed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from atop.errors import ValueRefused
from atop.web.address import segment

LIMIT = 50
MOST = 1000
MOST_COLUMNS = 200
FILTERS = {
    "is": "is",
    "not": "is not",
    "contains": "contains",
    "in": "is one of",
    "empty": "is empty",
    "filled": "is not empty",
}
"""The filters, each as it ends a parameter's name (``city__is=Paris``), and in words."""
_NO_TEXT = {"empty", "filled"}


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on one column; ``text`` is what was typed, for ``in`` separated by commas."""

    column: str
    kind: str
    text: str = ""

    @property
    def words(self) -> str:
        told = f"{self.column} {FILTERS[self.kind]}"
        return told if self.kind in _NO_TEXT else f"{told} \u201c{self.text}\u201d"

    @property
    def parameter(self) -> tuple[str, str]:
        return f"{self.column}__{self.kind}", "1" if self.kind in _NO_TEXT else self.text


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for of the table ``pool``.

    ``row`` is the number of the first row to show, counted from 1. Keys are as they were typed.
    ``at`` is the serial of the commit to look at, ``None`` for the last one. ``after`` is where a
    search with filters goes on.
    """

    pool: str
    index: str = ""
    low: str | None = None
    high: str | None = None
    prefix: str | None = None
    backwards: bool = False
    row: int = 1
    limit: int = LIMIT
    columns: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    at: int | None = None
    after: int = 0
    facets: tuple[str, ...] = ()

    def but(self, **changes: Any) -> Asked:
        """The same with other values; what is shown begins at the first row then."""
        if changes.keys() & {"index", "low", "high", "prefix", "backwards", "filters"}:
            changes = {"row": 1, "after": 0, **changes}
        return replace(self, **changes)

    @property
    def path(self) -> str:
        return f"/pools/{segment(self.pool)}"

    def without(self, unwanted: Filter) -> tuple[Filter, ...]:
        """The filters but for one."""
        return tuple(each for each in self.filters if each != unwanted)

    def pairs(self) -> list[tuple[str, str]]:
        """The parameters of the address; what is usual is left out."""
        asked = self
        pairs: list[tuple[str, str | None]] = [
            ("index", asked.index), ("from", asked.low), ("to", asked.high),
            ("prefix", asked.prefix), ("backwards", "1" if asked.backwards else None),
            ("columns", ",".join(map(_quoted, asked.columns)) or None),
            *(each.parameter for each in asked.filters),
            ("row", str(asked.row) if asked.row != 1 else None),
            ("limit", str(asked.limit) if asked.limit != LIMIT else None),
            ("after", str(asked.after) if asked.after else None),
            ("facets", ",".join(map(_quoted, asked.facets)) or None),
            ("at", None if asked.at is None else str(asked.at)),
        ]
        return [(name, value) for name, value in pairs if value]

    def url(self, suffix: str = "", **changes: Any) -> str:
        """The address, from the root of the browser; `suffix` is ``.json`` or the like."""
        query = urlencode(self.but(**changes).pairs(), errors="surrogatepass")
        return f"{self.path}{suffix}{'?' + query if query else ''}"

    def export(self, kind: str, at: int) -> str:
        """The address of all rows as JSON, at one moment."""
        query = urlencode([*self.but(row=1, limit=LIMIT, at=at).pairs(), ("all", "1")],
                          errors="surrogatepass")
        return f"{self.path}.{kind}?{query}"


_KNOWN = {"index", "from", "to", "prefix", "backwards", "row", "limit", "columns", "at", "after",
          "token", "brief", "facets", "all"}  # fmt: skip


def parse(pool: str, parameters: Iterable[tuple[str, str]]) -> Asked:
    """What the parameters of an address ask for.

    :raises ValueRefused: naming the parameter.
    """
    given: dict[str, str] = {}
    filters = []
    for name, text in parameters:
        column, mark, kind = name.rpartition("__")
        if mark and kind in FILTERS and column:
            if text or kind not in _NO_TEXT:
                filters.append(Filter(column, kind, "" if kind in _NO_TEXT else text))
        elif name in _KNOWN:
            given[name] = text
        else:
            raise ValueRefused(
                f"{name!r} is nothing that a table can be asked for: there are "
                f"{', '.join(sorted(_KNOWN - {'all', 'brief', 'token'}))}, and filters such as "
                "name__contains", name
            )
    columns = _columns(given.get("columns", ""))
    return Asked(
        pool, given.get("index", ""), given.get("from") or None, given.get("to") or None,
        given.get("prefix") or None, given.get("backwards", "") not in {"", "0"},
        _number(given, "row", 1, 1), _number(given, "limit", LIMIT, 1, MOST), columns,
        tuple(filters), _number(given, "at", None, 0), _number(given, "after", 0, 0),
        tuple(_unquoted(given.get("facets", ""))),
    )


def _number(
    given: dict[str, str], name: str, usual: Any, least: int, most: int = (1 << 63) - 1
) -> Any:
    text = given.get(name, "").replace(",", "").strip()
    if not text:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        bound = f"from {least:,} to {most:,}" if most < 1 << 62 else f"of at least {least:,}"
        raise ValueRefused(f"{name} is a number {bound}, not {text[:40]!r}", text)
    return int(text)


def _columns(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(_unquoted(text)))
    if len(names) > MOST_COLUMNS:
        raise ValueRefused(
            f"{len(names):,} columns are too many for a page, it shows {MOST_COLUMNS} at most", text
        )
    return names


def _quoted(name: str) -> str:
    return name.replace("\\", "\\\\").replace(",", "\\,")


def _unquoted(text: str) -> Sequence[str]:
    names, name, escaped = [], "", False
    for each in text:
        if escaped or each not in "\\,":
            name, escaped = name + each, False
        elif each == "\\":
            escaped = True
        else:
            names.append(name)
            name = ""
    return [each for each in (*names, name) if each]
