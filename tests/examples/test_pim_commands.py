"""The commands of the example, as somebody at a terminal meets them."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result
from rich.console import Console

from examples.pim.__main__ import main
from examples.pim.sample.make_samples import FOLDER
from examples.pim.tables import Listing


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def test_demo_shows_five_queries(tmp_path: Path) -> None:
    result = run("demo", "--store", tmp_path / "pim.atop")
    assert result.exit_code == 0, result.output
    for title in (
        "Imported", 'Contacts from "Bob" on', "Last week's mail, newest first",
        "Events of October 2025", "Mail with attachments, by size", "The middle of the mail",
    ):  # fmt: skip
        assert title in result.output
    assert "\x1b" not in result.output, "plain text where there is no terminal"


def test_import_lists_every_problem_and_show_shows_the_store(tmp_path: Path) -> None:
    store = tmp_path / "pim.atop"
    result = run("import", FOLDER / "contacts.vcf", "--store", store)
    assert result.exit_code == 0, result.output
    assert "lost" in result.output
    assert "outside of any card" in result.output
    assert "Bob Baker" in run("show", "--store", store).output


def test_a_path_that_is_not_there_or_no_mail_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "pim.atop"
    assert run("import", tmp_path / "nowhere", "--store", store).exit_code == 2
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    result = run("import", tmp_path / "picture.png", "--store", store)
    assert result.exit_code == 1
    assert "not a mailbox" in result.output


def test_show_makes_no_store(tmp_path: Path) -> None:
    result = run("show", "--store", tmp_path / "pim.atop")
    assert result.exit_code == 1
    assert "no store" in result.output
    assert not (tmp_path / "pim.atop").exists()


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear all")
    result = run("import", FOLDER / "contacts.vcf", "--store", tmp_path)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")


def test_a_subject_is_no_markup_and_no_command_to_the_terminal() -> None:
    console = Console(force_terminal=False, width=80)
    table = Listing("[b]title", "~subject")
    table.add("[bold red]x[/]\x1b[2J [/nothing]")
    with console.capture() as capture:
        table.print(console)
    shown = capture.get()
    assert "[b]title" in shown
    assert "[bold red]x[/] [2J [/nothing]" in shown
    assert "\x1b" not in shown
