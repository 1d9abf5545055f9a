"""The benchmark runs, shows every figure, and leaves nothing but the page it was asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from docutils.core import publish_doctree

from benchmarks.contacts import contacts
from benchmarks.figures import Table, spread
from benchmarks.goals import MICROSECONDS, RATE, Goal
from benchmarks.operations import OPERATIONS, others
from benchmarks.plan import Sizes
from benchmarks.plots import plotted
from benchmarks.rounds import ROOT
from benchmarks.targets import targets

ITEMS = 500
NAMES = ("atop", "sqlite3")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """What a tiny run of some contenders prints, the page it writes, and where its plots are."""
    folder = tmp_path_factory.mktemp("benchmark")
    page = folder / "performance.rst"
    command = [sys.executable, "benchmarks/core.py", "--items", str(ITEMS), "--rounds", "1"]
    command += ["--dir", str(folder), "--write", str(page), "--only", "sqlite3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["performance.rst", "plots"], "a run removes the collections that it made"
    return done.stdout, page.read_text(encoding="utf-8"), folder / "plots"


def test_every_figure_is_on_the_page_and_printed(run: tuple[str, str, Path]) -> None:
    printed, page, _ = run
    for row in (*OPERATIONS, *others(Sizes.around(ITEMS, 1))):
        assert f"   * - {row.title} ({row.unit.name})\n" in page
        assert row.title.split(",")[0][:20] in printed or "add_all" in row.title


def test_every_goal_is_on_the_page_reached_or_not(run: tuple[str, str, Path]) -> None:
    printed, page, _ = run
    goals = page[page.index("What it must reach") : page.index("Where it is slower")]
    for row in targets(Sizes.around(ITEMS, 1)):
        for goal in row.goals:
            assert f"     - {goal.words}\n" in goals
            assert goal.words in printed
            measured = goal.beside is None or goal.beside[0] in NAMES
            reached = goals.split(f"     - {goal.words}\n     -")[1].lstrip(" ")
            assert reached.startswith(("yes", "no")) is measured


def test_a_figure_lacks_only_where_there_is_no_such_thing(run: tuple[str, str, Path]) -> None:
    _, page, _ = run
    figures = page[page.rindex("Other figures") :]
    lacking = [row.split("\n")[0] for row in figures.split("   * - ")[2:] if "     - –\n" in row]
    assert [title.partition(" (")[0] for title in lacking if not title.startswith("syncs")] == [
        "the same: log syncs", f"insert {ITEMS} by SQLAlchemy's ``add_all()``",
    ]  # fmt: skip
    assert "     - –\n" not in page[page.index("Figures at") : page.rindex("Other figures")]


def test_every_plot_is_shown_with_words_for_who_cannot_see_it(
    run: tuple[str, str, Path],
) -> None:
    _, page, plots = run
    assert page.count("   :alt: ") == len(plotted())
    for operation in plotted():
        assert f".. image:: plots/{operation.figure}.svg\n" in page
        drawn = (plots / f"{operation.figure}.svg").read_text(encoding="utf-8")
        assert all(f">{name}</text>" in drawn for name in NAMES)
    assert len(list(plots.iterdir())) == len(plotted())


def test_a_contender_that_is_not_there_is_told() -> None:
    command = [sys.executable, "benchmarks/core.py", "--only", "sqlite3,oracle"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert "there is no contender 'oracle', only atop, berkeleydb" in done.stderr


def test_the_page_is_restructuredtext_and_names_no_folder(run: tuple[str, str, Path]) -> None:
    _, page, _ = run
    publish_doctree(page, settings_overrides={"halt_level": 2, "report_level": 2})
    assert str(ROOT) not in page
    assert str(Path.home()) not in page


def test_the_data_is_the_same_in_every_run() -> None:
    assert list(contacts(3)) == list(contacts(3))
    assert len({each.email for each in contacts(1000)}) == 1000


def test_a_speed_is_compared_as_a_multiple_of_the_peers() -> None:
    table = Table()
    table.add("atop", {"get": 2.0})
    table.add("sqlite3", {"get": 1.0})
    goal = Goal("at least 0.4 × sqlite3", 0.4, at_least=True, beside=("sqlite3", "get"))
    assert goal.value(table, "get") == 0.5
    assert goal.met(0.5)
    assert not goal.met(0.3)


def test_a_cost_is_compared_as_a_multiple_of_another_cost() -> None:
    table = Table()
    table.add("atop", {"commit": 3.0, "write": 1.0})
    goal = Goal("at most 2 × the write", 2, beside=("atop", "write"))
    assert goal.value(table, "commit") == 3.0
    assert not goal.met(3.0)


def test_what_was_not_measured_reaches_no_goal() -> None:
    assert Goal("under 60 ms", 0.06).value(Table(), "open") is None


def test_the_spread_is_that_of_the_quartiles() -> None:
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == (2.0, 3.0, 4.0)
    assert spread([7.0]) == (7.0, 7.0, 7.0)


def test_figures_are_shown_in_their_unit() -> None:
    assert RATE.show([0.001], quartiles=True) == "1,000"
    assert MICROSECONDS.show([2e-6, 4e-6, 6e-6], quartiles=True) == "4.0 (3.0–5.0)"
    assert MICROSECONDS.show([], quartiles=False) == "–"
