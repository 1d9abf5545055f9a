"""``shell``: a Python console on a store, always in a transaction."""

from __future__ import annotations

import builtins
import keyword
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import click

from atop.cli.console import Console, installed, line_editing
from atop.cli.opening import sharing
from atop.cli.output import clean
from atop.errors import NoSuchPool, TransactionError, ValueRefused
from atop.files import File
from atop.index import Index
from atop.item import Item
from atop.pool import Pool
from atop.store import Store
from atop.transaction import Transaction

_CLASSES = (Store, Item, Pool, Index, File)
_LISTED = 12


@click.command()
@click.argument("place", metavar="STORE_OR_URL")
@click.option("--read-only", is_flag=True, help="Change nothing, and let nothing be changed.")
@click.option("--startup", metavar="FILE", help="A Python file to run before anything else.",
              type=click.Path(exists=True, dir_okay=False, path_type=Path))
def shell(place: str, read_only: bool, startup: Path | None) -> None:
    """Look into a store, and change it, in a Python console.

    STORE_OR_URL is a folder, or the address of a server: atop://host:2972, or
    atop+unix:///path of a socket. The environment variable ATOP_TOKEN has what such a server asks
    for.

    The console has `store`; its pools by their names, and all of them in `pools`; the classes
    Store, Item, Pool, Index and File; commit() and abort(). A transaction is always open, and all
    that you read is of the moment at which it began. commit() keeps what you have changed, abort()
    drops it, and both go on to the newest state. Others do not wait for you: when they have changed
    meanwhile what you have looked at, commit() raises WriteConflict and keeps nothing. On leaving,
    what was not committed is rolled back.

    What comes from a file or a pipe is run as a whole, without prompts; the exit code is 1 if it
    raised an exception.

    \b
    Example:
      atopdb shell pim.atop
      atopdb shell atop://localhost:2972 --read-only
    """
    with sharing(place, read_only=read_only) as store:
        done = _run(store, place, startup)
    if not done:
        raise click.exceptions.Exit(1)


def _run(store: Store, place: str, startup: Path | None) -> bool:
    """Whether all that was to be run got to its end."""
    interactive = sys.stdin is not None and sys.stdin.isatty()
    script = sys.stdin.buffer.read() if sys.stdin is not None and not interactive else b""
    module = ModuleType("__main__")
    console = Console(module)
    work = Work(store, vars(module))
    banner = _banner(store, place, work.pools, vars(module)) if interactive else ""
    with work, installed(module):
        if startup is not None and not console.execute(startup.read_bytes(), str(startup)):
            return False
        if not interactive:
            return console.execute(script, "<stdin>")
        with line_editing(vars(module)):
            console.interact(banner, "")
    return True


class Pools(Mapping[str, Pool]):
    """All pools that have a name, as they are now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, name: str) -> Pool:
        for pool in self._all():
            if pool.name == name:
                return pool
        raise NoSuchPool(f"there is no pool {name!r}; store.pool({name!r}) makes it", name)

    def __iter__(self) -> Iterator[str]:
        return (str(pool.name) for pool in self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(dict(self))

    def _all(self) -> list[Pool]:
        """Those whose class can be imported."""
        return [pool for pool in self._store.pools() if isinstance(pool, Pool)]


class Work:
    """The transaction that is open, or the snapshot where nothing can be changed.

    Whenever the next one begins, pools that have come get their names among `names`.
    """

    def __init__(self, store: Store, names: dict[str, Any]) -> None:
        self.pools = Pools(store)
        self._store = store
        self._session = store.session()
        self._transaction: Transaction | None = None
        self._snapshot = ExitStack()
        self._names = names
        self._named: dict[str, Pool] = {}
        names.update(
            {"__builtins__": builtins, "store": store, "pools": self.pools, "commit": self.commit,
             "abort": self.abort, **{each.__name__: each for each in _CLASSES}}
        )
        self._name_pools()

    def commit(self) -> None:
        """Keep what was changed, durably on return, and go on with the newest state."""
        try:
            self._snapshot.close()
            if self._transaction is not None:
                self._transaction.commit()
        except (TransactionError, ValueRefused) as error:
            if self._session.transaction is None:
                error.add_note("all changes were rolled back, and a new transaction has begun")
            raise
        finally:
            self._begin()

    def abort(self) -> None:
        """Drop what was changed, and go on with the newest state."""
        try:
            self._snapshot.close()
            while self._session.transaction is not None:
                self._session.transaction.abort()
        finally:
            self._begin()

    def __enter__(self) -> Work:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._snapshot.close()
        if self._has_changes():
            click.echo("what was not committed is rolled back", err=True)

    def _begin(self) -> None:
        if self._session.transaction is not None:
            return
        self._transaction = None
        self._name_pools()
        if self._store.readOnly:
            self._snapshot.enter_context(self._store.snapshot())
        else:
            self._transaction = self._store.begin()

    def _name_pools(self) -> None:
        """Between transactions: no commit is to depend on which pools there are."""
        for name, pool in self.pools.items():
            if _is_free(name) and self._names.get(name) is self._named.get(name):
                self._names[name] = self._named[name] = pool

    def _has_changes(self) -> bool:
        transaction = self._session.transaction
        try:
            return transaction is not None and transaction.pending
        except Exception:
            return True  # only what was changed can be refused


def _is_free(name: str) -> bool:
    """Whether `name` can be typed as it is, and means nothing else."""
    return name.isidentifier() and not (
        keyword.iskeyword(name) or hasattr(builtins, name) or name == "_"
    )


def _banner(store: Store, place: str, pools: Pools, names: dict[str, Any]) -> str:
    access = ", read only" if store.readOnly else ""
    classes = ", ".join(each.__name__ for each in _CLASSES)
    lines = [
        ("store", f"{place}: {len(store):,} items{access}"),
        ("pools", _listed(pools, names)),
        ("names", f"store, pools, commit(), abort(), {classes}"),
        ("help", "all that you read is of the moment at which the transaction began;"),
        ("", "commit() keeps your changes, abort() drops them,"),
        ("", "and both go on to the newest state"),
        ("leave", "Ctrl-D or exit(); what was not committed is rolled back"),
    ]
    return "\n".join(f"{name.ljust(7)}{clean(text)}" for name, text in lines)


def _listed(pools: Pools, names: dict[str, Any]) -> str:
    shown = [
        f"{name if names.get(name) is pool else f'pools[{name!r}]'} ({len(pool):,})"
        for name, pool in list(pools.items())[:_LISTED]
    ]
    left = len(pools) - len(shown)
    return ", ".join(shown) + (f" and {left:,} more" if left else "") or "none"
