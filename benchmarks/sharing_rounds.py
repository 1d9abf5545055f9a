"""The run: each contender's server and clients, measured in turn, round by round.

As in ``benchmarks/rounds.py``, the first round warms up and does not count, and a different
contender begins each time.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Table
from benchmarks.rounds import environment, turned
from benchmarks.sharing_host import Host
from benchmarks.sharing_measures import Measures, Sizes
from benchmarks.worker import Figures


class Run:
    """One run of `contenders`, in `folder`; ``table`` has what was measured so far."""

    def __init__(
        self, folder: Path, contenders: list[str], sizes: Sizes, tell: Callable[[str], None]
    ) -> None:
        self.table = Table()
        self._folder = folder
        self._contenders = contenders
        self._environment = environment(folder / "bytecode")
        self._sizes = sizes
        self._tell = tell

    def measure(self) -> None:
        """Measure everything."""
        with ExitStack() as stack:
            self._tell(f"building collections of {self._sizes.items:,}")
            all_of_them = {
                name: Measures(stack.enter_context(self._host(name)), self._sizes)
                for name in self._contenders
            }
            for number in range(self._sizes.rounds + 1):
                self._tell(f"round {number} of {self._sizes.rounds}")
                self._round(all_of_them, number)
            for name, measures in all_of_them.items():
                self._tell(f"{self._sizes.idle} idle clients of {name}")
                for figures in measures.idle():
                    self.table.add(name, figures)
            for name, measures in all_of_them.items():
                self._tell(f"killing what serves {name}")
                for figures in measures.kills():
                    self.table.add(name, figures)

    def _round(self, all_of_them: dict[str, Measures], number: int) -> None:
        for measure in (Measures.cold, Measures.warm, Measures.commits, Measures.seen):
            for name in turned(self._contenders, number):
                self._add(number, name, measure(all_of_them[name]))
        for name in turned(self._contenders, number):
            self._add(number, name, self._bulk(name))

    def _add(self, number: int, name: str, figures: Figures) -> None:
        if number:
            self.table.add(name, figures)

    def _bulk(self, contender: str) -> Figures:
        """Insert everything into a new collection: from a client; and in the owner, if any."""
        items = self._sizes.items
        with self._host(contender, "bulk") as host:
            figures = host.client().call("bulk", items=items)
            owned = host.owner is not None
        shutil.rmtree(host.folder)
        if owned:
            with self._host(contender, "bulk") as host:
                assert host.owner is not None
                figures |= {"bulk_owner": host.owner.call("bulk", items=items)["bulk"]}
            shutil.rmtree(host.folder)
        return figures

    def _host(self, contender: str, name: str = "shared") -> Host:
        return Host(contender, self._folder / f"{contender}-{name}", self._environment)
