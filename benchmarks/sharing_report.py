"""The page doc/performance-sharing.rst."""

from __future__ import annotations

from benchmarks.contender import PAGE
from benchmarks.goals import MINE
from benchmarks.sharing_client import OBJECTS
from benchmarks.sharing_goals import DURUS, ZEO
from benchmarks.sharing_measures import Sizes
from benchmarks.sharing_worker import CLIENTS
from benchmarks.sheet import Line, Sheet

SHEET = Sheet(tuple(CLIENTS), (ZEO, DURUS))

_INTRODUCTION = """\
Performance of sharing
======================

Written by ``make bench-sharing``: a store that several processes have open, beside ZODB with ZEO
and Durus with its server. Each figure is the median of the rounds of one run, with the quartiles
in parentheses; a ratio is that of speeds, {mine} to the other, so that more than 1 is faster than
the other. What is slower is shown as it is.

The machine
-----------

"""

_METHOD = """
How it was measured
-------------------

The contenders, each in the way its own documentation recommends, over a Unix socket:

- ``atop``: a pool with three indexes, in a store that each process opens by ``Store(path)``. The
  first one is the owner and serves the others.
- ``zeo``: ``runzeo`` with a file storage; three B-trees that lead from key and object id to the
  object. Clients have uvloop, which ZEO takes by itself where it is installed, and a cache that
  has room for {objects:,} objects.
- ``durus``: ``durus -s``; three of its own B-trees that lead from key and a number to the object.
  Of its file storages it is given ``FileStorage2``, which syncs its file at each commit. The one
  that it would take by itself, ``FileStorage``, never syncs it: a commit that has returned can be
  lost with the machine.

So all are durable alike: a transaction that has ended is on disk. Servers and clients are
processes of their own, and contenders take turns, measure by measure: {rounds} rounds count, after
one to warm up. There are {items:,} contacts with a name, an e-mail address, a city and a year of
birth, which is an int; indexes are on the name, the address and the year. The data is made from a
seed, and the same in every run.

- *Cold client*: connected and with nothing in its caches; {repeat} times a round, of which the
  median counts. The page begins at a random name, found through the index; all attributes of each
  contact are touched. *Told ahead*: with ``Connection.prefetch`` of ZODB; the others have no such
  call, and do the same as before.
- *Get by id*: {page} one by one, at random; in ``zeo`` and ``durus`` by the id that each object has
  there.
- *The same {page}*: in a snapshot that is new each time, or in none; in ``zeo`` and ``durus``, in
  a new transaction each time, or in no new one.
- *Transactions that add one*: by each client as many as it can in {seconds:g} s; where two
  conflict, one is done again. The number is that of all clients together.
- *Insert in one transaction*: into an empty collection, from contacts that are in memory as
  tuples.
- *Until another client sees it*: one changes a number every few milliseconds; the other reads it,
  in a new snapshot each time, and waits a tenth of a millisecond between.
- *Kill*: SIGKILL, while two clients commit as fast as they can. Each is at work again with its
  first commit that began after the kill, and the later one counts. In ``atop`` one of the clients
  takes the store over. The servers of the others must be started again: that is done at once, and
  clients of ``durus`` connect anew, as they must.
- *Idle clients*: each has read once. The memory is what the process that serves has resident.

"""


def page(machine: dict[str, str], shown: list[Line], sizes: Sizes) -> str:
    """The whole of doc/performance-sharing.rst."""
    return "".join((
        _INTRODUCTION.format(mine=MINE),
        *(f":{name}: {value}\n" for name, value in machine.items()),
        _METHOD.format(
            items=sizes.items, rounds=sizes.rounds, repeat=sizes.repeat, seconds=sizes.seconds,
            objects=OBJECTS, page=PAGE,
        ),
        SHEET.text(shown),
    ))
