"""What fuzzing has found stays found, and a few seconds of new bytes are tried each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS

CASES = Path(__file__).parent / "fuzz" / "cases"
EXAMPLES = {
    "records": 250, "dumps": 150, "keys": 200, "frames": 150, "lines": 80, "arguments": 30,
    "serve": 12, "browse": 8, "shell": 20, "key": 10, "encrypt": 10, "salvage": 8,
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_what_made_it_fail_once_does_not_any_more(name: str) -> None:
    for data in (*SEEDS[name], *(case.read_bytes() for case in sorted((CASES / name).glob("*")))):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_that_were_changed_are_read_or_refused(name: str) -> None:
    edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8)),
                     min_size=1, max_size=4)  # fmt: skip

    @settings(max_examples=EXAMPLES[name], derandomize=True)
    @given(st.sampled_from(SEEDS[name]), edits)
    def change(data: bytes, changes: list[tuple[float, int, bytes]]) -> None:
        for place, dropped, put in changes:
            at = round(place * len(data))
            data = data[:at] + put + data[at + dropped :]
        TARGETS[name](data)

    change()
