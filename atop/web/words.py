"""What a table shows, in a sentence and as the Python call that gives the same."""

from __future__ import annotations

from typing import Any

from atop.web.moment import Moment
from atop.web.table import Page, prefix_key, typed_key


def title(page: Page) -> str:
    """The page in a few words."""
    return f"{page.asked.pool} by {page.plan.index.name}"


def sentence(page: Page) -> str:
    """What is shown, for people: ``people by name, from “Bob”, the last ones first: ...``."""
    asked = page.asked
    parts = [f"{asked.pool} by {page.plan.index.name}"]
    parts += [f"{word} \u201c{text}\u201d" for word, text in (
        ("from", asked.low), ("to", asked.high), ("beginning with", asked.prefix)) if text]
    parts += [f"where {each.words}" for each in asked.filters]
    if asked.backwards:
        parts.append("the last ones first")
    return f"{', '.join(parts)}: {_rows(page)}"


def _rows(page: Page) -> str:
    if page.looked is not None:
        looked = (f"looked at all {page.total:,} rows" if page.looked >= page.total
                  else f"looked at {page.looked:,} of {page.total:,} rows")
        return f"{len(page.lines):,} found, {looked}"
    if not page.total:
        return "no rows"
    if not page.lines:
        return f"no row {page.first:,}, as there are {page.total:,}"
    return f"rows {page.first:,} to {page.last:,} of {page.total:,}"


def call(moment: Moment, page: Page) -> str:
    """The Python call that gives these items; filters come after it."""
    asked, plan = page.asked, page.plan
    given: list[tuple[str, Any]] = []
    for name, text in (("startKey", asked.low), ("endKey", asked.high)):
        if text is not None:
            given.append((name, typed_key(moment, plan, text)))
    if asked.backwards:
        given.append(("backwards", True))
    if asked.prefix is not None:
        given.append(("prefix", prefix_key(moment, plan, asked.prefix)))
    arguments = "".join(f", {name}={value!r}" for name, value in given)
    start, stop = asked.row - 1, asked.row - 1 + asked.limit
    return (f"store.pool({asked.pool!r}).queryIndex({plan.index.name!r}{arguments})"
            f"[{start or ''}:{stop}]")
