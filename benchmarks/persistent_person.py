"""The contact that ZODB keeps, by itself and served by ZEO."""

from __future__ import annotations

import logging

from persistent import Persistent

logging.getLogger().addHandler(logging.NullHandler())  # not on the terminal


class Person(Persistent):  # type: ignore[misc]
    """A contact."""

    def __init__(self, name: str, email: str, city: str, born: int) -> None:
        self.name = name
        self.email = email
        self.city = city
        self.born = born
