"""Rows of the table ``commits``: what goes in comes out, and damage is told."""

from __future__ import annotations

import random
import re
import zlib
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from atop.engine import history
from atop.engine.base import (
    CATALOG,
    INDEX,
    ITEMS,
    TABLES,
    BeforeImage,
    Changes,
    Delta,
    State,
)
from atop.engine.history import (
    HEADER,
    Image,
    decode_delta,
    decode_since,
    decode_state,
    encode,
    encode_image,
)
from atop.errors import DamagedStore, SnapshotTooOld
from tests.engine.steps import ROOT
from tests.nativeless import python_only

MAX_SERIAL = 2**63 - 1
KEYS = st.binary(max_size=20)
IMAGES = st.lists(
    st.tuples(KEYS, st.none() | st.binary(max_size=40), st.booleans()).filter(
        lambda image: image[1] is not None or image[2]
    ),
    max_size=6,
    unique_by=lambda image: image[0],
)
COUNTS = st.integers(0, MAX_SERIAL)
STATES = st.builds(
    State,
    serial=st.integers(1, MAX_SERIAL),
    next_id=COUNTS,
    counts=st.fixed_dictionaries(dict.fromkeys(TABLES, COUNTS)),
    token=st.binary(min_size=16, max_size=16),
    time=st.integers(-(10**15), 10**15).map(lambda number: number / 1e6),
)

STATE = State(2, 5, {CATALOG: 1, INDEX: 2, ITEMS: 3}, bytes(range(16)), 1.5)


def in_columns(images: dict[str, list[BeforeImage]]) -> dict[str, Image]:
    """Before-images as a commit has them."""
    return {
        name: Image(
            Changes.of([
                (key, b"" if exists else None, before is not None)
                for key, before, exists in rows
            ]),
            {key: before for key, before, _ in rows if before is not None},
        )
        for name, rows in images.items()
    }


ROW = encode(
    STATE,
    "moved",
    in_columns({
        INDEX: [(b"k1", None, True), (b"k2", b"", False)],
        ITEMS: [(b"\x00\x07", b"old", True)],
    }),
    100,
)[0]


@given(STATES, st.text(), st.dictionaries(st.sampled_from(TABLES), IMAGES), COUNTS)
def test_what_goes_in_comes_out(
    state: State, note: str, images: dict[str, list[BeforeImage]], before: int
) -> None:
    row, total = encode(state, note, in_columns(images), before)
    assert decode_state(state.serial, row) == (state, total)
    assert total == before + len(row)
    delta = decode_delta(state.serial, row)
    assert delta.serial == state.serial
    assert delta.before == {name: images.get(name, []) for name in TABLES}


@given(st.dictionaries(st.sampled_from(TABLES), IMAGES), st.sets(st.sampled_from(TABLES)))
def test_tables_that_are_not_kept_are_left_out(
    images: dict[str, list[BeforeImage]], gone: set[str]
) -> None:
    row, _ = encode(STATE, "", {**in_columns(images), **dict.fromkeys(gone)}, 0)
    delta = decode_delta(2, row)
    assert delta.before == {name: images.get(name, []) for name in TABLES if name not in gone}
    assert decode_since(1, [(2, row)]) == [Delta(2, None) if gone else delta]


@given(IMAGES)
def test_an_image_is_the_same_in_c_and_in_python(images: list[BeforeImage]) -> None:
    in_python = python_only(history).encode_image
    changes, before = in_columns({ITEMS: images})[ITEMS]
    assert encode_image(changes.keys, changes.pairs, before) == in_python(
        changes.keys, changes.pairs, before
    )


@pytest.mark.skipif(
    encode_image.__module__ == history.__name__, reason="the C module is not built"
)
@pytest.mark.parametrize("wrong", [
    ([b"k"], [], {}),
    ([b"k"], [(b"v", False)], None),
    ((b"k",), ((b"v", False),), {}),
    (["k"], [(b"v", False)], {}),
    ([b"k"], [b"v"], {}),
    ([b"k"], [(b"v",)], {}),
    ([b"k"], [(b"v", 1)], {}),
    ([b"k"], [(b"v", True)], {b"k": "old"}),
])
def test_an_image_of_anything_else_is_refused_in_c(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"lists|bytes"):
        encode_image(*wrong)


def test_the_header_alone_is_enough_for_the_state() -> None:
    assert decode_state(2, ROW[: HEADER.size]) == (STATE, 100 + len(ROW))


@pytest.mark.parametrize("images", [None, {ITEMS: [(b"k", b"x" * 2000, True)]}])
def test_what_is_unknown_or_too_large_is_not_kept(
    images: dict[str, list[BeforeImage]] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "KEPT_BYTES", 1000)
    row, _ = encode(STATE, "", None if images is None else in_columns(images), 0)
    assert len(row) == HEADER.size
    assert decode_delta(2, row).before is None
    assert decode_state(2, row) == (STATE, HEADER.size)


LARGE: dict[str, list[BeforeImage]] = {
    name: [(b"%07d" % at, b"old", True) for at in range(9000)] for name in TABLES
}


def test_a_large_row_is_deflated_and_counts_as_it_was() -> None:
    row, total = encode(STATE, "moved", in_columns(LARGE), 100)
    assert len(row) < total // 5
    assert total - 100 > sum(len(rows) * len(b"0000000old") for rows in LARGE.values())
    assert decode_state(2, row) == (STATE, total)
    assert decode_delta(2, row).before == LARGE


def test_a_large_row_that_would_not_get_smaller_is_left_as_it_is() -> None:
    photo: BeforeImage = (b"photo", random.Random(1).randbytes(100_000), True)
    images = {**LARGE, ITEMS: [photo]}
    row, total = encode(STATE, "", in_columns(images), 0)
    assert len(row) == total
    assert decode_delta(2, row).before == images


def test_a_deflated_row_that_was_cut_or_goes_on_is_told_as_damaged() -> None:
    row, _ = encode(STATE, "", in_columns(LARGE), 0)
    for damaged in (row[:-1], row[:-5], row[: HEADER.size], row + b"\0"):
        with pytest.raises(DamagedStore, match="commit 2"):
            decode_delta(2, damaged)


def test_the_largest_row_that_is_kept_comes_back() -> None:
    head = len(encode(STATE, "", in_columns({ITEMS: [(b"k", b"", True)]}), 0)[0]) - HEADER.size
    value = bytes((64 << 20) - head)
    row, _ = encode(STATE, "", in_columns({ITEMS: [(b"k", value, True)]}), 0)
    before = decode_delta(2, row).before
    assert before is not None
    assert before[ITEMS] == [(b"k", value, True)]
    larger, _ = encode(STATE, "", in_columns({ITEMS: [(b"k", value + b"x", True)]}), 0)
    assert decode_delta(2, larger).before is None


def test_a_row_that_would_inflate_beyond_bounds_is_told_as_damaged() -> None:
    row, _ = encode(STATE, "", in_columns(LARGE), 0)
    bomb = row[: HEADER.size] + zlib.compress(bytes(65 << 20), 9)
    with pytest.raises(DamagedStore, match="commit 2"):
        decode_delta(2, bomb)


def test_every_row_that_was_cut_is_told_as_damaged() -> None:
    for length in range(len(ROW)):
        with pytest.raises(DamagedStore, match="commit 2"):
            decode_delta(2, ROW[:length])


def test_a_row_that_is_too_long_is_told_as_damaged() -> None:
    with pytest.raises(DamagedStore):
        decode_delta(2, ROW + b"\0")


def test_a_damaged_row_never_raises_anything_but_damaged() -> None:
    chance = random.Random(2)
    told = 0
    for _ in range(5000):
        row = bytearray(ROW)
        for _ in range(chance.randint(1, 3)):
            row[chance.randrange(len(row))] = chance.randrange(256)
        try:
            decode_delta(2, bytes(row))
        except DamagedStore:
            told += 1
    assert told > 1000, "most damage to lengths and counts is found"


@pytest.mark.parametrize("length", range(0, HEADER.size, 7))
def test_a_header_that_was_cut_is_told_as_damaged(length: int) -> None:
    with pytest.raises(DamagedStore, match="commit 9"):
        decode_state(9, ROW[:length])


def test_commits_that_are_gone_are_missed() -> None:
    row, _ = encode(STATE, "", {}, 0)
    assert [delta.serial for delta in decode_since(3, [(4, row), (5, row)])] == [4, 5]
    assert decode_since(3, []) == []
    with pytest.raises(SnapshotTooOld, match="the first kept is 6"):
        decode_since(3, [(6, row)])


def test_the_vector_in_the_documentation_is_what_is_written() -> None:
    text = (ROOT / "doc" / "format.rst").read_text()
    section = re.split(r"\n[=~-]{3,}\n", text[text.index("The table commits\n") :])[1]
    lines = re.findall(r"^    ([0-9a-f ]+?)(?:  .*)?$", section, re.MULTILINE)
    assert bytes.fromhex("".join(lines)) == ROW
