"""The page doc/performance.rst."""

from __future__ import annotations

from benchmarks.goals import MINE, PEER
from benchmarks.sheet import Line, Sheet
from benchmarks.worker import CONTENDERS

SHEET = Sheet(tuple(CONTENDERS), (PEER,))

_INTRODUCTION = """\
Performance
===========

Written by ``make bench``. Each figure is the median of the rounds of one run, with the quartiles in
parentheses; the ratio is that of speeds, {mine} to {peer}, so that more than 1 is faster than
{peer}. What is slower is shown as it is.

The machine
-----------

"""

_METHOD = """
How it was measured
-------------------

The contenders:

- ``atop``: a pool with three indexes.
- ``berkeleydb``: the same layout by hand, pickled objects in one table, record-numbered index keys
  in another; private memory, no locks, no history of commits. It marks the limit for Atop.
- ``sqlite3``: one table by hand, with a pickled object and a column for each index; write-ahead
  log.

All are durable alike (a transaction that has ended is on disk) and have a page cache of 64 MB.
Each runs in a process of its own, and they take turns, round by round: {rounds} rounds count, after
one to warm up; inserts of {large:,} are done once, walks twice. The items are contacts with a name,
an e-mail address, a city and a year of birth, which is an int; indexes are on the name, the
address and the year. The data is made from a seed, and the same in every run.

- *Insert in one transaction*: the contacts are in memory as tuples; making objects of
  them is part of the time, the commit too.
- *Durable transaction that adds one*: between each two, the same process appends the contact's
  pickle and keys to a file and syncs it; that is the synced write.
- *Objects cold*: the pages of the tables are in memory, no object is. Atop's are made
  anew by opening the folder a second time in the same process, which shares the page cache and no
  objects. *Again* is the same once more, when Atop has the objects. By hand there is no such cache.
- *50 from a place of an index*: from a random name on, no page read twice. Every contact that is
  read is unpickled, and its name looked at.
- *Page, len and position*: by row number, in two collections of different size, objects cold.
- *Open* and *walk*: each in a fresh process. *Import* is net of what the interpreter itself takes.
- *Insert {large:,}*: in a fresh process, the contacts made on the way.
- *Peak resident memory*: of the whole process, the page cache included.

"""


def page(machine: dict[str, str], shown: list[Line], rounds: int, large: int) -> str:
    """The whole of doc/performance.rst."""
    return "".join((
        _INTRODUCTION.format(mine=MINE, peer=PEER),
        *(f":{name}: {value}\n" for name, value in machine.items()),
        _METHOD.format(rounds=rounds, large=large),
        SHEET.text(shown),
    ))
