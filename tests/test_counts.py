"""Operations take no more calls, syncs and memory than they did: ``make bench-quick`` counts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.counts import BOUNDS, SMALL, Bounds, Count, count
from benchmarks.rounds import ROOT


@pytest.fixture(scope="module")
def counts() -> dict[str, Count]:
    """What each operation takes."""
    return count(SMALL)


@pytest.mark.parametrize("name", BOUNDS)
def test_an_operation_takes_no_more_than_it_may(counts: dict[str, Count], name: str) -> None:
    assert counts[name].within(BOUNDS[name]), (counts[name], BOUNDS[name])


def test_what_takes_more_is_told(counts: dict[str, Count]) -> None:
    assert not counts["get by id, cold"].within(Bounds(0))
    assert not counts["durable insert of one"].within(Bounds(9, 0))
    assert not counts["get by id, cold"].within(Bounds(9, blocks=1))


def test_the_whole_table_is_printed() -> None:
    done = subprocess.run([sys.executable, "benchmarks/counts.py"], capture_output=True,
                          text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in BOUNDS:
        assert name in done.stdout
