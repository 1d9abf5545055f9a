"""What a newcomer relies on before any of Atop runs: README, metadata, sdist, make."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import metadata
from pathlib import Path
from textwrap import dedent

import pytest
from docutils.core import publish_string

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.txt", *sorted((ROOT / "doc").glob("*.rst"))]
SHIPPED = ["LICENSE", "README.txt", "Makefile", "MANIFEST.in", "setup.cfg", "setup.py",
           "pyproject.toml"]
SHIPPED_FOLDERS = ["atop", "doc", "examples", "scripts", "tests"]
COMPILED = shutil.ignore_patterns("__pycache__", "*.py[cod]", "*.so")


def run(*command: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_in(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder.parent))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The paths in a source distribution, built without the network from a copy of the tree."""
    copy = tmp_path_factory.mktemp("sdist") / "atop"
    copy.mkdir()
    for name in [*SHIPPED, "ruff.toml"]:
        shutil.copy(ROOT / name, copy)
    for name in SHIPPED_FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=COMPILED)
    build = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    run(sys.executable, "-c", build, cwd=copy)
    (archive,) = (copy / "dist").glob("atopdb-*.tar.gz")
    with tarfile.open(archive) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_render_without_warnings(path: Path) -> None:
    strict = {"halt_level": 2, "report_level": 2}
    assert publish_string(path.read_text("utf-8"), writer="html", settings_overrides=strict)


def test_every_document_is_in_the_readme() -> None:
    readme = (ROOT / "README.txt").read_text("utf-8")
    for path in DOCUMENTS[1:]:
        assert f"doc/{path.name}" in readme


def test_metadata_names_the_distribution_and_shows_the_readme() -> None:
    installed = metadata("atopdb")
    assert installed["Name"] == "atopdb"
    assert installed["Requires-Python"] == ">=3.11"
    assert installed["Description-Content-Type"].startswith("text/x-rst")
    assert "The Atop developers" in installed["Author"]


def test_the_core_needs_two_packages() -> None:
    required = metadata("atopdb").get_all("Requires-Dist") or []
    core = [line for line in required if "extra ==" not in line]
    assert [re.split(r"\W", line)[0] for line in core] == ["berkeleydb", "msgspec"]


def test_every_extra_is_there() -> None:
    extras = set(metadata("atopdb").get_all("Provides-Extra") or [])
    assert extras == {"bench", "cli", "crypt", "fuzz", "pim", "test", "web"}


def test_no_line_of_setup_cfg_installs_a_package_outside_atop() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["options.packages.find"]["include"].split() == ["atop", "atop.*"]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_sdist_holds(sdist: set[str], name: str) -> None:
    assert name in sdist


@pytest.mark.parametrize("folder", SHIPPED_FOLDERS)
def test_the_sdist_holds_all_of(sdist: set[str], folder: str) -> None:
    assert files_in(ROOT / folder) <= sdist


def test_the_sdist_holds_nothing_compiled(sdist: set[str]) -> None:
    assert not [name for name in sdist if "__pycache__" in name or name.endswith((".pyc", ".so"))]


def test_import_atop_leaves_the_extras_and_what_is_seldom_needed_alone() -> None:
    extras = {"click", "rich", "icalendar", "vobject"}
    seldom = {"asyncio", "cryptography", "logging", "secrets", "ssl", "subprocess"}
    program = f"import sys, atop; print(*sorted({extras | seldom!r} & set(sys.modules)))"
    assert run(sys.executable, "-c", program).split() == []


def test_the_readme_session_prints_what_it_says(tmp_path: Path) -> None:
    readme = (ROOT / "README.txt").read_text("utf-8")
    session, printed = (
        dedent(re.findall(rf"^{lead}::.*\n\n((?: .*\n|\n)+)", readme, re.M)[0]).strip()
        for lead in [r"\.\. code", "It prints"]
    )
    (tmp_path / "session.py").write_text(session, "utf-8")
    assert run(sys.executable, "session.py", cwd=tmp_path).strip() == printed


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = " ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.M)).replace(".venv/ready", "")
    listed = re.findall(r"^make ([\w-]+)", run("make", "--no-print-directory"), re.M)
    assert sorted(listed) == sorted(targets.split())
    assert {"demo", "test", "bench", "lint", "clean", "help"} <= set(listed)


def test_scripts_can_be_run() -> None:
    for path in [ROOT / "scripts" / "setup", ROOT / ".ci" / "run"]:
        assert path.stat().st_mode & 0o111, path
