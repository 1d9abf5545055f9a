"""What was measured: samples by figure and contender, and what they say beside each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import median, quantiles


class Table:
    """Samples, one a round, of each figure of each contender."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, contender: str, figures: Mapping[str, float]) -> None:
        """What one round gave."""
        for figure, value in figures.items():
            self._samples[contender, figure].append(value)

    def samples(self, contender: str, figure: str) -> list[float]:
        """One sample for each round; empty where there is no such thing."""
        return self._samples.get((contender, figure), [])

    def ratio(self, one: tuple[str, str], other: tuple[str, str]) -> float | None:
        """`one` divided by `other`, each contender and figure: the median over rounds.

        Where one has fewer samples it is the ratio of the medians.
        """
        above, below = self.samples(*one), self.samples(*other)
        if above and below and len(above) != len(below):
            above, below = [median(above)], [median(below)]
        pairs = zip(above, below, strict=False)
        ratios = [dividend / divisor for dividend, divisor in pairs if divisor]
        return median(ratios) if ratios else None


def spread(samples: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    if len(samples) == 1:
        return samples[0], samples[0], samples[0]
    low, middle, high = quantiles(samples, method="inclusive")
    return low, middle, high
