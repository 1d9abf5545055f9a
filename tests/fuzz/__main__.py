"""Fuzz each target, guided by what code is reached: ``python -m tests.fuzz --help``.

What makes a target fail is kept in tests/fuzz/cases, where the tests find it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = Path(__file__).parent / "cases"


def main() -> None:
    """Run all targets, or those that are named, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz Atop.")
    parser.add_argument("targets", nargs="*", help="which (default: all)")
    parser.add_argument("--minutes", type=float, default=10, help="for all of them together")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked, rest = parser.parse_known_args()
    if asked.one:
        _fuzz(asked.one, [*asked.targets, *rest])
        return
    from tests.fuzz.targets import TARGETS

    names = asked.targets or list(TARGETS)
    failed = [name for name in names if not _run(name, asked.minutes * 60 / len(names))]
    sys.exit(f"failed: {', '.join(failed)}; see {CASES}" if failed else 0)


def _run(name: str, seconds: float) -> bool:
    """Fuzz one target in a process of its own; answers whether all went well."""
    from tests.fuzz.targets import SEEDS

    kept = CASES / name
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="atop-corpus-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(SEEDS[name]):
            (corpus / str(number)).write_bytes(seed)
        print(f"{name}: {seconds:.0f} s", flush=True)
        done = subprocess.run([
            sys.executable, "-m", "tests.fuzz", "--one", name, str(corpus), str(kept),
            f"-max_total_time={max(1, round(seconds))}", f"-artifact_prefix={kept}/",
            "-rss_limit_mb=2048", "-timeout=20", "-max_len=4096", "-print_final_stats=1",
            "-verbosity=0",
        ], env={**os.environ, "TMPDIR": folder}, check=False)  # fmt: skip
    return done.returncode == 0


def _fuzz(name: str, options: list[str]) -> None:
    try:
        import atheris
    except ImportError:
        sys.exit("fuzzing needs atheris, which is made for Linux: pip install 'atopdb[fuzz]'")
    with atheris.instrument_imports(include=["atop"]):
        from tests.fuzz.targets import TARGETS

    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
