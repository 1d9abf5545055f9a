"""The contacts in SQLite by SQLAlchemy's ORM."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Index, create_engine, delete, event, func, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.contacts import Contact
from benchmarks.contender import CACHE_BYTES, PAGE, Contender, Insert

_BATCH = 10_000
_ROWS = 1_000
_TIMEOUT = 60.0


class Base(DeclarativeBase):
    """All mapped classes."""


class Person(Base):
    """A contact."""

    __tablename__ = "contacts"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    email: Mapped[str] = mapped_column(index=True)
    city: Mapped[str]
    born: Mapped[int] = mapped_column(index=True)


class WithSQLAlchemy(Contender):
    """One mapped class; write-ahead log, synced at every commit."""

    logs = ("*-wal", "*-shm")

    def __init__(self, folder: Path, *, durable: bool = True, checkpoints: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self._pragmas = {
            "journal_mode": "WAL",
            "synchronous": "FULL" if durable else "NORMAL",
            "cache_size": -(CACHE_BYTES >> 10),
            "wal_autocheckpoint": 1000 if checkpoints else 0,
        }
        address = f"sqlite:///{folder / 'contacts.sqlite3'}"
        self._engine = create_engine(address, connect_args={"timeout": _TIMEOUT})
        event.listen(self._engine, "connect", self._prepare)
        Base.metadata.create_all(self._engine)
        self._session = Session(self._engine)

    def close(self) -> None:
        self._session.close()
        self._engine.dispose()

    def forget(self) -> None:
        self._session.close()

    def insert(self, contacts: Iterable[Contact]) -> None:
        self._insert(self._session, contacts)

    def insert_objects(self, contacts: Iterable[Contact]) -> None:
        """The same as objects of the session, by ``add_all()``."""
        self._session.add_all([Person(**contact._asdict()) for contact in contacts])
        self._session.commit()

    def update(self, years: Iterable[tuple[int, int]]) -> None:
        changed = [{"id": ident, "born": born} for ident, born in years]
        if len(changed) == 1:
            (only,) = changed
            self._session.get_one(Person, only["id"]).born = only["born"]
        else:
            self._session.execute(update(Person), changed)
        self._session.commit()

    def delete(self, ids: Iterable[int]) -> None:
        self._session.execute(delete(Person).where(Person.id.in_(list(ids))))
        self._session.commit()

    def ids_of(self, names: Iterable[str]) -> list[int]:
        find = self._session.scalars
        statement = select(Person.id)
        return [find(statement.where(Person.name == name)).first() or 0 for name in names]

    def get(self, ids: Iterable[int]) -> None:
        find = self._session.get_one
        for ident in ids:
            _ = find(Person, ident).name

    def pages(self, ends: Iterable[tuple[str, str]]) -> int:
        loaded, by_name = 0, select(Person).order_by(Person.name).limit(PAGE)
        for first, _ in ends:
            for person in self._session.scalars(by_name.where(Person.name >= first)):
                _ = person.name
                loaded += 1
        return loaded

    def page_at(self, offset: int) -> int:
        page = select(Person).order_by(Person.name).limit(PAGE).offset(offset)
        return len([person.name for person in self._session.scalars(page)])

    def count(self) -> int:
        return self._session.scalar(select(func.count()).select_from(Person)) or 0

    def count_between(self, low: str, high: str) -> int:
        statement = select(func.count()).where(Person.name.between(low, high))
        return self._session.scalar(statement) or 0

    def position(self, name: str) -> int:
        return self._session.scalar(select(func.count()).where(Person.name < name)) or 0

    def walk(self) -> int:
        rows = select(Person).order_by(Person.name).execution_options(yield_per=_ROWS)
        return sum(1 for person in self._session.scalars(rows) if person.name)

    def walk_ids(self) -> int:
        return self._walk(Person.id)

    def walk_keys(self) -> int:
        return self._walk(Person.name)

    def add_index(self) -> None:
        self._index().create(self._engine)

    def drop_index(self) -> None:
        self._index().drop(self._engine)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            connection.scalar(select(func.count()).select_from(Person))
            yield

    @contextmanager
    def threads(self) -> Iterator[Callable[[], AbstractContextManager[Insert]]]:
        yield self._colleague

    @contextmanager
    def _colleague(self) -> Iterator[Insert]:
        with Session(self._engine) as session:
            yield lambda contacts: self._insert(session, contacts)

    def _insert(self, session: Session, contacts: Iterable[Contact]) -> None:
        rest = iter(contacts)
        while batch := list(islice(rest, _BATCH)):
            if len(batch) == 1:
                session.add(Person(**batch[0]._asdict()))
            else:
                session.execute(insert(Person), [contact._asdict() for contact in batch])
        session.commit()

    def _walk(self, column: Any) -> int:
        rows = select(column).order_by(Person.name).execution_options(yield_per=_ROWS)
        return sum(1 for _ in self._session.scalars(rows))

    def _prepare(self, connection: sqlite3.Connection, _: object) -> None:
        for name, value in self._pragmas.items():
            connection.execute(f"PRAGMA {name} = {value}")

    def _index(self) -> Any:
        index = Index("by_city", Person.city)
        Person.metadata.tables["contacts"].indexes.discard(index)  # of this collection alone
        return index
