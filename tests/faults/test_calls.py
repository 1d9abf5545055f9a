"""System calls that fail under a whole life of a store: a sample of what `make faults` tries."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import failing
from tests.faults.__main__ import KINDS, cases
from tests.faults.failing import Case


@pytest.fixture(scope="module", autouse=True)
def strace() -> None:
    why = failing.missing()
    if why:
        pytest.skip(why)


@pytest.mark.parametrize("case", [
    Case("fdatasync", "EIO", "22+"),
    Case("write", "ENOSPC", "4+"),
    Case("pwrite64", "EROFS", "41+"),
    Case("rename", "EIO", "3"),
], ids=" ".join)
def test_a_call_that_fails_loses_nothing_and_the_same_store_goes_on(
    case: Case, tmp_path: Path
) -> None:
    outcome = failing.run(case, tmp_path)
    assert not outcome.wrong, outcome.wrong
    assert sum(outcome.told["refused"].values()), "the call did not fail where it mattered"


def test_the_whole_sweep_tries_each_kind_of_call_once_and_for_good() -> None:
    found = list(cases(10_000))
    for call, error, _ in KINDS:
        whens = [case.when for case in found if case[:2] == (call, error)]
        assert {"1", "1+"} <= set(whens)
        assert len(whens) >= 8
