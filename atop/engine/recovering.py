"""Recovery of a copied environment in a child process, which damage may kill.

Run as a script, this module recovers the environment that it is given; so it imports nothing of
Atop's.
"""

from __future__ import annotations

import sys
from pathlib import Path

from berkeleydb import db

_CACHE_BYTES = 32 << 20
_LEAST_SECONDS = 60
_BYTES_A_SECOND = 2 << 20
_SHOWN = 3


def recover(environment: Path, password: str = "") -> str | None:
    """Bring the tables in `environment` to the last commit in its logs; what went wrong, if so."""
    import subprocess

    size = sum(path.stat().st_size for path in environment.iterdir())
    try:
        done = subprocess.run(
            [sys.executable, "-P", __file__, str(environment)],
            input=password,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_LEAST_SECONDS + size // _BYTES_A_SECOND,
        )
    except subprocess.TimeoutExpired as error:
        return f"recovery did not end in {error.timeout:.0f} s"
    if done.returncode < 0:
        return f"recovery died of signal {-done.returncode}"
    if done.returncode:
        return "; ".join(done.stderr.splitlines()[:_SHOWN]) or "recovery failed"
    return None


def _main(path: str, password: str) -> int:
    environment = db.DBEnv()
    environment.set_cachesize(0, _CACHE_BYTES, 1)
    if password:
        environment.set_encrypt(password, db.DB_ENCRYPT_AES)
    flags = db.DB_CREATE | db.DB_PRIVATE | db.DB_INIT_TXN | db.DB_INIT_LOG | db.DB_INIT_MPOOL
    try:
        environment.open(path, flags | db.DB_RECOVER, 0o600)
        environment.txn_checkpoint(0, 0, db.DB_FORCE)
        environment.close()
    except db.DBError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.stdin.read()))
