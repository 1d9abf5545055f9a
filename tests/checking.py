"""What every store must be like when nobody is using it, checked from outside.

Written apart from :meth:`atop.Store.verify`, and run beside it.
"""

from __future__ import annotations

from pathlib import Path

from atop import File, Pool, Store
from atop.engine.base import CATALOG, INDEX, ITEMS, TABLES, Range
from atop.index import pool_keys
from atop.records import decode_entries, decode_header


def check_store(store: Store, *, pages: bool = True) -> None:
    """Fail if `store` is not whole: rows and counts, records and index, pools, classes, files.

    To look at `pages` takes most of the time, and there is nothing in them that depends on who has
    written them.
    """
    tables = {name: dict(store.engine.scan(name, Range())[1]) for name in TABLES}
    counts = store.engine.state.counts
    lengths = {name: len(rows) for name, rows in tables.items()}
    assert lengths == counts, "the counts are not those of the rows"
    entries = set()
    classes = {key for key in tables[CATALOG] if key.startswith(b"class/")}
    for key, record in tables[ITEMS].items():
        number = int.from_bytes(key, "big")
        assert number < store.engine.state.next_id, f"id {number} would be given again"
        assert b"class/" + decode_header(record)[0].to_bytes(4, "big") in classes
        held = decode_entries(record)
        entries |= {entry + key for entry in held}
        for pool in pool_keys(held):
            assert pool in tables[ITEMS], f"item {number} is in pool {pool.hex()}, which is gone"
    missing, extra = entries - tables[INDEX].keys(), tables[INDEX].keys() - entries
    assert not missing, f"entries of records are not in the index: {missing}"
    assert not extra, f"the index has entries of no record: {extra}"
    for name, ident in tables[CATALOG].items():
        if name.startswith(b"pool/"):
            assert ident in tables[ITEMS], f"{name!r} leads to no item"
    _check_pools(store)
    _check_files(store)
    if not pages:
        return
    problems = store.verify().problems
    assert not problems, f"Store.verify finds damage: {problems}"


def _check_pools(store: Store) -> None:
    """Each index sorts each member once, or once per element."""
    for pool in store.items(Pool):
        members = {item.id for item in pool}
        for index in pool.indexes:
            query = pool.queryIndex(index.name)
            ids = list(query.ids())
            assert len(ids) == len(query), f"{pool} counts other than it lists by {index.name}"
            if index.multiple:
                assert set(ids) <= members
            else:
                assert sorted(ids) == sorted(members), f"{pool} by {index.name} lacks or repeats"


def _check_files(store: Store) -> None:
    folder = Path(store.files.folder)
    named = {str(file.id) for file in store.items(File)}
    assert {path.name for path in folder.iterdir()} == named, "files/ is not what File items say"
    for file in store.items(File):
        assert file.path.stat().st_size == file.size
