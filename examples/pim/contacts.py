"""From the bytes of an address book to a :class:`~examples.pim.parsed.Card` for each card in it."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import vobject

from .parsed import Card, Entry
from .text import one_line
from .vcardtext import Property, RawCard, as_version_3, properties, split_cards

_DATE = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ].*)?$")
_VERSIONS = ("2.1", "3.0", "4.0")
_OWN_FIELDS = {
    "FN", "N", "ORG", "TITLE", "NOTE", "UID", "BDAY", "EMAIL", "TEL", "ADR", "CATEGORIES",
}  # fmt: skip
_UNKEPT = {"VERSION", "PRODID", "REV", "AGENT"}


def read_contacts(path: Path) -> Iterator[Entry[Card]]:
    """Every card of a file, one at a time."""
    for raw in split_cards(path.read_bytes()):
        yield parse_card(raw)


def parse_card(raw: RawCard) -> Entry[Card]:
    """One card; only text that is no card, or a card with nothing in it, has no value."""
    position, size = f"line {raw.number}", len(raw.source)
    if raw.stray:
        return Entry(position, size, None, [f"outside of any card: {_start_of(raw.source)}"])
    card, found = _new_card(raw), list(properties(raw))
    kept = [each for each in found if each.name not in _UNKEPT and not each.binary]
    photos = [each for each in found if each.name == "PHOTO"]
    if not kept and not photos:
        return Entry(position, size, None, [*raw.problems, "a card with nothing in it"])
    _read_binary(card, found, raw.problems)
    _read_text(card, [each for each in kept if not _is_picture(each)], raw.problems)
    return Entry(position, size, card, raw.problems)


def _new_card(raw: RawCard) -> Card:
    if raw.version not in _VERSIONS:
        raw.problems.append(f"read as 3.0: its version is {one_line(raw.version)[:20]!r}")
    return Card(digest=sha256(raw.source).hexdigest(), uid="", version=raw.version, name="")


def _start_of(source: bytes) -> str:
    return repr(one_line(source[:80].decode("utf-8", "replace"))[:40])


def _is_picture(each: Property) -> bool:
    return each.name == "PHOTO" and each.value.lower().startswith("data:")


def _read_binary(card: Card, found: list[Property], problems: list[str]) -> None:
    for each in found:
        if not each.binary and not _is_picture(each):
            continue
        data = _decoded(each, problems)
        if each.name == "PHOTO" and data and card.photo is None:
            card.photo = data
        elif data:
            problems.append(f"{each.name} of {len(data)} bytes not kept")


def _decoded(each: Property, problems: list[str]) -> bytes:
    # The escapes of a data: URI stand before its comma and semicolon.
    text = each.value if each.binary else each.value.replace("\\", "").partition(",")[2]
    try:
        return b64decode("".join(text.split()), validate=True)
    except (Base64Error, ValueError):
        problems.append(f"{each.name}: not valid base64")
        return b""


def _read_text(card: Card, found: list[Property], problems: list[str]) -> None:
    lines = vobject.readOne(as_version_3(found)).contents
    card.uid = one_line(_first(lines, "uid"))
    card.organization = one_line(" / ".join(_flat(_first(lines, "org"))))
    card.title = one_line(_first(lines, "title"))
    card.note = "\n".join(line.value for line in lines.get("note", []))
    card.emails = _unique(lines, "email", "mailto:")
    card.categories = _unique(lines, "categories", "")
    card.addresses = [_address(line.value) for line in lines.get("adr", [])]
    card.phones = _phones(found)
    card.others = _others(lines)
    _read_name(card, lines, problems)
    _read_birthday(card, _first(lines, "bday"), problems)


def _first(lines: dict[str, list[Any]], name: str) -> Any:
    return lines[name][0].value if name in lines else ""


def _flat(value: Any) -> list[str]:
    """vobject gives each part of a structured value as a string or a list of strings."""
    if isinstance(value, str):
        return [value] if value else []
    return [text for part in value for text in _flat(part)]


def _unique(lines: dict[str, list[Any]], name: str, scheme: str) -> list[str]:
    values = (value for line in lines.get(name, []) for value in _flat(line.value))
    plain = (one_line(value).removeprefix(scheme) for value in values)
    return list(dict.fromkeys(value for value in plain if value))


def _phones(found: list[Property]) -> list[tuple[str, str]]:
    kinds = [(", ".join(each.types()), each.value) for each in found if each.name == "TEL"]
    return [(kind, one_line(value.replace("\\", "")).removeprefix("tel:")) for kind, value in kinds]


def _address(value: Any) -> str:
    parts = (value.box, value.extended, value.street, value.code, value.city, value.region)
    return ", ".join(one_line(" ".join(_flat(part))) for part in (*parts, value.country) if part)


def _others(lines: dict[str, list[Any]]) -> list[tuple[str, str]]:
    return [
        (name.upper(), str(line.value))
        for name, group in lines.items()
        if name.upper() not in _OWN_FIELDS | _UNKEPT
        for line in group
    ]


def _read_name(card: Card, lines: dict[str, list[Any]], problems: list[str]) -> None:
    structured = _first(lines, "n")
    if structured:
        card.family = one_line(" ".join(_flat(structured.family)))
        card.given = one_line(" ".join(_flat(structured.given)))
    formatted = one_line(_first(lines, "fn"))
    card.name = formatted or one_line(str(structured)) or card.organization
    card.name = card.name or "".join(card.emails[:1])
    if not card.name:
        problems.append("no name")


def _read_birthday(card: Card, value: str, problems: list[str]) -> None:
    found = _DATE.match(value.strip())
    card.birthday_text = "" if found else one_line(value)
    if not found:
        return
    year, month, day = map(int, found.groups())
    if year == 1604:
        # The year that Apple's address book writes for a birthday without one.
        card.birthday_text = f"--{month:02}{day:02}"
        return
    try:
        card.birthday = date(year, month, day)
    except ValueError:
        card.birthday_text = one_line(value)
        problems.append(f"no such day: {card.birthday_text[:20]}")
