"""Watch: which items have lent values that can change in place, and what became of these.

That no such change is lost rests on comparing: an item whose values others may hold is pickled when
they are lent, and again whenever it matters. An item whose values nobody else holds any more is
hidden again, and costs nothing until it is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from atop.errors import NoSuchItem, NotStorable, StaleValue
from atop.item import Bond, Item, class_of, make_ghost, raw_dict, state_of
from atop.records import loader
from atop.values import IMMUTABLE, guard_attributes, is_settled, refill

if TYPE_CHECKING:
    from atop.store import Store


class Lease:
    """Stands between the guarded values that an item has lent and the item."""

    __slots__ = ("item", "stale")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.stale = False

    def changing(self) -> None:
        """Raise, or note that the item is being changed."""
        item = self.item
        if self.stale:
            raise StaleValue(
                f"this value belonged to {item!r}, which has been loaded again since; take it "
                "from the item anew"
            )
        bond = item._atop
        if bond is not None and not bond.gone:
            bond.session.changing(item, bond)

    def end(self) -> None:
        """The item has let go of its values."""
        self.stale = True


class Before:
    """The attributes that an item had when it was added to the store, to be given back to it.

    :raises NotStorable: when they cannot be stored.
    """

    def __init__(self, store: Store, item: Item) -> None:
        self._store = store
        self._items: list[Item] = []
        attributes = raw_dict(item)
        self._settled = (
            IMMUTABLE.issuperset(map(type, attributes.values()))
            or class_of(item).__getstate__ is not Item.__getstate__
        )
        stored = {} if self._settled else state_of(item)
        self._pickled = self._dump(item, stored) if stored else b""
        self._others = {key: held for key, held in attributes.items() if key not in stored}

    def restore(self, item: Item, now: dict[str, Any]) -> dict[str, Any]:
        """What `item`, which has the attributes `now`, is to have again."""
        if self._settled:
            return self._others
        self._items, before = [], self._items
        stored = {name: value for name, value in now.items() if name not in self._others}
        try:
            if self._dump(item, stored) == self._pickled:
                return now
        except NotStorable:
            pass
        load = loader(self._store.allowed, lambda reference: before[reference[0]])
        state = load(self._pickled)
        for name, value in state.items():
            if name in now and refill(now[name], value):
                state[name] = now[name]
        return state | self._others

    def _dump(self, item: Item, state: dict[str, Any]) -> bytes:
        return self._store.dump(item, state, self._refer)

    def _refer(self, item: Item) -> tuple[int, int]:
        self._items.append(item)
        return len(self._items) - 1, 0


class Watch:
    """The watched items of one session. `dump` pickles the state of an item, to be compared."""

    def __init__(self, dump: Callable[[Item, dict[str, Any]], bytes]) -> None:
        self._dump = dump
        self._items: dict[bytes, Item] = {}

    def lend(self, item: Item, bond: Bond, *, owned: bool = False) -> None:
        """Show all values of `item`, and watch it from now on."""
        attributes = raw_dict(item)
        bond.lease = bond.lease or Lease(item)
        if bond.hidden:
            names = list(bond.hidden)
            attributes.update(bond.hidden)
            bond.hidden = None
            guard_attributes(attributes, names, bond.lease, Item, owned=owned)
        if bond.key not in self._items:
            self._items[bond.key] = item
            bond.baseline = self._dump(item, state_of(item))

    def __contains__(self, key: bytes) -> bool:
        return key in self._items

    def changed(self) -> list[Item]:
        """The watched items whose state is no longer what it was."""
        return [item for item in list(self._items.values()) if self._differs(item)]

    def settle(self) -> None:
        """Watch no longer what nobody else holds."""
        for key, item in list(self._items.items()):
            if item._atop is None or _hidden_again(item, item._atop):
                self._items.pop(key, None)

    def written(self, item: Item, bond: Bond) -> None:
        """`item` was flushed as it is: hide its values again, or watch on from here."""
        self._items.pop(bond.key, None)
        if not IMMUTABLE.issuperset(map(type, raw_dict(item).values())) and not _hidden_again(
            item, bond
        ):
            self._items[bond.key] = item
            bond.baseline = self._dump(item, state_of(item))

    def forget(self, key: bytes) -> None:
        """The item of that id is not to be watched."""
        self._items.pop(key, None)

    def renew(self, item: Item, bond: Bond) -> None:
        """What `item` shows is not so: forget it. Values that others hold get what is so."""
        self._items.pop(bond.key, None)
        lent = {
            name: value for name, value in raw_dict(item).items() if not is_settled(value, Item)
        }
        lease, bond.lease = bond.lease, None
        make_ghost(item, bond)
        if not lent:
            _end(lease)
            return
        try:
            bond.session.load(item, bond)
        except NoSuchItem:
            _end(lease)
            return
        for name, value in (bond.hidden or {}).items():
            if name in lent and refill(lent[name], value):
                assert bond.hidden is not None
                bond.hidden[name] = lent[name]
        bond.lease = lease
        self.lend(item, bond, owned=True)

    def _differs(self, item: Item) -> bool:
        bond = item._atop
        if bond is None or bond.baseline is None:
            return False
        try:
            return self._dump(item, state_of(item)) != bond.baseline
        except NotStorable:
            return True


def hide(item: Item, bond: Bond) -> bool:
    """Put what can change in place where it is seen to be touched; tells whether it will be.

    It would not where the class has something else of that name to show.
    """
    attributes = raw_dict(item)
    names = [name for name, value in attributes.items() if not is_settled(value, Item)]
    if names:
        bond.hidden = {**(bond.hidden or {}), **{name: attributes.pop(name) for name in names}}
    cls = class_of(item)
    return not names or not (
        cls.__getattr__ is not Item.__getattr__ or any(hasattr(cls, name) for name in names)
    )


def _hidden_again(item: Item, bond: Bond) -> bool:
    attributes = raw_dict(item)
    names = [name for name, value in attributes.items() if not is_settled(value, Item)]
    bond.lease = bond.lease or Lease(item)
    try:
        if not guard_attributes(attributes, names, bond.lease, Item, owned=True):
            return False
    except RecursionError:
        return False  # it cannot be stored either, which its pickling tells
    if hide(item, bond):
        bond.baseline = None
        return True
    attributes.update(bond.hidden or {})
    bond.hidden = None
    return False


def _end(lease: Lease | None) -> None:
    if lease is not None:
        lease.end()
