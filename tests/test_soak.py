"""The soak runs for a moment, counts what it should, and its verdict tells level from growing."""

from __future__ import annotations

import pytest

from tests.soak.running import soak
from tests.soak.sampling import SLACK, Series


def test_a_short_soak_counts_and_needs_no_more_descriptors_and_threads() -> None:
    result = soak(12)
    assert not result.failed, result.failed
    for name in ("client 1", "client 2", "tls client"):
        assert result.done[name]["written"] > 0
        assert result.done[name]["snapshots"] > 0
    figures = {(each.name, each.figure): each for each in result.series}
    for name in ("server", "client 1", "client 2", "tls client"):
        assert figures[name, "memory"].thirds[2] > 1 << 20
        for figure in ("descriptors", "threads"):
            series = figures[name, figure]
            assert series.thirds[2] > 0
            assert series.level, f"{figure} of the {name} grow: {series.points}"
    for figure in ("log", "tables", "files"):
        assert max(value for _, value in figures["store", figure].points) > 0


@pytest.mark.parametrize("figure", sorted(SLACK))
def test_what_grows_is_told_from_what_levels_off(figure: str) -> None:
    much = 20 * SLACK[figure]
    growing = Series("it", figure, [(at, much * at / 99) for at in range(100)])
    rising = Series("it", figure, [(at, much * min(1, at / 30)) for at in range(100)])
    saw = Series("it", figure, [(at, much * (at % 9) / 9) for at in range(100)])
    assert not growing.level
    assert rising.level
    assert saw.level
    assert growing.growth == pytest.approx(3600 * much / 99)
