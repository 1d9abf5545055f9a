"""Rules for the care of a store: none of it changes what is in it."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from atop import Store
from atop.care import restore
from atop.errors import ReadOnlyStore
from tests.models.base import Base, outside
from tests.models.world import POOLS, Box


class Caring(Base):
    """What an administrator does."""

    @rule(what=st.sampled_from(["compact", "checkpoint", "verify", "stats", "read", "copy",
                                "restore"]))
    @outside
    def care(self, what: str) -> None:
        if what == "compact":
            self.store.compact()
        elif what == "checkpoint":
            self.store.checkpoint()
        elif what == "verify":
            report = self.store.verify()
            assert not report.problems, report.problems
        elif what == "stats" or self.folder is None:
            assert self.store.stats().items == len(self.store)
        elif what == "read":
            self.only_read()
        else:
            self.back_up(go_on_with_it=what == "restore")

    def back_up(self, *, go_on_with_it: bool) -> None:
        assert self.folder is not None
        assert self.path is not None
        copied, returned = self.folder / "backup.atop", self.folder / "returned.atop"
        self.store.backup(copied)
        if go_on_with_it:
            restore(copied, returned)
            self.close_store()
            shutil.rmtree(self.path)
            returned.rename(self.path)
            self.open_store()
        else:
            mine, self.store = self.store, Store(copied, allow=[Box])
            try:
                self.check_contents(self.worlds.committed)
            finally:
                self.store.close()
                self.store = mine
        shutil.rmtree(copied)

    def only_read(self) -> None:
        self.close_store()
        self.store = Store(self.path, readOnly=True, allow=[Box])
        try:
            self.look()
            for name in POOLS:
                self.look_at_a_pool(name)
            with pytest.raises(ReadOnlyStore):
                self.store.begin()
        finally:
            self.store.close()
            self.open_store()
