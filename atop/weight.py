"""How many values one meets who looks at a value with all that is in it, and how deep he gets.

Lists that hold the same list twice, and so on, are few values in memory, and very many to one who
prints them. Only what is within itself is met no second time, as ``repr`` has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

DEEPEST = 400
HEAVIEST = 10**6


class Value:
    """What would be on the stack of an unpickler.

    Kinds are ``i`` int, ``v`` another constant, ``s`` str, ``b`` bytes, ``a`` bytearray, ``l``
    list, ``d`` dict, ``e`` set, ``f`` frozenset, ``t`` tuple, ``c`` class, ``o`` an object made by
    one, ``p`` an item. `held` are the elements of a tuple, the class of an object or where in the
    pickle a string is. `weight` and `depth` are right while nothing grows that has been recalled.
    """

    __slots__ = ("depth", "held", "kind", "parts", "recalled", "weight")

    def __init__(self, kind: str, held: Any = None, parts: Any = ()) -> None:
        self.kind = kind
        self.held = held
        self.parts = parts
        self.recalled = False
        self.depth = 0
        self.weight = 1


def is_shown_within(value: Value, most: int) -> bool:
    """Whether one meets at most so many values in it, none too deep, where some are in themselves.

    It goes from one to the next, however often, so it takes as long as printing them.
    """
    path: list[Value] = []
    above: set[int] = set()
    ahead: list[Iterator[Value]] = [iter((value,))]
    while ahead:
        each = next(ahead[-1], None)
        if each is None:
            ahead.pop()
            if path:
                above.discard(id(path.pop()))
            continue
        most -= 1
        if most < 0 or len(path) > DEEPEST:
            return False
        if each.parts and id(each) not in above:
            above.add(id(each))
            path.append(each)
            ahead.append(iter(each.parts))
    return True
