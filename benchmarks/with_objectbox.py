"""The contacts in ObjectBox."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

from objectbox import Entity, Id, Index, Int32, Store, String
from objectbox.model.properties import IndexType

from benchmarks.contacts import Contact
from benchmarks.contender import PAGE, Contender

_BATCH = 10_000  # more are refused
_LOADED = 1_000
_KILOBYTES = 1 << 26
_models = count()


class WithObjectBox(Contender):
    """One entity; indexes of strings are by value, as is said to be best for ranges.

    The system caches its pages. A query sorts what it has found, so one that is to begin with a
    name is given the name where it ends as well.
    """

    relaxes = False

    def __init__(self, folder: Path, *, durable: bool = True, checkpoints: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._open(sorted_by_city=False)

    def close(self) -> None:
        self._store.close()

    def forget(self) -> None:
        """No object is kept."""

    def insert(self, contacts: Iterable[Contact]) -> None:
        person = self._person
        rest = iter(contacts)
        with self._store.write_tx():
            while batch := list(islice(rest, _BATCH)):
                self._box.put([
                    person(name=name, email=email, city=city, born=born)
                    for name, email, city, born in batch
                ])

    def update(self, years: Iterable[tuple[int, int]]) -> None:
        changed = dict(years)
        people = self._box.get_many(list(changed))
        for person in people:
            person.born = changed[person.id]
        self._box.put(people)

    def delete(self, ids: Iterable[int]) -> None:
        self._box.remove_many(ids)

    def ids_of(self, names: Iterable[str]) -> list[int]:
        query = self._box.query(self._person.name.equals("")).build()
        found = self._person.name
        return [query.set_parameter(found, name).find_ids()[0] for name in names]

    def get(self, ids: Iterable[int]) -> None:
        find = self._box.get
        for ident in ids:
            _ = find(ident).name

    def pages(self, ends: Iterable[tuple[str, str]]) -> int:
        query = self._between("", "").order(self._person.name).build().limit(PAGE)
        loaded = 0
        for first, last in ends:
            query.set_parameter_alias("low", first).set_parameter_alias("high", last)
            for person in query.find():
                _ = person.name
                loaded += 1
        return loaded

    def page_at(self, offset: int) -> int:
        page = self._by_name().offset(offset).limit(PAGE).find()
        return len([person.name for person in page])

    def count(self) -> int:
        return int(self._box.count())

    def count_between(self, low: str, high: str) -> int:
        return int(self._between(low, high).build().count())

    def position(self, name: str) -> int:
        return int(self._box.query(self._person.name.less_than(name)).build().count())

    def walk(self) -> int:
        walked, rest = 0, iter(self._by_name().find_ids())
        while batch := list(islice(rest, _LOADED)):
            for person in self._box.get_many(batch):
                _ = person.name
                walked += 1
        return walked

    def walk_ids(self) -> int:
        return len(self._by_name().find_ids())

    def add_index(self) -> None:
        self._store.close()
        self._open(sorted_by_city=True)

    def drop_index(self) -> None:
        self._store.close()
        self._open(sorted_by_city=False)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        begun, ended = threading.Event(), threading.Event()
        reader = threading.Thread(target=self._hold, args=(begun, ended))
        reader.start()
        begun.wait()
        try:
            yield
        finally:
            ended.set()
            reader.join()

    def _hold(self, begun: threading.Event, ended: threading.Event) -> None:
        with self._store.read_tx():
            before = self._box.count()
            begun.set()
            ended.wait()
            assert self._box.count() == before

    def _by_name(self) -> Any:
        return self._box.query().order(self._person.name).build()

    def _between(self, low: str, high: str) -> Any:
        name = self._person.name
        above = name.greater_or_equal(low).alias("low")
        return self._box.query(above & name.less_or_equal(high).alias("high"))

    def _open(self, *, sorted_by_city: bool) -> None:
        """The model says which indexes there are; they are made when the store is opened."""
        model = f"model {next(_models)}"
        self._person = _person(model, sorted_by_city)
        self._store = Store(
            model=model, model_json_file=str(self._folder / "model.json"),
            directory=str(self._folder / "store"), max_db_size_in_kb=_KILOBYTES,
        )  # fmt: skip
        self._box = self._store.box(self._person)


def _person(model: str, sorted_by_city: bool) -> Any:
    by_city = {"index": Index(type=IndexType.VALUE)} if sorted_by_city else {}

    @Entity(model=model)
    class Person:
        id = Id()
        name = String(index=Index(type=IndexType.VALUE))
        email = String(index=Index(type=IndexType.VALUE))
        city = String(**by_city)
        born = Int32(index=Index())

    return Person
