"""What is measured, of which sizes, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

SMALL, MIDDLE, LARGE = "small", "middle", "large"


@dataclass(frozen=True)
class Sizes:
    """Three sizes of collections, how many rounds count, how often things are done in each.

    What has taken a contender longer than ``patience`` seconds at the largest size is not done
    again.
    """

    small: int
    middle: int
    large: int
    rounds: int
    repeat: int
    threads: int = 8
    log_megabytes: int = 100
    patience: float = 15

    @classmethod
    def around(cls, items: int, rounds: int) -> Sizes:
        """For bulk inserts of `items` in each round."""
        return cls(
            items // 10, items, items * 10, rounds, max(3, min(30, items // 1000)),
            log_megabytes=max(1, min(100, items // 1000)),
        )  # fmt: skip

    def all(self) -> dict[str, int]:
        """The sizes by name."""
        return {SMALL: self.small, MIDDLE: self.middle, LARGE: self.large}


class Measure(NamedTuple):
    """A method of the workbench, and what it is called with."""

    name: str
    size: str
    args: dict[str, Any]


def measures(sizes: Sizes) -> Iterator[Measure]:
    """One round. The first measure of a size makes the collection for the others."""
    for size, items in sizes.all().items():
        for name, args in _of_size(size, sizes):
            yield Measure(name, size, {"items": items, **args})


def _of_size(size: str, sizes: Sizes) -> Iterator[tuple[str, dict[str, Any]]]:
    repeat = sizes.repeat
    if size != LARGE:  # it is there already
        if size == MIDDLE:
            yield "bulk_objects", {}
        yield "bulk", {}
    yield "get", {"count": 70 * repeat}
    yield "pages", {"count": 3 * repeat}
    yield "page_at_90", {"repeat": repeat // 3}
    yield "between", {"repeat": repeat // 3}
    yield "places", {"repeat": repeat // 3}
    yield "ids", {}
    yield "keys", {}
    yield "update_one", {"repeat": repeat}
    yield "update_many", {}
    yield "delete", {}
    yield "durable", {"repeat": repeat}
    if size == MIDDLE:
        yield "crowd", {"threads": sizes.threads, "count": repeat}
        yield "commits", {"count": 20 * repeat}
    if size != LARGE:
        yield "walk", {}
        yield "index", {"drop": True}
