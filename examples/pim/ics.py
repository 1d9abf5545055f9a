"""A calendar file taken to pieces, so that a broken event costs that event alone.

icalendar reads a file whole or not at all when one ``BEGIN`` lacks its ``END``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .text import as_utf8, decode

_FOLD = re.compile(rb"\r\n[ \t]")


@dataclass
class Component:
    """The lines of one component of a calendar, from line ``number`` of the file on.

    Components within it, such as alarms, are left out of its lines; a time zone keeps its own.
    """

    name: str
    number: int
    lines: list[bytes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def source(self) -> bytes:
        return b"\r\n".join(self.lines)

    def text(self) -> str:
        """The component with its lines unfolded: some are folded within a character."""
        text, problem = decode(_FOLD.sub(b"", self.source))
        if problem:
            self.problems.append(problem)
        return text.replace("\n", "\r\n")


def components(data: bytes) -> list[Component]:
    """The events, time zones and the rest of a file, and whatever text stands between them."""
    return list(_Splitter().split(as_utf8(data).splitlines()))


class _Splitter:
    """Keeps the component that is being read, and the names of those that are open within it."""

    def __init__(self) -> None:
        self._component: Component | None = None
        self._within: list[str] = []

    def split(self, lines: list[bytes]) -> Iterator[Component]:
        for number, line in enumerate(lines, start=1):
            word, _, name = line.strip().decode("latin-1").upper().partition(":")
            if word == "BEGIN" and name != "VCALENDAR":
                yield from self._begin(name, number, line)
            elif word == "END":
                yield from self._end(name, line)
            else:
                yield from self._line(number, line)
        yield from self._abandon()

    def _begin(self, name: str, number: int, line: bytes) -> Iterator[Component]:
        if self._component is None or name == "VEVENT":
            yield from self._abandon()
            self._component = Component(name, number, [line])
        else:
            self._within.append(name)
            self._keep_within(line)

    def _end(self, name: str, line: bytes) -> Iterator[Component]:
        component = self._component
        if component and name == component.name:
            component.problems.extend(f"{inner} without END" for inner in self._within)
            component.lines.append(line)
            self._component, self._within = None, []
            yield component
        elif name == "VCALENDAR":
            yield from self._abandon()
        elif name in self._within:
            self._keep_within(line)
            del self._within[self._within.index(name) :]

    def _line(self, number: int, line: bytes) -> Iterator[Component]:
        if not self._within and self._component:
            self._component.lines.append(line)
        elif self._component:
            self._keep_within(line)
        elif line.strip() and b":" not in line and line[:1] not in (b" ", b"\t"):
            yield Component("", number, [line])

    def _keep_within(self, line: bytes) -> None:
        if self._component and self._component.name == "VTIMEZONE":
            self._component.lines.append(line)

    def _abandon(self) -> Iterator[Component]:
        component, self._component, self._within = self._component, None, []
        if component:
            component.problems.append(f"no END:{component.name}")
            component.lines.append(b"END:" + component.name.encode("latin-1"))
            yield component
