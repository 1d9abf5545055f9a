"""Measure the tabular data browser, beside Datasette: ``benchmarks/browsing.py --help``."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.browsing_report import FIRST, JUMP, MEASURES, NEXT, figures, goals, page
from benchmarks.browsing_sites import PAGE, SITES, Place, Site
from benchmarks.contacts import Contact, contacts
from benchmarks.machine import BERKELEY_DB, machine
from benchmarks.rounds import ROOT

DOC = ROOT / "doc" / "performance-browser.rst"
WARM = 5
_CHROMIUM = "/usr/bin/chromium"


class Run:
    """Asks all sites for the same pages, in turn."""

    def __init__(self, sites: Sequence[Site], people: Sequence[Contact], facts: dict[str, int]
                 ) -> None:
        self._sites = sites
        self._sorted = sorted((person.name, at) for at, person in enumerate(people, 1))
        self._facts = facts
        self._random = random.Random(1)
        self.samples: dict[tuple[str, str], list[float]] = defaultdict(list)

    def measure(self) -> None:
        """All measures of all sites, request by request."""
        for turn in range(-WARM, self._facts["rounds"]):
            for measure in MEASURES:
                place = self._place(measure)
                for site in self._sites:
                    path = site.path(measure, place)
                    if path is None:
                        continue
                    begun = perf_counter()
                    body = site.get(path)
                    took = 1000 * (perf_counter() - begun)
                    self._check(site, body, place)
                    if turn >= 0:
                        self.samples[site.name, measure].append(took)

    def _place(self, measure: str) -> Place:
        if measure.startswith(FIRST):
            return Place(0)
        row = self._facts["deep"] + self._random.randrange(self._facts["around"])
        if measure.startswith(JUMP):
            return Place(0, key=self._random.choice(self._sorted)[0])
        before = self._sorted[row - 1] if measure.startswith(NEXT) else None
        return Place(row, before=before)

    def _check(self, site: Site, body: bytes, place: Place) -> None:
        """The rows that were asked for have to be there."""
        wanted = place.key or self._sorted[place.row + PAGE - 1][0]
        assert wanted.encode() in body, f"{site.name} lacks {wanted} from row {place.row} on"


def paints(port: int, times: int) -> list[float]:
    """Milliseconds until Chromium shows the first page; nothing where it is missing."""
    if not times or not Path(_CHROMIUM).exists():
        print("no Chromium: the first paint is not measured", file=sys.stderr)
        return []
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(times + 1):
            tab = chromium.new_page()
            tab.goto(f"http://127.0.0.1:{port}/pools/contacts?index=name", wait_until="load")
            found.append(tab.wait_for_function(
                "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
            ).json_value())
            tab.close()
        chromium.close()
    return found[1:]


def main() -> None:
    """Run, print the figures, and write the page."""
    asked = _arguments()
    begun = perf_counter()

    def tell(what: str) -> None:
        print(f"{perf_counter() - begun:4.0f} s  {what}", file=sys.stderr)

    facts = {"items": asked.items, "rounds": asked.rounds, "warm": WARM,
             "deep": asked.items * 9 // 10, "around": asked.items // 20}
    with ExitStack() as stack:
        folder = asked.keep or Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix=".browsing-", dir=asked.dir)))
        people = list(contacts(asked.items))
        sites = [SITES[name](folder) for name in asked.only]
        for site in sites:
            if not (folder / f"{site.name}.made").exists():
                site.make(people)
                (folder / f"{site.name}.made").touch()
            stack.callback(site.close)
            site.start()
            tell(f"{site.name} is served")
        ran_on = {**machine(folder), "Berkeley DB": BERKELEY_DB, **_versions()}
        run = Run(sites, people, facts)
        run.measure()
        tell("pages are measured")
        shown = paints(sites[0].port, 0 if asked.no_chromium else 7)
    tell("done")
    for line in [*goals(run.samples, shown, facts), *figures(run.samples, facts)]:
        print(" | ".join(line))
    if asked.write is not None:
        asked.write.write_text(page(ran_on, run.samples, shown, facts), encoding="utf-8")


def _versions() -> dict[str, str]:
    return {
        "Atop": ", ".join(f"{each} {version(each)}" for each in ("atopdb", "starlette", "uvicorn")),
        "Datasette": f"datasette {version('datasette')}",
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--items", type=int, help="how many contacts (default 1000000)")
    parser.add_argument("--rounds", type=int, help="requests for each figure (default 300)")
    parser.add_argument("--only", nargs="+", choices=SITES, default=list(SITES), help="whom")
    parser.add_argument("--dir", type=Path, default=ROOT, help="where files are made meanwhile")
    parser.add_argument("--keep", type=Path, help="a folder that keeps them for the next run")
    parser.add_argument("--no-chromium", action="store_true", help="measure no first paint")
    parser.add_argument("--write", type=Path, help="the page to write (default of a whole run: "
                        f"{DOC.relative_to(ROOT)})")
    asked = parser.parse_args()
    whole = not asked.quick and asked.items is None and asked.only == list(SITES)
    if asked.write is None and whole:
        asked.write = DOC
    asked.items = asked.items or (2_000 if asked.quick else 1_000_000)
    asked.rounds = asked.rounds or (5 if asked.quick else 300)
    if asked.keep is not None:
        asked.keep.mkdir(parents=True, exist_ok=True)
    return asked


if __name__ == "__main__":
    main()
