"""Atop keeps Python objects in a Berkeley DB environment.

>>> from atop import Store, Item
>>> class Person(Item):
...     "Any attributes will do."
>>> with Store() as store:
...     with store.transaction():
...         people = store.pool("people", "name", "born")
...         people.addItem(Person(name="Bob", born=1970))
...         people.addItem(Person(name="Alice", born=1980))
...     for person in people.queryIndex("name", startKey="Bob"):
...         print(person.name)
Bob
"""

from atop import errors
from atop.errors import AtopError
from atop.files import File
from atop.index import Index
from atop.item import Item
from atop.pool import Pool
from atop.query import Query
from atop.running import transacted
from atop.store import Store
from atop.transaction import Transaction

__all__ = [
    "AtopError",
    "File",
    "Index",
    "Item",
    "Pool",
    "Query",
    "Store",
    "Transaction",
    "errors",
    "transacted",
]
