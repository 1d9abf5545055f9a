"""Whether a pickle may be loaded: looked at before it is, since loading one is running a program.

What our own pickler writes is a small part of what an unpickler obeys, and only that passes.
Nothing is called but classes that may be loaded, with arguments that they cannot grow from; nothing
is changed but what the pickle itself has made; no more is made than its own length allows.

Nearly all records are attributes with plain values: these are recognised by a regular expression,
which takes less time than loading them. The others are walked through (:mod:`atop.walk`).

A value that is recalled from the memo may double how many there seem to be to one who prints them.
So recognised are short pickles where few are, and others where none is that has values in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from atop.native import NATIVE, simplicity
from atop.walk import walk

_SHORT = 1600  # bytes, too few for values nested too deeply
_MOST_CONTAINERS = 400
_MOST_SHARING = 9  # tuples and recalled values: 2**9 * 1600 is less than what is walked through


def checker(find: Callable[[str, str], Any]) -> Callable[[bytes], bool]:
    """A function that raises if a pickle must not be loaded; `find` gives a class by its name.

    It answers whether any unpickler will do, where there is no item nor a class of the program. It
    raises :class:`~atop.errors.DamagedStore`, or what `find` does.
    """

    def check(pickled: bytes) -> bool:
        if _bare().fullmatch(pickled):
            return False
        size = len(pickled)
        in_one_frame = pickled[3:11] == (size - 11).to_bytes(8, "little", signed=True)
        short = in_one_frame and size < _SHORT and _plain().fullmatch(pickled)
        if not short and not (_is_whole(pickled) and _is_plain(pickled)):
            walk(pickled, find)
        return False

    def check_in_c(pickled: bytes) -> bool:
        found = simplicity(pickled)
        return found >= 2 or (found == 0 and check(pickled))

    return check_in_c if NATIVE else check


def _is_whole(pickled: bytes) -> bool:
    """Whether its frame, if it has one, is all the rest: so none ends within an opcode."""
    return pickled[2:3] != b"\x95" or int.from_bytes(pickled[3:11], "little") == len(pickled) - 11


def _is_plain(pickled: bytes) -> bool:
    """Whether it is plain values, with strings of any length among them."""
    at, parts, ended = 0, [], False
    while not ended:
        match = _plain().match(pickled, at)
        assert match is not None
        if at and match[0][:1] == b"\x80":
            return False
        parts.append(match[0])
        at, ended = match.end(), bool(match[1])
        if not ended and pickled[at : at + 1] in (b"X", b"B"):
            at += 5 + int.from_bytes(pickled[at + 1 : at + 5], "little")
            if pickled[at : at + 1] != b"\x94":
                return False
            parts.append(b"C\0\x94")  # one more in the memo
            at += 1
        elif not match[0]:
            return False
    return at == len(pickled) and _is_shallow(b"".join(parts))


def _is_shallow(opcodes: bytes) -> bool:
    """Whether the values are nested as far as printing them can take, and no container twice."""
    shared = map(opcodes.count, (b"h", b"\x85\x94", b"\x86\x94", b"\x87\x94"))
    if len(opcodes) < _SHORT and sum(shared) <= _MOST_SHARING:
        return True
    containers: list[bytes] = []
    for recalled, made in _memo().findall(opcodes):
        if not recalled:
            containers.append(made)
        elif recalled[0] >= len(containers) or containers[recalled[0]]:
            return False
    return len(containers) - containers.count(b"") <= _MOST_CONTAINERS


def _with_length(code: bytes, end: int = 256) -> bytes:
    """A pattern for a code, a byte of length below `end`, and so many bytes."""
    groups = []
    for low in range(0, end, 16):
        each = b"|".join(b"\\x%02x.{%d}" % (size, size) for size in range(low, low + 16))
        groups.append(b"(?=[\\x%02x-\\x%02x])(?:%s)" % (low, low + 15, each))
    return code + b"(?:" + b"|".join(groups) + b")"


def _one_of(*patterns: bytes) -> bytes:
    return b"(?:" + b"|".join(patterns) + b")"


_TEXT = _with_length(rb"\x8c") + rb"\x94"
_SHORT_TEXT = _with_length(rb"\x8c", 32) + rb"\x94"
_BYTES = _with_length(b"C", 32) + rb"\x94"
_INT = _one_of(rb"K.", rb"M..", rb"J.{4}")
_LONG = rb"\x8a" + _one_of(*(b"\\x%02x.{%d}" % (size, size) for size in range(18)))
_NAMES = (b"date", b"datetime", b"timedelta", b"Decimal", b"UUID")
_CLASS = rb"\x93\x94" + _one_of(
    *(rb"(?<=\x8c\x%02x%s\x94\x93\x94)" % (len(name), name) for name in _NAMES)
)
_NAMED = rb"(?:\x8c(?:\x08datetime|\x08zoneinfo)\x94|h.)\x8c%s\x94\x93\x94|h."
_DELTA = _one_of(_NAMED % rb"\x09timedelta") + _INT + rb"{3}\x87\x94R\x94"
_ZONE = _one_of(
    _one_of(_NAMED % rb"\x08ZoneInfo") + _SHORT_TEXT + rb"\x85\x94R\x94",
    _one_of(_NAMED % rb"\x08timezone") + _DELTA + rb"\x85\x94R\x94",
    rb"h.",
)
_CALL = _one_of(
    rb"C\x0a.{10}\x94" + _ZONE + rb"\x86\x94R\x94",
    rb"C(?:\x04.{4}|\x0a.{10})\x94\x85\x94R\x94",
    _SHORT_TEXT + rb"\x85\x94R\x94",
    _INT + rb"{3}\x87\x94R\x94",
    rb"\)\x81\x94}\x94(?:\x8c\x03int\x94|h.)" + _LONG + b"sb",
)
_ONE = _one_of(_SHORT_TEXT, rb"[N\x88\x89]", _INT, rb"G.{8}")
_FREE = _one_of(
    _TEXT,
    rb"[N\x88\x89)]",
    rb"[eu\x90]\(?",
    _one_of(b"h.", _CLASS) + _CALL,
    rb"[\]\x8f]\x94(?:\(|" + _ONE + rb"a)?",
    rb"}\x94(?:\(|" + _ONE + _ONE + rb"s)?",
    _INT + b"(?:" + _INT + rb"\x86\x94Q)?",
    rb"G.{8}",
    _LONG,
    _BYTES,
)
_SHARING = _one_of(
    rb"[\x85-\x87]\x94",
    rb"h.",
    rb"[\]\x8f]\x94h.a",
    rb"}\x94(?:h." + _ONE + b"|" + _ONE + rb"h.)s",
)


@cache  # to compile it takes as long as to import ten modules
def _plain() -> re.Pattern[bytes]:
    """As many opcodes as make plain values."""
    shared = b"(?:%s++(?:%s)?|%s){0,%d}+" % (_FREE, _SHARING, _SHARING, _MOST_SHARING)
    return re.compile(rb"(?:\x80[\4\5](?:\x95.{8})?)?" + shared + rb"(\.)?", re.DOTALL)


@cache
def _bare() -> re.Pattern[bytes]:
    """A dict of attributes with short plain values, with neither frame nor memo: none is shared."""
    text = _with_length(rb"\x8c")
    value = _one_of(text, rb"[N\x88\x89]", _INT, rb"G.{8}", _LONG, _with_length(b"C"))
    pairs = rb"(?:%b%bs|\((?:%b%b)++u)?" % (text, value, text, value)
    return re.compile(rb"\x80\x05}" + pairs + rb"\.", re.DOTALL)


@cache
def _memo() -> re.Pattern[bytes]:
    """Each value that goes into the memo, if it has others in it, or that is recalled from it.

    A call's arguments count as none: they are as few as the class takes.
    """
    skipped = _one_of(
        rb"[^h\x94\]}\x8f\x85-\x87\x8c\x8aCKMJG\x80\x95]",
        _with_length(rb"\x8c"), _with_length(b"C", 32), b"K.", b"M..", b"J.{4}", b"G.{8}",
        _LONG, rb"\x80.", rb"\x95.{8}", rb"[\x85-\x87](?=\x94R)",
    )  # fmt: skip
    return re.compile(skipped + rb"*+(?:h(.)|([\]}\x8f\x85-\x87])?\x94)", re.DOTALL)
