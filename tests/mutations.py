"""What each promise stands on, taken out one at a time: a test has to fail then.

``python -m tests.mutations [NAME ...]`` copies the project aside, takes out one part, runs the
tests that are to notice, and tells which did. It ends with 1 if any part can go unnoticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
_SECONDS = 300
_FAILED = 1  # what pytest ends with when tests failed; other numbers are its own troubles


class Part(NamedTuple):
    """In `file`, `text` becomes `instead`; one of the `tests` has to notice."""

    file: str
    text: str
    instead: str
    tests: Sequence[str]


_LOG, _FOLDER = "atop/engine/log.py", "atop/engine/folder.py"
_FILES, _OWNER = "atop/engine/filefolder.py", "atop/engine/owner.py"

PARTS = {
    "sync of the log": Part(
        _LOG, "                _sync(self._descriptor)\n                first += 1",
        "                first += 1", ["tests/test_powercuts.py"],
    ),
    "recovery": Part(
        "atop/engine/environment.py",
        "self._open(cache_bytes, db.DB_RECOVER_FATAL if fatal else db.DB_RECOVER)",
        "self._open(cache_bytes, 0)", ["tests/engine/test_durability.py"],
    ),
    "lock of the owner": Part(
        _OWNER, "            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)", "            pass",
        ["tests/engine/test_folder.py", "tests/faults/test_tidy.py"],
    ),
    "commit token": Part(
        "atop/engine/bdb.py",
        "if any(state is not None and state.token == token for state in states):",
        "if any(state is not None for state in states):",
        ["tests/sharing/test_passing_on.py", "tests/engine/test_engine_contract.py"],
    ),
    "checksum of pages": Part(
        "atop/engine/environment.py", "table.set_flags(db.DB_CHKSUM | recnum | self._encrypted)",
        "table.set_flags(recnum | self._encrypted)", ["tests/test_verify.py"],
    ),
    "SHA-256 of files": Part(
        "atop/itemcheck.py", "if _digest(file) != item.sha256:", "if False:",
        ["tests/test_verify.py"],
    ),
    "counts of tables": Part(
        "atop/verify.py", "if rows != state.counts[name]:", "if False:", ["tests/test_verify.py"],
    ),
    "look at first pages": Part(
        _FOLDER, "        check_first_pages(folder, complete=complete, checksum=checksum)\n", "",
        ["tests/engine/test_folder.py", "tests/test_damage.py"],
    ),
    "rename of a file before its commit": Part(
        _FILES, "                (self.folder / name).rename(self.path(ident))",
        "                self.path(ident).write_bytes((self.folder / name).read_bytes())",
        ["tests/test_files.py", "tests/test_powercuts.py"],
    ),
    "sync of the names of files": Part(
        _FILES, "        if adopted:\n            sync_folder(self.folder)", "        if adopted:\n"
        "            pass", ["tests/test_powercuts.py"],
    ),
    "locks of snapshots": Part(
        "atop/engine/published.py", "                    share(file.fileno(), held)\n", "",
        ["tests/engine/test_published.py", "tests/sharing/test_clients.py"],
    ),
    "age of snapshots": Part(
        _FILES, "(oldest is not None and oldest < serial)", "oldest is not None",
        ["tests/test_snapshots.py"],
    ),
    "sync of the bytes of files": Part(
        "atop/files.py", "            os.fsync(self._descriptor)\n", "",
        ["tests/test_powercuts.py"],
    ),
    "token of a server": Part(
        "atop/engine/tokens.py", "            if hmac.compare_digest(digest, known):",
        "            if True:", ["tests/engine/test_tokens.py"],
    ),
    "look at opcodes": Part(
        "atop/records.py", "any_will_do = check(data)", "any_will_do = False",
        ["tests/test_security.py"],
    ),
    "token of the browser": Part(
        "atop/web/guard.py", "            return self._check_token(scope, headers)",
        "            return None", ["tests/web/test_guard.py"],
    ),
    "key of forms": Part(
        "atop/web/app.py", 'check_form(request.scope, form.get("form_key"))', "pass",
        ["tests/web/test_changes.py"],
    ),
}


def run(name: str) -> bool:
    """Whether a test notices that the part of that name is missing."""
    part = PARTS[name]
    with tempfile.TemporaryDirectory(prefix="atop-mutation-") as folder:
        copy = Path(folder)
        for listed in _files():
            target = copy / listed
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / listed, target)
        changed = copy / part.file
        source = changed.read_text("utf-8")
        if source.count(part.text) != 1:
            raise SystemExit(f"{name}: {part.text!r} is not once in {part.file}")
        changed.write_text(source.replace(part.text, part.instead), "utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *part.tests],
            cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, timeout=_SECONDS,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )
    if done.returncode not in {0, _FAILED}:
        raise SystemExit(f"{name}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}")
    noticed = done.returncode == _FAILED
    by = [line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    print(f"{name}: {'noticed by ' + ', '.join(by) if noticed else 'NOT NOTICED'}", flush=True)
    return noticed


def _files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
        stdout=subprocess.PIPE, text=True,
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def main(names: Sequence[str]) -> int:
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
        return 2
    unnoticed = [name for name in names or PARTS if not run(name)]
    print(f"{len(names or PARTS) - len(unnoticed)} noticed, {len(unnoticed)} not")
    return bool(unnoticed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
