"""A walk through a pickle, opcode by opcode, that makes nothing of it.

It keeps what an unpickler would have on its stack and in its memo, but only the kind of each value:
so it is known of what a class is called, and what is changed, before anything is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from atop.calls import GROWING, STATEFUL, is_standard, may_be_called
from atop.errors import DamagedStore
from atop.weight import DEEPEST, HEAVIEST, Value, is_shown_within

Find = Callable[[str, str], Any]


def walk(pickled: bytes, find: Find) -> None:
    """Raise if `pickled` is not what Atop may have written; `find` gives a class by its name.

    :raises DamagedStore: telling what is wrong, or whatever `find` raises.
    """
    try:
        _Walk(pickled, find).run()
    except (IndexError, UnicodeDecodeError) as error:
        raise DamagedStore("a record's pickle is damaged: run `atopdb verify`") from error


def refuse(what: str) -> NoReturn:
    raise DamagedStore(f"a record has {what}, which Atop does not write: run `atopdb verify`")


_CONSTANTS = {
    code: (Value(kind), size)
    for code, kind, size in (
        (b"N", "v", 0), (b"\x88", "v", 0), (b"\x89", "v", 0), (b"G", "v", 8),
        (b"K", "i", 1), (b"M", "i", 2), (b"J", "i", 4),
    )
}  # fmt: skip
_SIZED = {
    b"\x8c": ("s", 1), b"X": ("s", 4), b"\x8d": ("s", 8), b"C": ("b", 1), b"B": ("b", 4),
    b"\x8e": ("b", 8), b"\x96": ("a", 8), b"\x8a": ("i", 1), b"\x8b": ("i", 4),
}  # fmt: skip
_EMPTY = {b"]": "l", b"}": "d", b"\x8f": "e", b")": "t"}
_SKIPPED = {b"\x80": 1}
_TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
_RECALLS = {b"h": 1, b"j": 4}


class _Walk:
    """One walk; each step answers where the next opcode is."""

    def __init__(self, pickled: bytes, find: Find) -> None:
        self._data = pickled
        self._find = find
        self._stack: list[Value] = []
        self._below: list[list[Value]] = []
        self._memo: list[Value] = []
        self._heaviest = max(HEAVIEST, 8 * len(pickled))
        self._late = False
        self._frame_end = 0

    def run(self) -> None:
        """To the end."""
        data, steps, at = self._data, _STEPS, 0
        while data[at] != _STOP:
            begin, (step, argument) = at, steps[data[at]]
            at = step(self, begin + 1, argument)
            if begin < self._frame_end < at:
                refuse("an opcode across the end of a frame")  # where an unpickler goes astray
        if at + 1 != len(data) or self._below or len(self._stack) != 1:
            refuse("something behind its end")
        if self._late and not is_shown_within(self._stack[0], self._heaviest):
            refuse("values within values that never end")

    def unknown(self, at: int, code: int) -> int:
        refuse(f"the opcode {code:#04x}")

    def constant(self, at: int, argument: tuple[Value, int]) -> int:
        value, size = argument
        self._stack.append(value)
        return at + size

    def sized(self, at: int, argument: tuple[str, int]) -> int:
        kind, digits = argument
        begin = at + digits
        end = begin + int.from_bytes(self._data[at:begin], "little")
        if end >= len(self._data):
            refuse("a length beyond its end")
        self._stack.append(Value(kind, (begin, end)))
        return end

    def empty(self, at: int, kind: str) -> int:
        self._stack.append(Value(kind, [], []))
        return at

    def skip(self, at: int, size: int) -> int:
        return at + size

    def frame(self, at: int, size: int) -> int:
        begin = at + size
        end = begin + int.from_bytes(self._data[at:begin], "little")
        if at <= self._frame_end or end > len(self._data):
            refuse("a frame that is none")
        self._frame_end = end
        return begin

    def mark(self, at: int, _: None) -> int:
        self._below.append(self._stack)
        self._stack = []
        return at

    def memoize(self, at: int, _: None) -> int:
        self._memo.append(self._stack[-1])
        return at

    def recall(self, at: int, size: int) -> int:
        value = self._memo[int.from_bytes(self._data[at : at + size], "little")]
        value.recalled = True
        self._stack.append(value)
        return at + size

    def drop(self, at: int, _: None) -> int:
        self._stack.pop()
        return at

    def drop_marked(self, at: int, _: None) -> int:
        self._marked()
        return at

    def small_tuple(self, at: int, count: int) -> int:
        self._make("t", self._pop(count))
        return at

    def marked(self, at: int, kind: str) -> int:
        self._make(kind, self._marked())
        return at

    def put(self, at: int, argument: tuple[str, int]) -> int:
        """Into a list, dict or set, or what its class makes like one; `count` of 0: all marked."""
        kind, count = argument
        held = self._pop(count) if count else self._marked()
        target = self._stack[-1]
        own = target.kind == "o" and target.held in GROWING[kind]
        if target.kind != kind and not own and not _trusted(target):
            refuse("a change to what it has not made")
        self._grow(target, held)
        return at

    def find(self, at: int, _: None) -> int:
        module, name = self._pop(2)
        if module.kind != "s" or name.kind != "s":
            refuse("a class without a name")
        found = self._find(self._text(module), self._text(name))
        self._stack.append(Value("c", found) if callable(found) else Value("v"))
        return at

    def call(self, at: int, _: None) -> int:
        called, args = self._pop(2)
        if called.kind != "c" or args.kind != "t":
            refuse("a call of what is no class")
        if not may_be_called(called.held, args.held, self._text):
            refuse(f"unusual arguments for {getattr(called.held, '__qualname__', called.held)}")
        self._make("o", [args], called.held)
        return at

    def call_with_names(self, at: int, _: None) -> int:
        called, args, names = self._pop(3)
        if called.kind != "c" or args.kind != "t" or is_standard(called.held):
            refuse("a call of what is no class")
        self._make("o", [args, names], called.held)
        return at

    def build(self, at: int, _: None) -> int:
        (state,) = self._pop(1)
        target = self._stack[-1]
        own = target.kind == "o" and target.held in STATEFUL and state.kind == "d"
        if not own and not _trusted(target):
            refuse("a change to what it has not made")
        self._grow(target, [state])
        return at

    def item(self, at: int, _: None) -> int:
        (reference,) = self._pop(1)
        if reference.kind != "t" or [each.kind for each in reference.held] != ["i", "i"]:
            refuse("a reference that is none")
        self._stack.append(Value("p"))
        return at

    def _pop(self, count: int) -> list[Value]:
        if count > len(self._stack):
            refuse("an opcode without its values")
        popped = self._stack[-count:]
        del self._stack[-count:]
        return popped

    def _marked(self) -> list[Value]:
        marked, self._stack = self._stack, self._below.pop()
        return marked

    def _make(self, kind: str, parts: list[Value], held: Any = None) -> None:
        value = Value(kind, held or parts, parts)
        self._weigh(value, parts)
        self._stack.append(value)

    def _grow(self, target: Value, parts: list[Value]) -> None:
        """What has been recalled may be in others already, which get heavier, too."""
        target.parts += parts
        self._weigh(target, parts)
        self._late = self._late or target.recalled

    def _weigh(self, value: Value, parts: list[Value]) -> None:
        value.weight += sum([each.weight for each in parts])
        if value.weight > self._heaviest:
            refuse("values within values that never end")
        value.depth = max(value.depth, 1 + max([each.depth for each in parts], default=0))
        if value.depth > DEEPEST:
            refuse(f"values nested deeper than {DEEPEST}")

    def _text(self, value: Value) -> str:
        begin, end = value.held
        return self._data[begin:end].decode("utf-8", "surrogatepass")


def _trusted(target: Value) -> bool:
    """Whether it is an object of a class that the program has allowed."""
    return target.kind == "o" and not is_standard(target.held)


_STOP = ord(".")
_STEPS: list[tuple[Callable[[_Walk, int, Any], int], Any]] = [
    (_Walk.unknown, code) for code in range(256)
]
for _step, _codes in (
    (_Walk.constant, _CONSTANTS),
    (_Walk.sized, _SIZED),
    (_Walk.empty, _EMPTY),
    (_Walk.skip, _SKIPPED),
    (_Walk.frame, {b"\x95": 8}),
    (_Walk.small_tuple, _TUPLES),
    (_Walk.recall, _RECALLS),
    (_Walk.marked, {b"t": "t", b"\x91": "f"}),
    (_Walk.put, {b"a": ("l", 1), b"e": ("l", 0), b"s": ("d", 2), b"u": ("d", 0),
                 b"\x90": ("e", 0)}),
    (_Walk.call, {b"R": None, b"\x81": None}),
    (_Walk.mark, {b"(": None}),
    (_Walk.memoize, {b"\x94": None}),
    (_Walk.drop, {b"0": None}),
    (_Walk.drop_marked, {b"1": None}),
    (_Walk.find, {b"\x93": None}),
    (_Walk.call_with_names, {b"\x92": None}),
    (_Walk.build, {b"b": None}),
    (_Walk.item, {b"Q": None}),
):  # fmt: skip
    for _code, _argument in _codes.items():
        _STEPS[_code[0]] = _step, _argument
