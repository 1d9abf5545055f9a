"""What can be read of a damaged environment, which is itself only read.

It is copied; on the copy pages with one wrong byte are mended, pages that are lost are made such
that recovery leaves them alone, and recovery is tried. Then rows are read from the copy's pages,
and what looks like rows from the pages that are damaged.
"""

from __future__ import annotations

import shutil
import stat
from contextlib import suppress
from pathlib import Path

from atop.engine.base import ITEMS, TABLES
from atop.engine.checksum import Checksum
from atop.engine.environment import COMMITS
from atop.engine.leaves import Leaves, blank, listed
from atop.engine.logtail import check_logs, log_name, read_tail
from atop.engine.pagecode import PAGE_BYTES, PageCode
from atop.engine.progress import Progress
from atop.engine.recovering import recover
from atop.errors import AtopError

_ALL = (*TABLES, COMMITS)


class Wreck:
    """The tables of the environment in the folder `source`, copied to the new folder `scratch`.

    ``tables`` has the pages of those that are there, ``damaged`` those whose own file has damage,
    with the damage; ``notes`` say what was found. ``recovered`` is whether the items have all that
    the logs have.
    """

    def __init__(
        self, source: Path, scratch: Path, progress: Progress, code: PageCode, password: str = ""
    ) -> None:
        self.tables: dict[str, Leaves] = {}
        self.damaged: dict[str, str] = {}
        self.notes: list[str] = []
        self.recovered = False
        self._originals: dict[str, Leaves] = {}
        self._source = source
        self._scratch = scratch
        self._code = code
        try:
            self._survey(progress)
            self._recover(password)
            self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all files; the copies are the caller's to remove."""
        for leaves in (*self.tables.values(), *self._originals.values()):
            leaves.close()
        self.tables, self._originals = {}, {}

    def original(self, table: str) -> Leaves | None:
        """The table as it was found."""
        return self._originals.get(table)

    def _survey(self, progress: Progress) -> None:
        for done, name in enumerate(_ALL):
            progress("pages", done, len(_ALL))
            path = self._source / name
            try:
                leaves = self._originals[name] = Leaves(path, self._code)
                leaves.survey()
            except OSError as error:
                self._damaged(name, f"{path} cannot be read: {error.strerror}")
                continue
            if leaves.mended:
                self._damaged(name, f"{path}: one wrong byte in {listed(leaves.mended)}, put right")
            if leaves.bad:
                self._damaged(name, f"{path}: {listed(leaves.bad)} damaged")
            if leaves.absent:
                self._damaged(name, f"{path}: {listed(leaves.absent)} zeroed or cut off")
        progress("pages", len(_ALL), len(_ALL))

    def _damaged(self, name: str, damage: str) -> None:
        self.damaged[name] = f"{self.damaged[name]}; {damage}" if name in self.damaged else damage
        self.notes.append(damage)

    def _recover(self, password: str) -> None:
        """Recover the copy; without the tables that recovery fails for, if need be."""
        if not any(self._source.glob("log.*")):
            self.notes.append(
                f"{self._source} has no logs: what was committed after the last checkpoint and "
                "had not reached the tables is lost"
            )
            self._copy(logs=False)
            return
        without = {name for name, leaves in self._originals.items() if 0 in leaves.bad}
        self._copy(without=without)
        dropped = self._dropped(password)
        problem = recover(self._scratch, password)
        self.recovered = problem is None and ITEMS not in without and not dropped
        if problem is not None:
            self.notes.append(
                "the logs could not be used, so the tables are as the last checkpoint left them, "
                f"or a later moment: {problem}"
            )
            self._copy(logs=False)
        for name in without:
            self._copy_table(name)
            if problem is None:
                self.notes.append(f"{self._source / name} is as the last checkpoint left it, or a "
                                  "later moment: without its first page the logs do not know it")

    def _dropped(self, password: str) -> bool:
        """Whether recovery will drop whole records, which is told."""
        checksum = Checksum(password or None)
        try:
            tail = read_tail(
                self._scratch, check_logs(self._scratch, checksum), checksum, password or None
            )
        except AtopError:
            return False  # and so recovery tells
        if tail.records:
            what = "the" if checksum.keyed else f"{tail.commits:,}"
            self.notes.append(
                f"the log is damaged at byte {tail.end.offset:,} of "
                f"{self._source / log_name(tail.end.file)}, and {what} commits behind that are not "
                "saved: nothing reads them, keep the logs"
            )
        return bool(tail.records)

    def _copy(self, *, logs: bool = True, without: set[str] | None = None) -> None:
        if self._scratch.exists():
            shutil.rmtree(self._scratch)
        self._scratch.mkdir(0o700)
        for name in self._originals:
            if not without or name not in without:
                self._copy_table(name)
        for path in self._source.glob("log.*") if logs else ():
            with suppress(OSError):
                if stat.S_ISREG(path.lstat().st_mode):
                    shutil.copyfile(path, self._scratch / path.name)

    def _copy_table(self, name: str) -> None:
        original = self._originals.get(name)
        if original is None:
            return
        copy = self._scratch / name
        shutil.copyfile(original.path, copy)
        with copy.open("r+b") as file:
            for number, page in original.mended.items():
                file.seek(number * PAGE_BYTES)
                file.write(page)
            for number in (*original.bad, *original.absent):
                if number:
                    file.seek(number * PAGE_BYTES)
                    file.write(self._code.sealed(blank(number)))

    def _read(self) -> None:
        for name in self._originals:
            path = self._scratch / name
            if path.exists():
                original = self._originals[name]
                leaves = self.tables[name] = Leaves(path, self._code, original)
                leaves.survey()
