"""vCards of any version and charset, taken to pieces and put together as clean 3.0 for vobject.

vobject gives up a whole card for one bad line, cuts text at a comma that is not escaped, and does
not know 2.1's charsets and soft line breaks. Here a line that cannot be read costs that line alone.
"""

from __future__ import annotations

import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .text import as_utf8, decode

_HEAD = re.compile(rb'((?:"[^"]*"|[^":])*):(.*)', re.DOTALL)
_NAME = re.compile(r"(?:[A-Za-z0-9_-]+\.)?([A-Za-z][A-Za-z0-9_-]*)$")
_PARAMETERS = re.compile(r'(?:"[^"]*"|[^;])+')
_ELEMENTS = re.compile(r"((?:\\.|[^\\,]|\\$)*)(?:,|$)", re.DOTALL)
_SPECIAL = re.compile(r"\\.|[\\,;\n]", re.DOTALL)
_QUOTED_PRINTABLE = re.compile(rb"[^:]*[;=]quoted-printable[;:]", re.IGNORECASE)
_ENCODINGS = {"QUOTED-PRINTABLE", "BASE64", "B", "Q", "8BIT", "7BIT"}

_LISTS = {"CATEGORIES", "NICKNAME"}
_SEPARATORS = {"N": ";,", "ADR": ";,", "ORG": ";", "CATEGORIES": ",", "NICKNAME": ","}
_SEPARATORS_21 = {"N": ";", "ADR": ";", "ORG": ";", "CATEGORIES": ",", "NICKNAME": ","}
_ESCAPED = {"\n": "\\n", "\\": "\\\\", ",": "\\,", ";": "\\;"}
_FRAMES = {"BEGIN", "END", "PROFILE"}


@dataclass
class RawCard:
    """The lines of one card, without its BEGIN and END, from line ``number`` of the file on."""

    number: int
    lines: list[bytes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stray: bool = False

    @property
    def source(self) -> bytes:
        return b"\n".join(self.lines)

    @property
    def version(self) -> str:
        for line in self.lines:
            if line.upper().startswith(b"VERSION:"):
                return decode(line[8:].strip())[0]
        return ""


@dataclass
class Property:
    """One property of a card; the value is decoded, its escapes still stand."""

    name: str
    parameters: dict[str, list[str]]
    value: str
    binary: bool = False

    def types(self) -> list[str]:
        return [kind.lower() for kind in self.parameters.get("TYPE", [])]


def split_cards(data: bytes) -> Iterator[RawCard]:
    """Every card of a file, one within another (2.1's AGENT) too, and every text between cards."""
    open_cards, outside = list[RawCard](), None
    for number, line in enumerate(as_utf8(data).splitlines(), start=1):
        word = line.strip().upper()
        if word == b"BEGIN:VCARD":
            if open_cards and not _is_agent(open_cards[-1]):
                yield _unclosed(open_cards.pop())
            open_cards.append(RawCard(number))
        elif word == b"END:VCARD" and open_cards:
            yield open_cards.pop()
        elif open_cards:
            open_cards[-1].lines.append(line)
        elif word:
            outside = outside or RawCard(number, stray=True)
            outside.lines.append(line)
            continue
        if outside:
            yield outside
            outside = None
    if outside:
        yield outside
    yield from map(_unclosed, open_cards)


def _is_agent(card: RawCard) -> bool:
    return bool(card.lines) and card.lines[-1].upper().startswith(b"AGENT")


def _unclosed(card: RawCard) -> RawCard:
    card.problems.append("no END:VCARD")
    return card


def properties(card: RawCard) -> Iterator[Property]:
    """The properties of a card; what cannot be read is told in ``card.problems``."""
    for line in _unfold(card.lines, card.version):
        found = _property(line, card.version, card.problems)
        if found:
            yield found


def _unfold(lines: list[bytes], version: str) -> list[bytes]:
    logical = list[bytearray]()
    for line in lines:
        last = logical[-1] if logical else bytearray()
        if last.endswith(b"=") and _QUOTED_PRINTABLE.match(last):
            last[-1:] = line
        elif line[:1] in (b" ", b"\t") and logical:
            # In 2.1 the white space is part of the text, later only the sign of a fold.
            last += line if version == "2.1" else line[1:]
        elif line.strip():
            logical.append(bytearray(line))
    return [bytes(line) for line in logical]


def _property(line: bytes, version: str, problems: list[str]) -> Property | None:
    head, colon, value = _head_and_value(line)
    first, *rest = _PARAMETERS.findall(decode(head)[0]) or [""]
    named = _NAME.match(first.strip())
    if not colon or not named or named.group(1).upper() in _FRAMES:
        problems.append(f"line not understood: {decode(line)[0][:40]!r}")
        return None
    parameters = _parameters(rest)
    name = named.group(1).upper().replace("_", "-")
    binary = bool({"B", "BASE64"}.intersection(parameters.get("ENCODING", [])))
    if "QUOTED-PRINTABLE" in parameters.get("ENCODING", []):
        value = quopri.decodestring(value)
    text, problem = decode(value, parameters.get("CHARSET", [""])[0])
    if problem:
        problems.append(f"{name}: {problem}")
    return Property(name, parameters, text if binary else _escape(name, text, version), binary)


def _head_and_value(line: bytes) -> tuple[bytes, bytes, bytes]:
    match = _HEAD.match(line)
    return (match.group(1), b":", match.group(2)) if match else line.partition(b":")


def _parameters(pieces: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for piece in pieces:
        name, equals, value = piece.strip().partition("=")
        if not equals:
            # 2.1 lets a value stand alone: TEL;HOME;VOICE
            name, value = "ENCODING" if name.upper() in _ENCODINGS else "TYPE", name
        values = [part.strip() for part in value.replace('"', "").split(",")]
        found.setdefault(name.upper(), []).extend(values)
    found["ENCODING"] = [value.upper() for value in found.get("ENCODING", [])]
    return found


def _escape(name: str, text: str, version: str) -> str:
    """``text`` with every special character escaped that does not separate."""
    old = version == "2.1"
    separators = (_SEPARATORS_21 if old else _SEPARATORS).get(name, "")
    escapes = ",;" if old else "\\,;nN"

    def escaped(match: re.Match[str]) -> str:
        found = match.group()
        if found in separators or (len(found) == 2 and found[1] in escapes):
            return found
        return "".join(_ESCAPED.get(character, character) for character in found)

    return _SPECIAL.sub(escaped, text)


def as_version_3(found: list[Property]) -> str:
    """One card of the given properties that vobject reads without surprises."""
    lines = ["BEGIN:VCARD", "VERSION:3.0"]
    for each in found:
        values = _elements(each.value) if each.name in _LISTS else [each.value]
        lines.extend(f"{each.name}:{value}" for value in values)
    return "\r\n".join([*lines, "END:VCARD", ""])


def _elements(value: str) -> list[str]:
    return [element for element in _ELEMENTS.findall(value) if element.strip()]
