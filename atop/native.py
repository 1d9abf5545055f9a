"""Inner loops that are written in C too (``_native.c``), and give the same answers in Python.

C does what is common, and hands what is rare or wrong back to Python, by what is passed to it.
Without a compiled module, or with ``ATOP_NATIVE=0`` in the environment, there is only Python.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from typing import Any, cast

__all__ = ["NATIVE", "decode_ids", "decode_keys", "encode_entries", "encode_key", "encode_plain",
           "join_entries", "live_items", "make_item", "make_page", "simplicity", "split_entries"]

_LENGTH, _LONG, _LONG_LENGTH = struct.Struct(">H"), 0xFFFF, struct.Struct(">I")
_HEADER = struct.Struct(">IHI")
_CONSTANTS: dict[object, bytes] = {None: b"N", True: b"\x88", False: b"\x89"}

Encoders = dict[type, Callable[[Any], bytes]]
Maker = tuple[dict[bytes, type[Any]], dict[bytes, Any], type[Any], Any, Any, Any, Any]
"""What an item is made with: classes by what their records begin with, bonds by id; the class of a
bond, what is called when its item goes, and its session; the slots of an item for bond and dict."""

try:
    if os.environ.get("ATOP_NATIVE") == "0":
        raise ImportError("switched off")
    from atop._native import (
        decode_ids,
        decode_keys,
        encode_entries,
        encode_key,
        encode_plain,
        join_entries,
        live_items,
        make_item,
        make_page,
        simplicity,
        split_entries,
    )

    NATIVE = True
except ImportError:
    NATIVE = False

    def encode_key(value: object, encoders: Encoders, /) -> bytes | None:
        """A key's bytes, or None if there is no encoder for its exact type."""
        encoder = encoders.get(type(value))
        return None if encoder is None else encoder(value)

    def encode_entries(
        prefixes: tuple[bytes, ...], values: tuple[Any, ...], encoders: Encoders, /
    ) -> list[bytes]:
        """Each prefix with its value's bytes; KeyError if its exact type has no encoder."""
        return [
            prefix + encoders[type(value)](value)
            for prefix, value in zip(prefixes, values, strict=True)
        ]

    def decode_ids(rows: Iterable[bytes], /) -> list[int]:
        """The ids that rows of the index end in."""
        return [int.from_bytes(row[-8:], "big") for row in rows]

    def decode_keys(
        rows: Iterable[bytes],
        offset: int,
        decode: Callable[[bytes, int], tuple[Any, int]],
        /,
    ) -> list[Any]:
        """The keys that begin at `offset` of rows of the index."""
        return [decode(row, offset)[0] for row in rows]

    def join_entries(entries: Iterable[bytes], /) -> bytes:
        """The index entries of a record, each with its length before it."""
        return b"".join([
            _LENGTH.pack(len(entry)) + entry
            if len(entry) < _LONG
            else _LENGTH.pack(_LONG) + _LONG_LENGTH.pack(len(entry)) + entry
            for entry in entries
        ])

    def split_entries(record: bytes, start: int, end: int, /) -> list[bytes] | None:
        """The entries that stand there in a record; None if they do not end where they should."""
        entries = []
        while start < end <= len(record):
            length = int.from_bytes(record[start : start + _LENGTH.size], "big")
            start += _LENGTH.size
            if length == _LONG:
                length = int.from_bytes(record[start : start + _LONG_LENGTH.size], "big")
                start += _LONG_LENGTH.size
            entries.append(record[start : start + length])
            start += length
        return entries if start == end <= len(record) else None

    def encode_plain(
        number: int, version: int, state: dict[str, Any], entries: Iterable[bytes], /
    ) -> bytes | None:
        """The record of an item, of the class of that number, that has plain values only.

        None for any other state. The pickle is as any pickler writes it, but for the memo and the
        frame, which only what is shared or long has use for.
        """
        parts = [_plain(value) for pair in state.items() for value in pair]
        if None in parts or any(type(name) is not str for name in state):
            return None
        values = b"".join(parts)
        if len(state) > 1:
            values = b"(%bu" % values
        elif state:
            values += b"s"
        listed = join_entries(entries)
        return b"%b%b\x80\x05}%b." % (_HEADER.pack(number, version, len(listed)), listed, values)

    def _plain(value: object) -> Any:
        """A value as a pickle has it; None if it has to be pickled."""
        kind = type(value)
        if kind is int:
            return _plain_integer(cast("int", value))
        if kind is float:
            return b"G" + struct.pack(">d", value)
        if kind is str or kind is bytes:
            try:
                data = value if isinstance(value, bytes) else str(value).encode()
            except UnicodeEncodeError:  # a lone surrogate
                return None
            return _sized(b"\x8cX" if kind is str else b"CB", data)
        return _CONSTANTS.get(value) if kind is bool or value is None else None

    def _sized(codes: bytes, data: bytes) -> bytes | None:
        if len(data) > 0xFF:
            short = len(data) <= 0xFFFFFFFF
            return codes[1:] + len(data).to_bytes(4, "little") + data if short else None
        return codes[:1] + bytes((len(data),)) + data

    def _plain_integer(number: int) -> bytes | None:
        if 0 <= number <= 0xFFFF:
            return b"K%c" % number if number <= 0xFF else b"M" + number.to_bytes(2, "little")
        if -1 << 31 <= number < 1 << 31:
            return b"J" + number.to_bytes(4, "little", signed=True)
        size = (~number if number < 0 else number).bit_length() // 8 + 1
        if size > 8:
            return None
        return b"\x8a%c%b" % (size, number.to_bytes(size, "little", signed=True))

    def live_items(bonds: list[Any], /) -> list[Any] | None:
        """The items of these bonds; None if one of them is gone."""
        items = [bond() for bond in bonds]
        return None if any(item is None for item in items) else items

    def make_item(key: bytes, record: bytes, maker: Maker, /) -> Any:
        """The item that a plain record makes, bound to that id; None for any other record."""
        return None

    def make_page(
        rows: Iterable[tuple[bytes, bytes | None]],
        maker: Maker,
        build: Callable[[bytes, bytes], Any],
        find: Callable[[bytes], Any],
        /,
    ) -> tuple[list[Any], list[Any], int]:
        """The items of rows of an index, each with the record of its item, or None if that is
        known; those of them that :func:`make_item` has made, and how many bytes their records had.
        """
        items = []
        for key, record in rows:
            bond = maker[1].get(key[-8:])
            item = None if bond is None else bond()
            if item is None:
                item = find(key) if record is None else build(key[-8:], record)
            items.append(item)
        return items, [], 0

    def simplicity(pickled: bytes, /) -> int:
        """0 for a pickle to be looked at more closely, 1 for one of plain values and items, 2 for
        one of plain values, 3 for a dict of plain values that cannot change.
        """
        return 0
