"""Objects: what one thread has loaded, one object for an id.

The identity map is weak, with a bounded strong tail of what was loaded last.

In an optimistic store an item that was loaded is put to rest when a transaction begins, so that it
is seen which ones that transaction reads. What is awake is listed: a begin costs as much as was
touched since the one before, however much is in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

from atop.classes import Broken, ClassTable, Kind
from atop.engine.base import ITEMS, JoinedRow, View
from atop.errors import NewerClass, NoSuchItem, NotLoadable
from atop.item import (
    BOND_SLOT,
    DICT_SLOT,
    Bond,
    Item,
    class_of,
    ghost_class,
    is_ghost,
    make_ghost,
    make_present,
    rest,
    set_bond,
    set_dict,
)
from atop.native import make_item, make_page
from atop.records import class_head, decode_header, loader
from atop.values import IMMUTABLE
from atop.watch import Watch, hide

if TYPE_CHECKING:
    from atop.session import Session
    from atop.store import Store

TAIL_BYTES = 16 << 20
_MANY = 1000
_ITEM_BYTES = 600  # about what Python needs for an item beside the bytes of its record

_new = object.__new__


class Objects(ABC):
    """The objects of one session; ``items`` has the bond of each that is alive."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.items: dict[bytes, Bond] = {}
        self.watch = Watch(self.dump)
        self._tail: deque[Item | list[Item]] = deque()
        self._tail_sizes: deque[int] = deque()
        self._tail_bytes = 0
        self._load_state = loader(store.allowed, self._dereference)
        self._dropped = self._dropper()
        self._plain: dict[bytes, type[Item]] = {}
        self._maker = (self._plain, self.items, Bond, self._dropped, self, BOND_SLOT, DICT_SLOT)
        self._kinds: dict[int, Kind] = {}
        self.thread = get_ident()
        self._rests = store.optimistic
        self._awake: list[Bond] = []
        self._many_awake = _MANY

    @property
    @abstractmethod
    def view(self) -> View:
        """The tables from which items are loaded."""

    @abstractmethod
    def touched(self, key: bytes) -> None:
        """The item of that id was resting, and was touched."""

    def woken(self, bond: Bond) -> None:
        """The item with that bond shows its attributes from now on."""
        if self._rests:
            self._awake.append(bond)
            if len(self._awake) > self._many_awake and get_ident() == self.thread:
                self._awake[:] = [each for each in self._awake if each() is not None]
                self._many_awake = 2 * len(self._awake) + _MANY

    def rest(self) -> list[bytes]:
        """Put to rest what is awake; answers the items whose values the program still holds.

        These cannot rest, since what is done with such a value goes round its item.
        """
        awake: list[Bond] = list(self._awake)
        held: dict[bytes, Bond] = {}
        for bond in awake:
            item = bond()
            if item is None or item._atop is not bond or bond.gone or is_ghost(item):
                continue
            if bond.key in self.watch:
                held[bond.key] = bond
            else:
                rest(item, bond)
        self._awake[: len(awake)] = held.values()  # another thread may have woken more
        return list(held)

    def known(self, key: bytes) -> Item | None:
        """The object for that id, if there is one."""
        reference = self.items.get(key)
        return None if reference is None else reference()

    def forget_classes(self, numbers: Iterable[int]) -> None:
        """Class numbers that were given out in a transaction are free again."""
        self._plain.clear()
        for each in numbers:
            self._kinds.pop(each, None)
            self.store.classes.forget(each)

    def build(self, key: bytes, record: bytes) -> Item:
        """The object for a record; a new one, unless there is one by now."""
        bond = self.items.get(key)
        item = None if bond is None else bond()
        if item is not None:
            return item
        made: Item | None = make_item(key, record, self._maker)
        if made is None:
            return self._build_with_care(key, record)
        if self._rests:
            self._wakes((made,))
        self._keep(made, len(record) + _ITEM_BYTES)
        return made

    def build_page(self, rows: list[JoinedRow], find: Callable[[bytes], Item]) -> list[Item]:
        """The objects for rows of an index; `find` gives those whose records were not read."""
        items, made, size = make_page(rows, self._maker, self.build, find)
        if made:
            if self._rests:
                self._wakes(made)
            self._keep(made, size + _ITEM_BYTES * len(made))
        return items

    def _wakes(self, made: Iterable[Item]) -> None:
        for item in made:
            assert item._atop is not None
            self.woken(item._atop)

    def _build_with_care(self, key: bytes, record: bytes) -> Item:
        """The same for an item that may have to do with others, or change in place."""
        class_number, version, at = decode_header(record)
        kind = self._kinds.get(class_number) or self._kind(class_number)
        if not kind.plain or version != kind.version:
            return self._build_by_class(key, record, kind)
        state = self._load_state(record[at:])
        bond = self.items.get(key)  # there is one if the item refers to itself
        item = None if bond is None else bond()
        if item is None or bond is None:
            item = _new(kind.cls)
            bond = self.register(key, item)
        if self._rests:
            self.woken(bond)
        make_present(item)
        set_dict(item, state)
        if not IMMUTABLE.issuperset(map(type, state.values())) and not hide(item, bond):
            self.watch.lend(item, bond)
        self._keep(item, len(record) + _ITEM_BYTES)
        return item

    def _build_by_class(self, key: bytes, record: bytes, kind: Kind) -> Item:
        item: Item = _new(kind.cls)
        bond = self.register(key, item)
        self.woken(bond)
        try:
            self._fill(item, bond, record)
        except BaseException:
            self.items.pop(key, None)
            raise
        self._keep(item, len(record) + _ITEM_BYTES)
        return item

    def _keep(self, loaded: Item | list[Item], size: int) -> None:
        """Hold what was loaded last, even if nobody else does, up to a bound."""
        self._tail.append(loaded)
        self._tail_sizes.append(size)
        self._tail_bytes += size
        while self._tail_bytes > TAIL_BYTES:
            self._tail.popleft()
            self._tail_bytes -= self._tail_sizes.popleft()

    @abstractmethod
    def deleted(self, key: bytes) -> Item | None:
        """The object for that id if the open transaction, which may be rolled back, deletes it."""

    @abstractmethod
    def is_new_class(self, class_number: int) -> bool:
        """Whether it is the transaction that gave out that number, which may not come to stay."""

    def _kind(self, class_number: int) -> Kind:
        if self.is_new_class(class_number):
            return ClassTable().kind(class_number, self.view)
        kind = self.store.classes.kind(class_number, self.view)
        if not kind.broken:
            self._kinds[class_number] = kind
        if kind.plain:
            self._plain[class_head(class_number, kind.version)] = kind.cls
        return kind

    def load(self, item: Item, bond: Bond) -> None:
        """Load a ghost, or wake an item that rests.

        :raises NoSuchItem: when it was deleted.
        """
        if bond.resting:
            self._wake(item, bond)
            return
        record = self.view.get(ITEMS, bond.key)
        if record is None:
            raise NoSuchItem(f"item {number(bond.key)} was deleted", number(bond.key))
        self.woken(bond)
        make_present(item)
        try:
            self._fill(item, bond, record)
        except BaseException:
            make_ghost(item, bond)
            raise
        self.woken(bond)

    def _wake(self, item: Item, bond: Bond) -> None:
        """That is known first, in case of an interrupt, and last, if another thread looks at it."""
        self._touched(bond)
        bond.resting = False
        make_present(item)
        self._touched(bond)

    def _touched(self, bond: Bond) -> None:
        self.woken(bond)
        self.touched(bond.key)

    def register(self, key: bytes, item: Item) -> Bond:
        """`item` is the one object for its id from now on; answers its bond."""
        bond = Bond(item, self._dropped)
        bond.key = key
        bond.session = cast("Session", self)
        bond.mark = 0
        bond.stored = True
        bond.fresh = False
        self.items[key] = bond
        set_bond(item, bond)
        return bond

    def forget_unbound(self, item: Item) -> None:
        """Ctrl-C came while that one was registered, and it does not know its bond."""
        for key in [key for key, bond in self.items.items() if bond() is item]:
            del self.items[key]

    def register_again(self, bond: Bond) -> None:
        """The object that has this bond is the one for its id again."""
        self.items[bond.key] = bond

    def known_items(self) -> Iterator[Item]:
        """The objects of this session that are alive, at least those that are awake."""
        for reference in list(self._awake if self._rests else self.items.values()):
            item = reference()
            if item is not None:
                yield item

    def known_between(self, first: int, end: int) -> Iterator[Item]:
        """The objects that are alive and have ids from `first` up to, not with, `end`."""
        if end - first > len(self.items):
            low, high = first.to_bytes(8, "big"), end.to_bytes(8, "big")
            found: Iterable[Bond | None] = (
                bond for key, bond in list(self.items.items()) if low <= key < high
            )
        else:
            found = (self.items.get(each.to_bytes(8, "big")) for each in range(first, end))
        for bond in found:
            item = None if bond is None else bond()
            if item is not None:
                yield item

    def _fill(self, item: Item, bond: Bond, record: bytes) -> None:
        class_number, version, at = decode_header(record)
        kind = self._kinds.get(class_number) or self._kind(class_number)
        if class_of(item) is Broken:  # its class may have come since
            object.__setattr__(item, "__class__", kind.cls)
        if kind.broken:
            self._fill_broken(item, kind, record[at:])
        elif version == kind.version and not kind.by_class:
            state = self._load_state(record[at:])
            set_dict(item, state)
            if IMMUTABLE.issuperset(map(type, state.values())):
                return
        elif version <= kind.version:
            self._fill_by_class(item, bond, kind, version, self._load_state(record[at:]))
        else:
            raise NewerClass(
                f"item {item.id} was written by version {version} of {kind.name}, this program "
                f"has version {kind.version}: update the program",
                version,
            )
        if not hide(item, bond):
            self.watch.lend(item, bond)

    def _fill_by_class(
        self, item: Item, bond: Bond, kind: Kind, version: int, state: dict[str, Any]
    ) -> None:
        """Let its own ``__setstate__`` and ``upgrade`` set attributes, which is no change."""
        set_bond(item, None)
        try:
            if kind.by_class:
                setstate: Any = item
                setstate.__setstate__(state)
            else:
                set_dict(item, state)
            if version < kind.version:
                item.upgrade(version)
        finally:
            set_bond(item, bond)

    def _fill_broken(self, item: Item, kind: Kind, pickled: bytes) -> None:
        try:
            state = self._load_state(pickled)
        except NotLoadable:
            state = {}
        set_dict(item, {**state, "_class": kind.name, "_problem": kind.broken})

    def _dereference(self, reference: tuple[int, int]) -> Item:
        ident, class_number = reference
        key = ident.to_bytes(8, "big")
        item = self.known(key)
        if item is None:
            item = self.deleted(key)
        if item is None:
            kind = self._kinds.get(class_number) or self._kind(class_number)
            item = _new(ghost_class(kind.cls))
            self.register(key, item)
        return item

    def _dropper(self) -> Callable[[Any], None]:
        items = self.items

        def drop(bond: Bond) -> None:
            if items.get(bond.key) is bond:
                del items[bond.key]

        return drop

    def dump(self, item: Item, state: dict[str, Any]) -> bytes:
        """The pickle of an item's state, to be compared."""
        return self.store.dump(item, state, self._refer_loaded)

    def _refer_loaded(self, item: Item) -> tuple[int, int]:
        """A reference for comparing; an item in no store stands for itself."""
        bond = item._atop
        if bond is None or bond.session.store is not self.store:
            return -id(item), 0
        return number(bond.key), 0


def number(key: bytes) -> int:
    """The id that a key of the table ``items`` stands for."""
    return int.from_bytes(key, "big")
