"""Thirty seconds of torture: processes are killed at every step, and nothing is lost.

``make torture`` does it for longer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.points import CLOSING, ENDS, OPENING, POINTS, Point

ROOT = Path(__file__).parent.parent
_MOST = 240


@pytest.mark.parametrize("point", POINTS, ids=[point.name for point in POINTS])
def test_each_fail_point_is_a_step_that_there_is(point: Point) -> None:
    assert callable(point.find()[2])


def test_the_names_of_fail_points_are_their_own() -> None:
    assert len({name for _, name in ENDS}) == len(ENDS)
    assert len({point.target for point in POINTS}) == len(POINTS)


@pytest.mark.skipif(sys.platform != "linux", reason="it needs prctl")
def test_thirty_seconds_of_torture(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", "--minutes", "0.5", "--json", figures,
         "--folder", tmp_path / "torture"],
        cwd=ROOT, capture_output=True, text=True, timeout=_MOST,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text())
    assert (found["lost_commits"], found["broken"], found["hangs"]) == (0, 0, 0)
    assert found["killed"] > 10, "so few kills show nothing"
    assert found["commits"] > 100, "so few commits show nothing"
    assert found["compared"] > 100, "the journal has been compared with the store"
    assert found["recoveries"], "no owner was killed"
    assert len(found["at_points"]) > 5, "so few fail points have killed anybody"
    never = [name for point, name in ENDS
             if point.where in (OPENING, CLOSING) and point.after and not found["passes"][name]
             and point.name not in _RARE]
    assert not never, f"nobody came to these fail points: {never}"


_RARE = {"pass.in doubt"}
