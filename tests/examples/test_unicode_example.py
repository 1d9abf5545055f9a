"""The characters of Unicode in a pool: every one, by each index."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from atop import Pool, Store
from examples.unicode import fill, main, named_characters

STOP = 0x2000


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with Store(tmp_path / "unicode.atop", durable=False) as store:
        yield fill(store, named_characters(STOP))


def test_every_character_with_a_name_is_there(pool: Pool) -> None:
    named = [chr(at) for at in range(STOP) if unicodedata.name(chr(at), None)]
    assert [chr(each.code_point) for each in pool.queryIndex("code_point")] == named


def test_names_by_prefix_and_range(pool: Pool) -> None:
    greek = pool.queryIndex("name", prefix="GREEK SMALL")
    assert len(greek) > 100
    assert all(each.name.startswith("GREEK SMALL") for each in greek)
    both = pool.queryIndex("name", startKey="DIGIT ONE", endKey="DIGIT SIX")
    assert "".join(chr(each.code_point) for each in both) == "176"


def test_currency_signs_by_category_and_name(pool: Pool) -> None:
    signs = [each.name for each in pool.queryIndex("category_name", prefix=("Sc",))]
    assert signs == sorted(signs)
    assert "YEN SIGN" in signs


def test_filling_a_full_pool_adds_nothing(pool: Pool) -> None:
    count = len(pool)
    assert pool.store is not None
    assert len(fill(pool.store, named_characters(STOP))) == count


def test_the_tables_can_be_shown(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.unicode.named_characters", lambda: named_characters(STOP))
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0, result.output
    assert 'Names that begin with "GREEK SMALL"' in result.output
    assert "Each category" in result.output
