"""What every verb promises: help, an example, honest exit codes, and hands off what it reads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from atop import Store
from atop.cli.app import cli
from tests.cli.conftest import ROOT, Run, command, digest

VERBS = sorted(cli.commands)
READING = [
    ["info"],
    ["pools"],
    ["files"],
    ["get", "7"],
    ["query", "people", "name"],
    ["verify"],
    ["backup", "COPY"],
    ["salvage", "COPY"],
]
ON_A_STORE = [verb for verb in VERBS if verb not in ("restore", "salvage", "serve", "token")]
ARGUMENTS = {"query": ["people", "name"], "get": ["1"]}


def words(verb: str, store: Path, *more: str) -> list[str]:
    copies = verb in ("backup", "encrypt")
    extra = [str(store.parent / "copy")] if copies else ARGUMENTS.get(verb, [])
    return [verb, str(store), *extra, *more]


def test_the_verbs_are_those_that_the_manual_has() -> None:
    care = {"verify", "recover", "checkpoint", "compact", "backup", "restore",
            "salvage"}
    looking = {"info", "pools", "query", "get", "files", "browse", "shell"}
    locked = {"encrypt", "key"}
    assert set(VERBS) == looking | care | locked | {"serve", "token"}


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_with_an_example_of_itself(run: Run, verb: str) -> None:
    shown = run(verb, "--help")
    assert shown.exit_code == 0
    assert re.search(rf"Example:\n +atopdb {verb} \S+", shown.output), shown.output
    for option in cli.commands[verb].params:
        if isinstance(option, click.Option):
            assert option.help, f"{verb} {option.opts} has no help"


def test_the_command_itself_has_help_with_an_example(run: Run) -> None:
    assert re.search(r"Example:\n +atopdb query", run("--help").output)
    assert run("--version").output.startswith("atopdb")


@pytest.mark.parametrize("verb", VERBS)
def test_each_example_is_a_command_line_that_exists(run: Run, verb: str) -> None:
    for example in re.findall(r"^ +atopdb (.+)$", run(verb, "--help").output, re.M):
        name, *rest = example.split()
        with cli.commands[name].make_context(name, rest) as context:
            assert context.params


@pytest.mark.parametrize("line", READING, ids=lambda line: line[0])
def test_a_verb_that_reads_writes_nothing(path: Path, line: list[str]) -> None:
    before = digest(path)
    verb, *rest = [str(path.parent / "copy") if word == "COPY" else word for word in line]
    done = command(verb, path, *rest)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    assert digest(path) == before


@pytest.mark.parametrize("verb", ON_A_STORE)
def test_a_store_that_is_not_there_is_told_in_one_line(run: Run, tmp_path: Path, verb: str) -> None:
    told = run(*words(verb, tmp_path / "nowhere.atop"))
    assert told.exit_code == 1
    assert told.output.count("\n") == 1
    assert told.output.startswith("Error: there is no store at ")
    assert not (tmp_path / "nowhere.atop").exists()


@pytest.mark.parametrize("verb", ON_A_STORE)
def test_a_folder_that_is_no_store_is_left_alone(run: Run, tmp_path: Path, verb: str) -> None:
    (tmp_path / "letter").write_text("dear")
    assert run(*words(verb, tmp_path)).exit_code == 1
    assert [each.name for each in tmp_path.iterdir()] == ["letter"]


@pytest.mark.parametrize("verb", VERBS)
def test_wrong_usage_is_exit_code_2(run: Run, verb: str) -> None:
    assert run(verb).exit_code == 2
    assert run(verb, "--no-such-option").exit_code == 2


@pytest.mark.parametrize("verb", sorted({*ON_A_STORE} - {"browse", "encrypt", "key"}))
def test_a_verb_goes_through_the_process_that_has_the_store(path: Path, verb: str) -> None:
    with Store(path) as store:
        done = command(*words(verb, path))
        assert store.folder is not None
    assert (done.returncode, done.stderr) == (0, "")
    assert "open in another process" in done.stdout or verb != "recover"


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_the_command_says_how_to_get_it(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from atop.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False,
        cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == 'atopdb needs more than the library: pip install "atopdb[cli]"\n'


def test_nothing_is_coloured_off_a_terminal_or_when_no_colour_is_wanted(path: Path) -> None:
    for environment in ({}, {"NO_COLOR": "1"}):
        done = command("query", path, "people", "name", **environment)
        assert "\x1b" not in done.stdout + done.stderr
