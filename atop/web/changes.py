"""Changes that are made in the browser: one transaction each, and undone in another.

Whoever changes an item has seen it as it was. The form brings the mark of what was seen, and the
change is refused when the item is another one by now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from atop.classes import Broken
from atop.engine.base import ITEMS
from atop.errors import BrokenItem, NoSuchItem, ValueRefused
from atop.files import File
from atop.item import Item
from atop.keytext import TYPES, parse, type_of
from atop.pool import Pool
from atop.records import decode_header, encode_record
from atop.store import Store
from atop.web.moment import mark_of
from atop.web.refusals import Refused

_CHUNK = 1 << 20
_MISSING: Any = object()
LONGEST = 100_000
LONGEST_BITS = 10_000


class Changed(Exception):
    """Somebody else has changed the item since it was shown."""


@dataclass(frozen=True, slots=True)
class Undo:
    """How the last change is undone: `words` tell it, `marks` are what it has left."""

    words: str
    marks: dict[int, str]
    work: Callable[[], object]


class Changes:
    """Changes of `store`, and the undoing of the last one made here."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.undoable: Undo | None = None

    def set_value(self, ident: int, mark: str, name: str, kind: str, text: str) -> None:
        """Give an attribute the value that `text` stands for.

        :raises Changed: when the item is not what was marked.
        :raises ValueRefused: when it stands for none of that type.
        """
        if kind not in TYPES or not name or name.startswith("_"):
            raise ValueRefused(f"{name!r} cannot be set to a value of type {kind!r}", name)

        def work() -> Undo:
            item = self._marked(ident, mark)
            before = item.attributes().get(name, _MISSING)
            like = None if before is _MISSING else before
            setattr(item, name, parse(text, kind, like))
            return self._undo(f"{name} of item {ident} was changed", [ident],
                              lambda: self._put_back(ident, name, before))

        self._do(work)

    def add_to_pool(self, ident: int, mark: str, pool: str) -> None:
        """Put an item into the pool of that name."""

        def work() -> Undo:
            self._pool(pool).addItem(self._marked(ident, mark))
            return self._undo(f"item {ident} was added to {pool}", [ident],
                              lambda: self._pool(pool).removeItem(self._item(ident)))

        self._do(work)

    def remove_from_pool(self, ident: int, mark: str, pool: str) -> None:
        """Take an item out of the pool of that name."""

        def work() -> Undo:
            self._pool(pool).removeItem(self._marked(ident, mark))
            return self._undo(f"item {ident} was removed from {pool}", [ident],
                              lambda: self._pool(pool).addItem(self._item(ident)))

        self._do(work)

    def delete(self, ident: int, mark: str) -> None:
        """Delete an item; the bytes of a file and the order of a pool cannot be brought back."""

        def work() -> Undo | None:
            item = self._marked(ident, mark)
            record = self._record(ident)
            pools = [pool.id for pool in self._store.pools() if item in pool]
            self._store.delete(item)
            if isinstance(item, File | Pool) or record is None:
                return None
            return self._undo(f"item {ident} was deleted", [ident],
                              lambda: self._bring_back(ident, record, pools))

        self._do(work)

    def attach(self, ident: int, mark: str, attribute: str, name: str, source: BinaryIO) -> None:
        """Store a file, and add it to a list of the item, or set an attribute that it lacks."""

        def work() -> Undo:
            item = self._marked(ident, mark)
            before = item.attributes().get(attribute, _MISSING)
            if not attribute or attribute.startswith("_") or not (
                before is _MISSING or before is None or isinstance(before, list)
            ):
                raise ValueRefused(
                    f"{attribute!r} has a value that is no list: name another attribute", attribute
                )
            with self._store.newFile(name) as file:
                source.seek(0)
                while chunk := source.read(_CHUNK):
                    file.write(chunk)
            if isinstance(before, list):
                getattr(item, attribute).append(file)
            else:
                setattr(item, attribute, [file] if before is _MISSING else file)
            added = file.id or 0
            return self._undo(f"{name!r} was attached to item {ident}", [ident],
                              lambda: self._detach(ident, attribute, before, added))

        self._do(work)

    def undo(self) -> str:
        """Undo the last change; answers in words what it was.

        :raises Refused: when there is none, or somebody has changed something else since.
        """
        with self._lock:
            last = self.undoable
            if last is None:
                raise Refused(409, "There is nothing to undo", "Only the last change is kept.")

            def work() -> None:
                for ident, mark in last.marks.items():
                    if self.mark(ident) != mark:
                        raise Refused(409, f"Item {ident} has been changed since",
                                      "So the change before that is not undone.")
                last.work()

            self._store.transact(work)
            self.undoable = None
            return last.words

    def mark(self, ident: int) -> str:
        """What an item is marked by, as this thread sees it."""
        return mark_of(self._record(ident))

    def _do(self, work: Callable[[], Undo | None]) -> None:
        with self._lock:
            done = self._store.transact(work)
            if done is not None:  # the marks are those of what is committed by now
                done = Undo(done.words, {each: self.mark(each) for each in done.marks}, done.work)
            self.undoable = done

    @staticmethod
    def _undo(words: str, idents: list[int], work: Callable[[], object]) -> Undo:
        return Undo(words, dict.fromkeys(idents, ""), work)

    def _record(self, ident: int) -> bytes | None:
        return self._store.session().flushed().get(ITEMS, ident.to_bytes(8, "big"))

    def _marked(self, ident: int, mark: str) -> Item:
        if self.mark(ident) != mark:
            raise Changed
        return self._item(ident)

    def _item(self, ident: int) -> Item:
        item: Item = self._store.getItemByID(ident)
        if isinstance(item, Broken):
            problem = item.attributes()["_problem"]
            raise BrokenItem(f"item {ident} cannot be changed here: {problem}", item)
        return item

    def _pool(self, name: str) -> Pool:
        for pool in self._store.pools():
            if pool.name == name:
                return pool
        raise NoSuchItem(f"there is no pool {name!r}", name)

    def _put_back(self, ident: int, name: str, value: Any) -> None:
        if value is _MISSING:
            delattr(self._item(ident), name)
        else:
            setattr(self._item(ident), name, value)

    def _detach(self, ident: int, attribute: str, before: Any, file: int) -> None:
        added = self._store.getItemByID(file)
        item = self._item(ident)
        if isinstance(before, list):
            getattr(item, attribute).remove(added)
        else:
            self._put_back(ident, attribute, before)
        self._store.delete(added)

    def _bring_back(self, ident: int, record: bytes, pools: list[int | None]) -> None:
        """Under the same id, which nobody else can have got, and into the pools it was in."""
        transaction = self._store.session().transaction
        assert transaction is not None
        number, version, at = decode_header(record)
        bare = encode_record(number, version, record[at:], ())
        transaction.overlay.put(ITEMS, ident.to_bytes(8, "big"), bare, existed=False)
        for pool in pools:
            self._store.getItemByID(pool).addItem(self._item(ident))


def editable(value: Any) -> str:
    """The name, one of `TYPES`, of the type of a value that can be edited; else nothing."""
    kind = type_of(value)
    long = (isinstance(value, str | bytes | tuple) and len(value) > LONGEST) or (
        isinstance(value, int) and value.bit_length() > LONGEST_BITS)
    plain = kind != "tuple" or all(
        each is None or isinstance(each, bool | int | float | str) for each in value
    )
    return kind if kind in TYPES and plain and not long else ""
