"""The benchmark of sharing runs, shows every figure, and each contender does what it is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from time import monotonic

import pytest
from docutils.core import publish_doctree

from benchmarks.contacts import contacts
from benchmarks.contender import PAGE
from benchmarks.rounds import ROOT, environment
from benchmarks.sharing_goals import rows
from benchmarks.sharing_host import Host
from benchmarks.sharing_measures import Sizes
from benchmarks.sharing_worker import CLIENTS, Workbench
from benchmarks.worker import timed

ITEMS = 300
SERVED = ["zeo", "durus"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What a tiny run prints, and the page it writes."""
    folder = tmp_path_factory.mktemp("sharing")
    page = folder / "performance-sharing.rst"
    command = [sys.executable, "benchmarks/sharing.py", "--quick", "--items", str(ITEMS)]
    command += ["--rounds", "1", "--only", *SERVED, "--dir", str(folder), "--write", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == [page], "a run removes the collections that it made"
    return done.stdout, page.read_text(encoding="utf-8")


def test_every_figure_is_on_the_page_and_printed(run: tuple[str, str]) -> None:
    printed, page = run
    for row in rows(Sizes.quick(ITEMS, 1)):
        assert f"   * - {row.title} ({row.unit.name})\n" in page
        assert row.title[:20] in printed
        for goal in row.goals:
            assert f"     - {goal.words}\n" in page


def test_servers_lack_only_what_an_owner_measures(run: tuple[str, str]) -> None:
    _, page = run
    table = page.partition("All figures\n")[2].split("   * - ")[1:]
    for row, cells in zip(rows(Sizes.quick(ITEMS, 1)), table, strict=True):
        measured = cells.splitlines()[2:4]
        assert (measured == ["     - –"] * 2) == row.figure.endswith("_owner"), row.title


def test_the_page_is_restructuredtext_and_names_versions_but_no_folder(
    run: tuple[str, str]
) -> None:
    _, page = run
    publish_doctree(page, settings_overrides={"halt_level": 2, "report_level": 2})
    assert str(ROOT) not in page
    assert str(Path.home()) not in page
    for package in ["ZEO", "ZODB", "Durus"]:
        assert f"{package} {version(package)}" in page


@pytest.fixture(params=CLIENTS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A contender, and a folder that is served to its clients if they do not do so themselves."""
    name = request.param
    if name in SERVED:
        with Host(name, tmp_path / "served", environment(tmp_path / "bytecode")) as host:
            yield name, host.folder
    else:
        yield name, tmp_path


def test_a_client_does_what_it_is_asked(folder: tuple[str, Path]) -> None:
    name, path = folder
    client = CLIENTS[name](path)
    client.create()
    some = list(contacts(ITEMS))
    client.insert(some[1:])
    client.insert(some[:1])
    with client.moment():
        ids = client.ids()
        assert len(set(ids)) == ITEMS
        client.get(ids)
        names = sorted(contact.name for contact in some)
        assert client.page_from(names[-PAGE - 1]) == PAGE
        assert client.page_from(names[-3], ahead=True) == 3
    assert client.mark() == 0
    client.set_mark(7)
    assert client.mark() == 7
    client.close()
    again = CLIENTS[name](path)
    assert again.mark() == 7
    again.close()


def test_everything_that_a_client_measures_is_measured(folder: tuple[str, Path]) -> None:
    name, path = folder
    bench = Workbench(CLIENTS[name], path)
    bench.open()
    assert bench.bulk(ITEMS).keys() == {"bulk"}
    assert bench.cold(ITEMS, 1).keys() == {"page", "ahead", "get"}
    figures = bench.warm(ITEMS, 1)
    assert figures.keys() == {"warm", "warm_outside", "again"}
    assert bench.commits(monotonic(), 0.05)["a_second"] > 0
    assert bench.change(1, 2).keys() == {"1", "2"}
    assert bench.watch(1, 2).keys() == {"1", "2"}
    killed = path / "killed"
    killed.write_text(str(monotonic()))
    assert timed(lambda: bench.work(str(killed))) < 1
    bench.close()
