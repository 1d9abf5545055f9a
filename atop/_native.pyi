from collections.abc import Callable, Iterable
from typing import Any

Maker = tuple[dict[bytes, type[Any]], dict[bytes, Any], type[Any], Any, Any, Any, Any]

def encode_key(value: object, encoders: dict[type, Callable[[Any], bytes]], /) -> bytes | None: ...
def encode_entries(
    prefixes: tuple[bytes, ...],
    values: tuple[Any, ...],
    encoders: dict[type, Callable[[Any], bytes]],
    /,
) -> list[bytes]: ...
def decode_ids(rows: Iterable[tuple[bytes, Any]], /) -> list[int]: ...
def decode_keys(
    rows: Iterable[tuple[bytes, Any]],
    offset: int,
    decode: Callable[[bytes, int], tuple[Any, int]],
    /,
) -> list[Any]: ...
def live_items(bonds: list[Any], /) -> list[Any] | None: ...
def make_item(key: bytes, record: bytes, maker: Maker, /) -> Any: ...
def make_page(
    rows: Iterable[tuple[bytes, bytes | None]],
    maker: Maker,
    build: Callable[[bytes, bytes], Any],
    find: Callable[[bytes], Any],
    /,
) -> tuple[list[Any], list[Any], int]: ...
def simplicity(pickled: bytes, /) -> int: ...
