"""The page doc/performance-browser.rst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import quantiles

from benchmarks.browsing_sites import PAGE

Samples = Mapping[tuple[str, str], Sequence[float]]
FIRST, LAST, JUMP, NEXT = "first", "last", "jump", "next"
MEASURES = [f"{what}-{form}" for form in ("html", "json") for what in (FIRST, LAST, JUMP, NEXT)]
LAST_TO_FIRST, P99_MS, FASTER, PAINT_MS = 1.5, 25, 20, 500

_TEXT = """\
Performance of the browser
==========================

Written by ``make bench-browser``: a table of {items:,} rows over HTTP, in ``atopdb browse`` and,
beside it in the same run, in Datasette. Times are in milliseconds. What is slower is shown as it
is.

The machine
-----------

{machine}
How it was measured
-------------------

- ``atop``: a pool with indexes on name, e-mail address and year of birth.
- ``datasette``: the same rows in a table of SQLite with an index on each of these columns. The file
  is served as its documentation recommends: immutable, with rows that were counted before by
  ``datasette inspect``. It does not look for facets, and may take longer for a query than its usual
  second.

Each server is a process of its own and is asked over one connection that is kept. They take turns,
request by request, {rounds} times for each figure after {warm} to warm up; each time another page
is asked for. A page has {page} rows by name.

- *First*: row 1.
- *At row {deep:,}*: that row, or one up to {around:,} rows further on. Datasette has no page by a
  row's number: it is asked for ``select * from contacts order by name limit {page} offset N``.
- *After a jump*: from a random name on; ``from`` and ``name__gte``.
- *Next page there*: in Datasette by the token that a link of the page before has, made here from
  the row before. In ``atop`` it is the page by its number again.
- *First paint*: what Chromium reports as first contentful paint of the first page, in a
  profile that is new each time; the median of {paints}.

What it must reach
------------------

{goals}
All figures
-----------

The half of all requests took no longer than *p50*, and 99 of 100 no longer than *p99*; between the
*quartiles* lies the middle half of them.

{figures}"""


def page(machine: Mapping[str, str], samples: Samples, paints: Sequence[float],
         facts: Mapping[str, int]) -> str:
    """The whole of doc/performance-browser.rst."""
    return _TEXT.format(
        machine="".join(f":{name}: {value}\n" for name, value in machine.items()),
        goals=_list_table(("", "goal", "reached"), goals(samples, paints, facts)),
        figures=_list_table(("", "", "p50", "p99", "quartiles"), figures(samples, facts)),
        page=PAGE, paints=len(paints), **facts,
    )


def goals(
    samples: Samples, paints: Sequence[float], facts: Mapping[str, int]
) -> list[tuple[str, str, str]]:
    """What is asked for, and what was reached."""
    found = []
    for form in ("html", "json"):
        first, last, jump = (samples["atop", f"{what}-{form}"] for what in (FIRST, LAST, JUMP))
        deep = f"at row {facts['deep']:,}, {form.upper()}"
        found.append((deep, f"at most {LAST_TO_FIRST} times the first page",
                      _told(middle(last) / middle(first), LAST_TO_FIRST, "{:.2f} times")))
        found.append((f"p99 of all pages, {form.upper()}", f"under {P99_MS} ms",
                      _told(max(p99(each) for each in (first, last, jump)), P99_MS, "{:.1f} ms")))
        other = samples.get(("datasette", f"{LAST}-{form}"))
        if other:
            faster = middle(other) / middle(last)
            found.append((deep, f"at least {FASTER} times faster than Datasette",
                          f"{'yes' if faster >= FASTER else 'no'}: {faster:.1f} times"))
    if paints:
        found.append(("first paint of the table", f"under {PAINT_MS} ms",
                      _told(middle(paints), PAINT_MS, "{:.0f} ms")))
    return found


def figures(samples: Samples, facts: Mapping[str, int]) -> list[tuple[str, ...]]:
    """A line for each measure of each contender."""
    titles = {FIRST: "first page", LAST: f"at row {facts['deep']:,}", JUMP: "after a jump",
              NEXT: "next page there"}
    return [
        (f"{titles[measure.partition('-')[0]]}, {measure.partition('-')[2].upper()}", name,
         f"{middle(samples[name, measure]):.1f}", f"{p99(samples[name, measure]):.1f}",
         "{:.1f}–{:.1f}".format(*quantiles(samples[name, measure], n=4, method="inclusive")[::2]))
        for measure in MEASURES for name in dict.fromkeys(name for name, _ in samples)
        if (name, measure) in samples
    ]


def middle(times: Sequence[float]) -> float:
    """The median."""
    return quantiles(times, n=2, method="inclusive")[0]


def p99(times: Sequence[float]) -> float:
    """What 99 of 100 are not above."""
    return quantiles(times, n=100, method="inclusive")[98]


def _told(value: float, most: float, words: str) -> str:
    return f"{'yes' if value <= most else 'no'}: {words.format(value)}"


def _list_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    text = ".. list-table::\n   :header-rows: 1\n\n"
    for row in [headings, *rows]:
        for number, each in enumerate(row):
            text += f"   {' ' if number else '*'} - {each}".rstrip() + "\n"
    return text
