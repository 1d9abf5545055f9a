"""The page doc/performance.rst."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import fill

from benchmarks import grid, plots
from benchmarks.contenders import CONTENDERS
from benchmarks.figures import Table
from benchmarks.goals import MINE
from benchmarks.grid import Grid
from benchmarks.operations import OPERATIONS, others
from benchmarks.plan import Sizes
from benchmarks.targets import targets

_INTRODUCTION = """\
Performance
===========

Written by ``make bench``. Each figure is the median of the rounds of one run, with the quartiles in
parentheses where there are several. A ratio is how many times as fast ``{mine}`` is as another, or
how many times as small: more than 1 is better than the other. What is slower is shown as it is.

The machine
-----------

"""

_METHOD = """
How it was measured
-------------------

The contenders, each as its own documentation recommends:

{contenders}

All are durable alike: a transaction that has ended is on disk. *Other figures* has how often each
syncs its file for one. All that have a page cache are given 64 MB. Each contender runs in a process
of its own, and they take turns, round by round. Rounds that count: {rounds}, after one to warm up.
At {large:,} items a contender does not do again what has taken it more than {patience:g} s, and
what makes a collection or an index there is done once; a figure without quartiles was taken once.

The items are contacts with a name, an e-mail address, a city and a year of birth, which is an int;
indexes are on the name, the address and the year. The data is made from a seed, and the same in
every run.

- *Insert all in one transaction*: the contacts are in memory as tuples; making objects of them is
  part of the time, the commit too. At {large:,} they are made on the way, in a fresh process, and
  making them is not part of the time.
- *Durable insert of one*: between each two, the same process appends the contact's pickle and keys
  to a file and syncs it; that is the synced write. *{threads} threads* do it at once in one
  process; those that cannot share a connection have one each.
- *Cold*: the files are in the system's memory, since they are read from end to end beforehand, and
  no object is. Atop's objects are made anew by opening the folder a second time in the same
  process, which shares the page cache and no objects. *Warm* is the same once more, when Atop, ZODB
  and Durus have the objects. By hand there is no such cache.
- *50 from a random place of an index*: from a random name on, no page read twice. Every contact
  that is read is loaded, and its name looked at.
- *Ids only* and *keys only*: all of them, in order of name, one by one as Python objects.
- *Page, position, how many*: by row number, objects cold. *Count of a range*: of names, which has
  half of all.
- *Update* and *delete*: of contacts at random that are known by their ids, objects cold; many are
  {changed:,}, or a tenth of all.
- *Add an index*: on the city, in one transaction.
- *Open* and *import*: in a fresh process. *Import* is net of what the interpreter itself takes.
- *Open after a kill*: contacts are inserted, 1,000 in a transaction, until the log is that long,
  while no checkpoint is made; or until the files are, where there is no log. Then the process is
  killed, and a copy of what it left is opened in a fresh process, each round.
- *Size on disk*: the blocks that the files have. Without logs, it is that after a clean close.
- *Peak memory*: resident, of the whole process, which is fresh; the page cache included.

"""


_REASONS = """
Where it is slower, and why
---------------------------

- *Inserts*: half of the time are Berkeley DB's four sorted puts of an item, made in C; the numbers
  of rows, for which any page, count and position costs the same, are about 3 µs of it, and its log
  has 1.5 kB for an item. What does not fit into 128 MB is written in parts, each of which splits
  pages of those before. Sorting is a tenth. The rest makes objects, pickles and keys.
- *Durable transactions of one*: half is the sync of 2 to 6 kB of log: pages that were filled in
  order are full, and are split by what comes between, which Berkeley DB logs whole. The rest is
  what stands around the puts: the turn, the overlay, the row of what has changed, and a look
  whether the folder is still there and may be written, since Berkeley DB gives up over that. By
  hand, nobody asks.
- *Cold, at {large:,}*: the tables are several times the page cache of 64 MB (``cacheSize``). A page
  that is not in it is read from the system's memory and its checksum is computed, which takes 5 to
  10 µs more. LMDB's pages are used where the system has them, without checksums.
- *Get by id and 50 of an index, cold*: LMDB and ``berkeleydb`` by hand have no identity map:
  whoever reads an object twice has two, and nobody knows when one was changed.
- *50 of an index, warm*: the leaves of ZODB's trees hold the objects themselves, in C. Atop asks
  whether anything was committed, and then remembers the page.
- *Keys only*: Berkeley DB takes a sixth of the time. The rest makes Python's objects, bytes and
  then the key itself, and goes over them one by one.
- *Size*: records have their index entries with them, so that these can be rebuilt and compared.

"""


def page(machine: dict[str, str], table: Table, names: Sequence[str], sizes: Sizes) -> str:
    """The whole of doc/performance.rst, which shows plots that are beside it."""
    return "".join((
        _INTRODUCTION.format(mine=MINE),
        *(f":{name}: {value}\n" for name, value in machine.items()),
        _METHOD.format(
            contenders="\n".join(_entry(name) for name in names), rounds=sizes.rounds,
            large=sizes.large, threads=sizes.threads, patience=sizes.patience, changed=1000,
        ),
        grid.goals(table, targets(sizes)).text(),
        _REASONS.format(large=sizes.large),
        *(shown.text() for shown in ratios(table, names, sizes)),
        "Cost against size\n-----------------\n\n",
        *_pictures(names),
        *(shown.text() for shown in _figures(table, names, sizes)),
    )).rstrip() + "\n"  # fmt: skip


def ratios(table: Table, names: Sequence[str], sizes: Sizes) -> Iterator[Grid]:
    """The tables of ratios."""
    for size, items in sizes.all().items():
        title = f"Ratios at {items:,} items"
        yield grid.ratios(title, table, names, OPERATIONS, f"_{size}")
    yield grid.ratios("Other ratios", table, names, others(sizes))


def _figures(table: Table, names: Sequence[str], sizes: Sizes) -> Iterator[Grid]:
    for size, items in sizes.all().items():
        yield grid.figures(f"Figures at {items:,} items", table, names, OPERATIONS, f"_{size}")
    yield grid.figures("Other figures", table, names, others(sizes))


def _pictures(names: Iterable[str]) -> Iterator[str]:
    who = ", ".join(names)
    for each in plots.plotted():
        yield f".. image:: plots/{each.figure}.svg\n"
        yield f"   :alt: {each.title}: {plots.axis(each)} against the number of items, for {who}.\n"
        yield "      The figures are in the tables.\n\n"


def _entry(name: str) -> str:
    return fill(
        f"- ``{name}``: {CONTENDERS[name].words}", 100, subsequent_indent="  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
