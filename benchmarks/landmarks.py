"""Places in a collection, by name: where the measures look. They are the same for all contenders.

Who runs the benchmark works them out once, so that no contender has to, or has to hold the data.
"""

from __future__ import annotations

import pickle
import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contacts import SEED, Contact, contacts
from benchmarks.contender import PAGE

_PAGES = 4_000
_NAMES = 8_000
_CHANGED = 1_000


@dataclass(frozen=True)
class Landmarks:
    """Of the collection of that many contacts.

    ``pages`` has the first and last name of pages that do not overlap, ``names`` those of contacts
    anywhere, ``ends`` those of all, ``between`` two with ``within`` contacts from one to the other;
    ``changed`` are contacts to be changed, or deleted and put back.
    """

    items: int
    pages: list[tuple[str, str]]
    names: list[str]
    ends: tuple[str, str]
    between: tuple[str, str]
    within: int
    changed: list[Contact]

    @classmethod
    def make(cls, items: int) -> Landmarks:
        """Work them out."""
        people = list(contacts(items))
        names = sorted(person.name for person in people)
        chance = random.Random(SEED + items)
        pages = chance.sample(range(items // PAGE), min(_PAGES, items // PAGE))
        chosen = chance.sample(people, min(_NAMES, items))
        low, high = items // 4, items - items // 4 - 1
        return cls(
            items,
            [(names[at * PAGE], names[at * PAGE + PAGE - 1]) for at in pages],
            [person.name for person in chosen],
            (names[0], names[-1]),
            (names[low], names[high]),
            high - low + 1,
            chosen[: max(1, min(_CHANGED, items // 10))],
        )

    def save(self, folder: Path) -> None:
        """For :meth:`load` in other processes."""
        _file(folder, self.items).write_bytes(pickle.dumps(self, 5))

    @staticmethod
    def load(folder: Path, items: int) -> Landmarks:
        """What was saved for that many contacts."""
        found: Landmarks = pickle.loads(_file(folder, items).read_bytes())
        return found


def _file(folder: Path, items: int) -> Path:
    return folder / f"landmarks-{items}"
