"""The bytes of records are those that doc/format.rst specifies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from atop.errors import DamagedStore
from atop.index import entry_prefix
from atop.keys import encode
from atop.native import encode_plain
from atop.records import Allowed, decode_entries, decode_header, encode_record, loader

DOCUMENT = Path(__file__).resolve().parent.parent / "doc" / "format.rst"


def documented_record() -> bytes:
    text = DOCUMENT.read_text("utf-8").partition("\nRecords\n-------\n")[2]
    block = text.partition("::\n\n")[2].partition("\n\n")[0]
    return bytes.fromhex("".join(re.findall(r"^    ([0-9a-f]+) ", block, re.MULTILINE)))


def no_reference(item: Any) -> Any:
    raise AssertionError(item)


def test_a_record_is_what_the_document_shows() -> None:
    entry = entry_prefix((5).to_bytes(8, "big"), 2) + encode("AN")
    record = encode_plain(2, 3, {"name": "Bob"}, [entry])
    assert record == documented_record()
    number, version, at = decode_header(record)
    assert (number, version) == (2, 3)
    assert decode_entries(record) == {entry}
    assert loader(Allowed(), no_reference)(record[at:]) == {"name": "Bob"}


def test_a_long_entry_comes_back() -> None:
    entries = [b"x" * 0xFFFF, b"y" * 70_000, b"z" * 0xFFFE, b""]
    assert decode_entries(encode_record(1, 1, b"pickle", entries)) == set(entries)


@pytest.mark.parametrize("length", range(len(documented_record()) - 16))
def test_a_record_that_is_cut_short_is_damaged(length: int) -> None:
    with pytest.raises(DamagedStore):
        decode_entries(documented_record()[:length])
