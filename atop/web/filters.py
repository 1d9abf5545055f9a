"""Filters: whether an item has what is asked for in one of its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from atop.errors import ValueRefused
from atop.keytext import parse, type_of
from atop.web.asjson import dumped, jsonable, scalar
from atop.web.asked import Filter
from atop.web.cells import EMPTY, Cell
from atop.web.moment import Moment, PoolSeen, Reference, Seen
from atop.web.table import value_of

Matches = Callable[[Seen], bool]
_LISTS = (list, set, frozenset)
_CONTAINERS = (*_LISTS, tuple, dict)
_NOTHING: tuple[Any, ...] = (None, "", b"", [], (), {}, set(), frozenset())


def matcher(filters: Sequence[Filter], pool: PoolSeen, moment: Moment) -> Matches:
    """A function that tells whether an item has all that is asked for."""
    tests = [(each.column, _test(each, moment)) for each in filters]

    def matches(seen: Seen) -> bool:
        return all(test(value_of(seen, column, pool)) for column, test in tests)

    return matches


def wanted(text: str) -> list[str]:
    """What ``in`` lists, separated by commas."""
    return [each.strip() for each in text.split(",") if each.strip()]


def _test(asked: Filter, moment: Moment) -> Callable[[Any], bool]:
    if asked.kind == "empty":
        return _is_empty
    if asked.kind == "filled":
        return lambda value: not _is_empty(value)
    if asked.kind == "contains":
        part = asked.text.casefold()
        return lambda value: _contains(value, part, moment)
    texts = wanted(asked.text) if asked.kind == "in" else [asked.text]
    if asked.kind == "not":
        return lambda value: not any(_is(value, text, moment) for text in texts)
    return lambda value: any(_is(value, text, moment) for text in texts)


def _is_empty(value: Any) -> bool:
    return isinstance(value, Cell) or any(value == each and type(value) is type(each)
                                          for each in _NOTHING)


def _contains(value: Any, part: str, moment: Moment) -> bool:
    if isinstance(value, str):
        return part in value.casefold()
    if isinstance(value, _CONTAINERS) and not isinstance(value, Reference):
        return any(_contains(each, part, moment) for each in _leaves(value, _CONTAINERS))
    return not isinstance(value, Cell) and part in _text(value, moment).casefold()


def _is(value: Any, text: str, moment: Moment) -> bool:
    """Whether the value is what was typed, read as a value of its type; or one of its parts is."""
    if isinstance(value, str):
        return value == text
    if value is EMPTY or value is None:
        return text in {"", "None"}
    if isinstance(value, Reference):
        return text in {str(value.id), _text(value, moment)}
    if isinstance(value, bool):
        return text.casefold() == str(value).casefold()
    if isinstance(value, _LISTS):
        return any(_is(each, text, moment) for each in _leaves(value, _LISTS))
    try:
        return bool(parse(text, type_of(value), value) == value)
    except (ValueRefused, KeyError):
        return text == _text(value, moment)


def _leaves(value: Any, kinds: tuple[Any, ...]) -> Iterator[Any]:
    """What is in a container and the containers in it, each of which is looked into once."""
    left, known = [value], set[int]()
    while left:
        each: Any = left.pop()
        if not isinstance(each, kinds) or isinstance(each, Reference):
            yield each
        elif id(each) not in known:
            known.add(id(each))
            left += reversed([*each, *(each.values() if isinstance(each, dict) else ())])


def _text(value: Any, moment: Moment) -> str:
    if isinstance(value, Reference):
        return f"{moment.class_name(value.class_number)} {value.id}"
    return dumped(jsonable(value)) if isinstance(value, _CONTAINERS) else scalar(value)
