"""The invented people of the sample."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .languages import ENGLISH, LANGUAGES, Language


@dataclass(frozen=True)
class Person:
    """Somebody with a name, an address and a language."""

    given: str
    family: str
    address: str
    language: Language

    @property
    def name(self) -> str:
        """The name as it is written in the person's language."""
        if self.language.family_first:
            return f"{self.family} {self.given}"
        return f"{self.given} {self.family}"


def people(count: int) -> list[Person]:
    """So many different people; half of them write English."""
    random = Random("people")
    found: dict[str, Person] = {}
    while len(found) < count:
        language = ENGLISH if random.random() < 0.4 else random.choice(LANGUAGES)
        person = _person(language, random)
        found.setdefault(person.address, person)
    return list(found.values())


def _person(language: Language, random: Random) -> Person:
    given, given_spelling = random.choice(language.given)
    family, family_spelling = random.choice(language.family)
    domain = random.choice(("example.org", "example.com"))
    return Person(given, family, f"{given_spelling}.{family_spelling}@{domain}", language)
