"""Ids are given once each, and it is known which."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from atop.engine.ids import Given

STEPS = st.lists(st.sampled_from(["next", "next", "next", "begin", "commit", "abort"]))
BLOCKS = st.lists(st.tuples(st.sampled_from([0, 0, 3]), st.integers(1, 4)), min_size=1)


@given(STEPS, BLOCKS)
def test_runs_are_the_ids_that_were_given_and_not_rolled_back(
    steps: list[str], blocks: list[tuple[int, int]]
) -> None:
    """Blocks of ids come one behind the other, or with a gap, where others have got some."""
    end = taken = 0

    def more() -> tuple[int, int]:
        nonlocal end, taken
        gap, size = blocks[taken % len(blocks)]
        taken, first, end = taken + 1, end + gap, end + gap + size
        return first, end

    open_ones: list[tuple[Given, list[int]]] = [(Given(more, more()), [])]
    for step in steps:
        ids, expected = open_ones[-1]
        if step == "next":
            expected.append(ids.next())
        elif step == "begin":
            open_ones.append((ids.inner(), []))
        elif len(open_ones) > 1:
            open_ones.pop()
            if step == "commit":
                open_ones[-1][0].take(ids)
                open_ones[-1][1].extend(expected)
        ids, expected = open_ones[-1]
        assert [each for first, stop in ids.runs for each in range(first, stop)] == expected
        assert ids.end == max((each + 1 for each in expected), default=0)
        assert len(set(expected)) == len(expected)
