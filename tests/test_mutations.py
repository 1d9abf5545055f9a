"""The parts whose absence tests have to notice are there to be taken out."""

from __future__ import annotations

import pytest

from tests.mutations import PARTS, ROOT


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_once_where_it_is_looked_for(name: str) -> None:
    part = PARTS[name]
    assert (ROOT / part.file).read_text("utf-8").count(part.text) == 1
    assert part.text != part.instead
    for test in part.tests:
        assert (ROOT / test).exists()
