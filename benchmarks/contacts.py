"""The data: contacts of four attributes, the same ones in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

SEED = 20240229
INDEXES = ("name", "email", "born")

_SYLLABLES = [first + second for first in "bdfghklmnprstvz" for second in ("a", "e", "i", "o", "u")]
_CITIES = [
    "Amsterdam", "Berlin", "Bruxelles", "Budapest", "Göteborg", "Helsinki", "København", "Kraków",
    "Lisboa", "London", "Łódź", "Madrid", "Milano", "Oslo", "Paris", "Praha", "Roma", "Wien",
]  # fmt: skip


class Contact(NamedTuple):
    """A contact as all contenders are given it; ``born`` is a year, so an int."""

    name: str
    email: str
    city: str
    born: int


class Person:
    """What is pickled by hand: an object like the one that Atop stores."""

    def __init__(self, name: str, email: str, city: str, born: int) -> None:
        self.name = name
        self.email = email
        self.city = city
        self.born = born


def contacts(count: int, seed: int = SEED) -> Iterator[Contact]:
    """`count` contacts, in no order, all with different e-mail addresses."""
    chance = random.Random(seed)
    word, choose = chance.choices, chance.choice
    for number in range(count):
        first, last = "".join(word(_SYLLABLES, k=3)), "".join(word(_SYLLABLES, k=4))
        yield Contact(
            f"{first} {last}".title(),
            f"{first}.{last}{number}@example.org",
            choose(_CITIES),
            chance.randrange(1930, 2024),
        )
