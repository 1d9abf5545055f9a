"""Measures that read."""

from __future__ import annotations

from statistics import median

from benchmarks.bench import Bench
from benchmarks.contender import PAGE, Contender
from benchmarks.worker import Figures, check, often, peak_megabytes, timed


class Reading(Bench):
    """What is read of a collection."""

    def get(self, items: int, count: int) -> Figures:
        """Get contacts by id, in random order: each for the first time, then all again."""
        contender, names = self.contender(items), self.landmarks(items).names
        ids = contender.ids_of(self.chance.sample(names, min(count, len(names))))
        self.cold(items)
        return {
            "get_cold": timed(lambda: contender.get(ids)) / len(ids),
            "get_warm": timed(lambda: contender.get(ids)) / len(ids),
        }

    def pages(self, items: int, count: int) -> Figures:
        """Load pages that begin with random names, no two the same; then all of them again."""
        contender, pages = self.contender(items), self.landmarks(items).pages
        ends = self.chance.sample(pages, min(count, len(pages)))
        expected = len(ends) * PAGE
        self.cold(items)
        return {
            "pages_cold": timed(lambda: check(contender.pages(ends) == expected)) / expected,
            "pages_warm": timed(lambda: check(contender.pages(ends) == expected)) / expected,
        }

    def page_at_90(self, items: int, repeat: int) -> Figures:
        """Load a page far down, objects cold."""
        contender, offset = self.contender(items), min(items * 9 // 10, items - PAGE)

        def load() -> None:
            check(contender.page_at(offset) == PAGE)

        self.cold(items)
        samples: list[float] = []
        while len(samples) < repeat and sum(samples) < 1:
            contender.forget()
            samples.append(timed(load))
        return {"page_90": median(samples)}

    def between(self, items: int, repeat: int) -> Figures:
        """Count the contacts in a range that has half of them."""
        contender, marks = self.contender(items), self.landmarks(items)

        def count() -> None:
            self.check_count(items, contender.count_between(*marks.between), marks.within)

        self.cold(items)
        return {"between": often(count, repeat)}

    def places(self, items: int, repeat: int) -> Figures:
        """Pages and positions at both ends, and how many there are."""
        self.cold(items)
        contender = self.contender(items)
        first, last = self.landmarks(items).ends
        figures = {
            f"{name}_{end}": seconds
            for end, name_at, place in (("first", first, 0), ("last", last, items - 1))
            for name, seconds in self._place(contender, items, name_at, place, repeat).items()
        }
        counted = often(lambda: self.check_count(items, contender.count(), items), repeat)
        return {**figures, "count": counted}

    def ids(self, items: int) -> Figures:
        """Read all ids, in order of name."""
        contender = self.contender(items)
        self.cold(items)
        seconds = timed(lambda: self.check_count(items, contender.walk_ids(), items))
        return {"ids": seconds / items}

    def keys(self, items: int) -> Figures:
        """Read all names in order."""
        contender = self.contender(items)
        self.cold(items)
        walked: list[int | None] = []
        seconds = timed(lambda: walked.append(contender.walk_keys()))
        if walked[0] is None:
            return {}
        self.check_count(items, walked[0], items)
        return {"keys": seconds / items}

    def walk(self, items: int) -> Figures:
        """Load every contact in order of name."""
        contender = self.contender(items)
        self.cold(items)
        seconds = timed(lambda: check(contender.walk() >= items))
        return {"walk": seconds / items}

    def walk_alone(self, items: int) -> Figures:
        """The same; called in a process of its own."""
        return {**self.walk(items), "walk_peak": peak_megabytes()}

    def _place(
        self, contender: Contender, items: int, name: str, place: int, repeat: int
    ) -> Figures:
        offset = min(place, items - PAGE)

        def position() -> None:
            self.check_count(items, contender.position(name), place)

        pages: list[float] = []
        while len(pages) < repeat and sum(pages) < 1:
            contender.forget()
            pages.append(timed(lambda: check(contender.page_at(offset) == PAGE)))
        return {"page": median(pages), "position": often(position, repeat)}
