"""Measures that write to a collection, and leave it about as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pickle import dumps
from statistics import median
from threading import Barrier, Thread

from benchmarks.bench import Bench
from benchmarks.contacts import Contact
from benchmarks.contender import Contender, Insert
from benchmarks.worker import Figures, timed

_HUNG = 300.0


class Writing(Bench):
    """What is written."""

    def durable(self, items: int, repeat: int) -> Figures:
        """One transaction for one contact; and between each two, one synced write to a file."""
        contender = self.contender(items)
        commits, writes = [], []
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(self.folder / "written", flags, 0o600)
        for contact in self.new(items, repeat):
            same_bytes = _stored_bytes(contact)
            writes.append(timed(lambda: _write_synced(descriptor, same_bytes)))  # noqa: B023
            commits.append(timed(lambda: contender.insert([contact])))  # noqa: B023
        os.close(descriptor)
        return {"durable": median(commits), "write": median(writes)}

    def crowd(self, items: int, threads: int, count: int) -> Figures:
        """Durable transactions of one contact from several threads at once, `count` from each."""
        contender = self.contender(items)
        work = [self.new(items, count) for _ in range(threads)]
        before = contender.syncs()
        with contender.threads() as colleague:
            together = Barrier(threads + 1, timeout=_HUNG)
            crowd = [Thread(target=_insert_singly, args=(colleague, mine, together))
                     for mine in work]
            for thread in crowd:
                thread.start()
            together.wait()
            seconds = timed(together.wait)
            for thread in crowd:
                thread.join()
        after, commits = contender.syncs(), threads * count
        figures = {"crowd": seconds / commits}
        if before is not None and after is not None:
            figures["crowd_syncs"] = (after - before) / commits
        return figures

    def commits(self, items: int, count: int) -> Figures:
        """Transactions of one contact, which do not wait for the disk; beside a snapshot or not."""
        if not self.kind.relaxes:
            return {}
        self.close()
        contender = self.kind(self.path(items), durable=False)
        try:
            figures = {"commit": self._commit(contender, items, count)}
            held = contender.snapshot()
            if held is not None:
                with held:
                    figures["commit_held"] = self._commit(contender, items, count)
            return figures
        finally:
            contender.close()

    def update_one(self, items: int, repeat: int) -> Figures:
        """One durable transaction that changes the year of birth of one contact, objects cold."""
        contender = self.contender(items)
        years = self._years(contender, items, repeat)
        self.cold(items)
        return {"update_one": median(timed(lambda: contender.update([year]))  # noqa: B023
                                     for year in years)}

    def update_many(self, items: int) -> Figures:
        """The same of many contacts in one transaction."""
        contender = self.contender(items)
        years = self._years(contender, items, None)
        self.cold(items)
        return {"update_many": timed(lambda: contender.update(years)) / len(years)}

    def delete(self, items: int) -> Figures:
        """Delete many contacts in one transaction, objects cold, and put them back."""
        contender, doomed = self.contender(items), self.landmarks(items).changed
        ids = contender.ids_of(contact.name for contact in doomed)
        self.cold(items)
        seconds = timed(lambda: contender.delete(ids))
        contender.insert(doomed)
        return {"delete": seconds / len(ids)}

    def _years(
        self, contender: Contender, items: int, count: int | None
    ) -> list[tuple[int, int]]:
        ids = contender.ids_of(each.name for each in self.landmarks(items).changed[:count])
        return [(ident, self.chance.randrange(1930, 2024)) for ident in ids]

    def _commit(self, contender: Contender, items: int, count: int) -> float:
        added = self.new(items, count)
        return timed(lambda: [contender.insert([contact]) for contact in added]) / count


def _insert_singly(
    colleague: Callable[[], AbstractContextManager[Insert]], mine: list[Contact], together: Barrier
) -> None:
    try:
        with colleague() as insert:
            together.wait()
            for contact in mine:
                insert([contact])
            together.wait()
    except BaseException:
        together.abort()
        raise


def _stored_bytes(contact: Contact) -> bytes:
    """What has to be stored of a contact: its pickle and its three keys."""
    keys = (contact.name.encode(), contact.email.encode(), contact.born.to_bytes(4, "big"))
    return dumps(contact._asdict(), 5) + b"".join(keys)


def _write_synced(descriptor: int, data: bytes) -> None:
    """Append `data` to a file; return when it is on disk."""
    os.write(descriptor, data)
    os.fdatasync(descriptor)
