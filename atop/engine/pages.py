"""Berkeley DB's own verifier, run on tables in a child process.

A damaged page can kill the verifier, or keep it busy for ever. Run as a script, this module
verifies the tables that it is given, and tells of each as soon as it is done; so it imports nothing
of Atop's. The password of encrypted ones comes on standard input, where nobody else on the machine
sees it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from berkeleydb import db

_CACHE_BYTES = 32 << 20
_LEAST_SECONDS = 60
_BYTES_A_SECOND = 1 << 20


def page_damage(
    tables: list[Path], password: str = "", done: Callable[[int], object] = lambda count: None
) -> dict[Path, str]:
    """What the verifier says of the files of tables, which nobody may be writing.

    Those that are whole are left out. `password` is Berkeley DB's, of encrypted tables; `done` is
    called with how many are verified.

    :raises OSError: when no child process can be started that verifies.
    """
    damage: dict[Path, str] = {}
    rest = list(tables)
    while rest:
        told, end = _verified(rest, password)
        damage.update({table: text for table, text in zip(rest, told, strict=False) if text})
        rest = rest[len(told) :]
        if rest:
            damage[rest.pop(0)] = end
        done(len(tables) - len(rest))
    return damage


def _verified(tables: list[Path], password: str) -> tuple[list[str], str]:
    """What a child told of the first tables, and how it ended."""
    import subprocess

    size = sum(table.stat().st_size for table in tables if table.exists())
    command = [sys.executable, "-P", __file__, *map(str, tables)]
    seconds = _LEAST_SECONDS + size // _BYTES_A_SECOND
    try:
        done = subprocess.run(
            command, input=password.encode(), capture_output=True, check=False, timeout=seconds
        )
        output = done.stdout
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        end = f"the verifier died of signal {-done.returncode}" if done.returncode < 0 else (
            "".join(last) or "the verifier failed")
    except subprocess.TimeoutExpired as error:
        output, end = error.stdout or b"", f"the verifier did not end in {seconds} s"
    lines = [line for line in output.splitlines(keepends=True) if line.endswith(b"\n")]
    if not lines:
        raise ChildProcessError(0, f"pages cannot be verified, nothing is known of them: {end}")
    return [str(json.loads(line)) for line in lines[1:]], end


def _damage(path: str, password: str) -> str:
    """What is wrong with one table; nothing if it is whole."""
    table = db.DB()
    if password:
        table.set_encrypt(password, db.DB_ENCRYPT_AES)
    table.set_cachesize(0, _CACHE_BYTES, 1)
    try:
        table.verify(path, None, None, 0)
    except db.DBError as error:
        return str(error)
    return ""


def _main(paths: list[str], password: str) -> None:
    print(json.dumps("ready"), flush=True)
    for path in paths:
        print(json.dumps(_damage(path, password)), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1:], sys.stdin.read())
