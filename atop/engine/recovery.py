"""What recovery would drop, seen before it runs, kept aside and reported.

Berkeley DB ends the log at the first record that is not whole, and drops what lies behind without
a word. Here the log is looked at first. If there are whole records behind that end, the logs are
copied to the folder ``set-aside``, and only then is the log cut there. What a power cut has left of
writes that were still on their way is told from what was lost: see :mod:`atop.engine.unsynced`. If
a table has a page that is newer than that end, cutting would leave the tables of several moments:
the store stays closed.
"""

from __future__ import annotations

import os
from pathlib import Path

from atop.engine import firstlook
from atop.engine.checksum import Checksum
from atop.engine.log import sync_folder
from atop.engine.logtail import Lsn, Tail, check_logs, log_name, read_tail, registered
from atop.engine.mending import mend
from atop.engine.setaside import SetAside
from atop.engine.unsynced import was_never_synced
from atop.errors import DamagedStore

_CHUNK = 1 << 20
_MOST_MENDS = 4


class Recovery:
    """The recovery of one store's environment, of an encrypted one with its `password`.

    ``damaged`` is whether the log was found to be.
    """

    def __init__(self, store: Path, password: str | None) -> None:
        self._folder = store / "environment"
        self._password = password
        self._checksum = Checksum(password)
        self._aside = SetAside(store)
        self._told = False

    @property
    def notes(self) -> list[str]:
        """What was set aside, now or earlier, and not yet removed by anybody."""
        return self._aside.notes()

    def prepare(self, *, closed: bool, complete: bool, restarted: bool = False) -> None:
        """Look at the logs before Berkeley DB does; what it would drop is set aside and cut off.

        `restarted` is whether the system has come to an end since, maybe with the power.

        :raises DamagedStore: when recovery would leave the tables of several moments.
        :raises NewerFormat: when another Berkeley DB wrote the logs.
        """
        if not self._folder.exists():
            return
        numbers = check_logs(self._folder, self._checksum)
        if not any(self._begun(number) for number in numbers):
            if complete:
                raise DamagedStore(
                    f"{self._folder} has lost its logs (they are empty or zeroed): run `atopdb "
                    "salvage` on the store, or restore a backup with `atopdb restore`",
                    str(self._folder),
                )
            return
        tail = self._mended(numbers)
        if not closed or tail.records:
            firstlook.check_log_covers(self._folder, tail.end)
        if not self._checksum.keyed:
            ids = registered(self._folder, tail, numbers, firstlook.ALL_TABLES, self._checksum)
            firstlook.check_file_ids(self._folder, ids)
        if tail.logs:
            self._set_aside(tail, numbers, restarted)

    def take(self, file: Path) -> bool:
        """Keep a file that no item stands for, if ever a commit was dropped that may have."""
        return self._aside.take(file)

    def check_tables(self) -> None:
        """Look at all pages, as recovery has left them, before anybody reads them.

        :raises DamagedStore: naming the file and the page.
        """
        firstlook.check_all_pages(self._folder)

    def finish(self, serial: int, published: int, on_disk: int = 0) -> None:
        """The store is recovered to the commit `serial`.

        `published` was told to clients, and must be there; `on_disk` was on the disk once.
        """
        note = ""
        if max(published, on_disk) > serial and not self._told:
            known = "clients were told of" if published > on_disk else "the disk had"
            note = (
                f"{known} commits {serial + 1:,} to {max(published, on_disk):,}, which are not in "
                "the log: it was damaged or cut"
            )
        place = self._aside.settle(note)
        if note:
            _tell(note, place or self._aside.keep([], note))

    def _mended(self, numbers: list[int]) -> Tail:
        """What is behind the end of the log, after single wrong bytes in it were put right."""
        tail = self._tail(numbers)
        for _ in range(_MOST_MENDS):
            path = self._folder / log_name(tail.end.file)
            found = None
            if tail.records and not self._checksum.keyed:
                found = mend(path.read_bytes(), tail.end.offset)
            if found is None:
                break
            note = f"a wrong byte of {path.name} was mended, at {found.offset:,}: nothing was lost"
            _tell(note, self._aside.keep([path], note))
            with path.open("r+b", buffering=0) as file:
                file.seek(found.offset)
                file.write(bytes([found.byte]))
                os.fsync(file.fileno())
            tail = self._tail(numbers)
        return tail

    def _tail(self, numbers: list[int]) -> Tail:
        return read_tail(self._folder, numbers, self._checksum, self._password)

    def _begun(self, number: int) -> bool:
        with (self._folder / log_name(number)).open("rb") as file:
            return any(file.read(self._checksum.log_header + 4))

    def _set_aside(self, tail: Tail, numbers: list[int], restarted: bool) -> None:
        """Half a record is left by any crash, and is kept only until the store is open."""
        logs = [self._folder / log_name(number) for number in numbers]
        last = [path for path in logs if path.name in map(log_name, tail.logs)]
        if tail.records and restarted and was_never_synced(self._folder, tail, self._checksum):
            note = (
                f"the system stopped before the log was on disk: {log_name(tail.end.file)} ends at "
                f"byte {tail.end.offset:,}, and {tail.commits:,} commits behind that, of which "
                "nothing says that they were ever on disk, are not in the store"
            )
            _tell(note, self._aside.keep(last, note, never_synced=True), warn=False)
        elif tail.records:
            self._report(tail, logs)
        else:
            self._aside.keep(last, "half a record at the end of the log", certain=False)
        _cut(self._folder, tail.end, tail.logs)

    def _report(self, tail: Tail, logs: list[Path]) -> None:
        what = "the" if self._checksum.keyed else f"{tail.commits:,}"
        note = (
            f"the log was damaged at byte {tail.end.offset:,} of {log_name(tail.end.file)}, and "
            f"{what} commits behind that were dropped"
        )
        _tell(note, self._aside.keep(logs, note))
        self._told = True


def _tell(note: str, place: Path, *, warn: bool = True) -> None:
    import logging

    level = logging.WARNING if warn else logging.INFO
    logging.getLogger("atop").log(level, "%s: see %s", note, place)


def _cut(folder: Path, end: Lsn, logs: tuple[int, ...]) -> None:
    """Make the log end where Berkeley DB ends it, durably: later files first."""
    for number in sorted(logs, reverse=True):
        path = folder / log_name(number)
        if number > end.file:
            path.unlink()
            continue
        with path.open("r+b", buffering=0) as file:
            left = file.seek(0, os.SEEK_END) - end.offset
            file.seek(end.offset)
            while left > 0:
                left -= file.write(bytes(min(left, _CHUNK)))
            os.fsync(file.fileno())
    sync_folder(folder)
