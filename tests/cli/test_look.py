"""``info``, ``pools``, ``files``, ``get`` and ``query``: what is in a store, as it is."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from atop import Item, Store
from tests.cli.conftest import ROOT, Run, command


def names(output: str) -> list[str]:
    return [row["name"] for row in json.loads(output)]


def query(run: Run, path: Path, index: str, *options: object) -> list[str]:
    done = run("query", path, "people", index, "--format", "json", *options)
    assert done.exit_code == 0, done.output
    return names(done.stdout)


def test_info_counts_what_is_there(path: Path) -> None:
    lines = dict(line.split(None, 1) for line in command("info", path).stdout.splitlines()
                 if line.count(" "))
    assert lines["items"] == "8"
    assert lines["pools"] == "1"
    assert lines["files"] == "1"
    assert lines["store"] == str(path)


def test_pools_lists_the_indexes(path: Path) -> None:
    header, line = command("pools", path).stdout.splitlines()
    assert header.split() == ["name", "id", "items", "indexes"]
    assert line.split()[:4] == ["people", "1", "6", "name,"]
    assert line.endswith("email (unique)")


def test_files_shows_names_without_obeying_them(path: Path) -> None:
    shown = command("files", path).stdout
    assert "photo\\x07.jpg" in shown
    assert "\x07" not in shown
    (row,) = json.loads(command("files", path, "--format", "json").stdout)
    assert (row["name"], row["size"]) == ("photo\x07.jpg", 6)


def test_get_shows_all_attributes(run: Run, path: Path) -> None:
    shown = json.loads(run("get", path, 2, "--format", "json").stdout)
    assert shown["id"] == 2
    assert shown["class"] == "atop.item:Item"
    assert (shown["name"], shown["born"], shown["height"]) == ("Ann", "1970-01-02", 0.5)
    assert (shown["salary"], shown["seen"]) == ("0.1", "2024-01-01T12:00:00")
    assert (shown["digest"], shown["tags"]) == ("00ff", ["a", 0])
    lines = run("get", path, 2).stdout.splitlines()
    assert "name    Ann" in lines


def test_an_id_that_does_not_exist_is_told(run: Run, path: Path) -> None:
    told = run("get", path, 4711)
    assert told.exit_code == 1
    assert told.output == "Error: no item has the id 4711\n"
    assert run("get", path, "seven").exit_code == 2


def test_a_query_is_sorted_by_its_index(run: Run, path: Path) -> None:
    shown = json.loads(run("query", path, "people", "born", "--format", "json").stdout)
    assert [row.get("name", "")[:3] for row in shown] == ["", "Ann", "Bob", "Car", "Dor", "Eve"]


@pytest.mark.parametrize(
    ("index", "start", "end"),
    [
        ("name", "Bob", "Carl"),
        ("born", "1971-01-02", "1972-12-31"),
        ("height", "1.5", "2.5"),
        ("height", "1", "3"),
        ("seen", "2024-01-02T12:00", "2024-01-04"),
        ("woken", "2024-01-02T00:00+00:00", "2024-01-03"),
        ("nap", "60", "120.0"),
        ("uid", "00000000-0000-0000-0000-000000000001", "00000000000000000000000000000002"),
        ("digest", "01ff", "02ff"),
        ("pair", '["B", 1]', '["C", 2]'),
        ("email", "1@example.org", "2@example.org"),
    ],
)
def test_keys_are_read_as_the_type_that_the_index_holds(
    run: Run, path: Path, index: str, start: str, end: str
) -> None:
    assert query(run, path, index, "--from", start, "--to", end) == ["Bob", "Carl"]
    assert query(run, path, index, "--reverse", "--from", end, "--to", start) == ["Carl", "Bob"]


def test_a_decimal_is_meant_exactly(run: Run, path: Path) -> None:
    assert query(run, path, "salary", "--key", "1.1") == ["Bob"]


def test_a_type_can_be_forced(run: Run, path: Path) -> None:
    assert query(run, path, "height", "--type", "decimal", "--key", "1.5") == ["Bob"]
    assert query(run, path, "name", "--type", "int", "--key", "5") == []
    done = run("query", path, "people", "name", "--key", "", "--type", "none", "--format", "json")
    assert [row["nothing"] for row in json.loads(done.stdout)] == [True]


def test_a_prefix_of_strings_bytes_and_tuples(run: Run, path: Path) -> None:
    assert query(run, path, "name", "--prefix", "Bo") == ["Bob"]
    assert query(run, path, "digest", "--prefix", "01") == ["Bob"]
    assert query(run, path, "pair", "--prefix", '["B"]') == ["Bob"]


def test_a_limit_says_how_many_more_there_are(run: Run, path: Path) -> None:
    done = run("query", path, "people", "name", "--limit", 2, "--columns", "name")
    assert done.stderr == "4 more: --limit 0 shows all\n"
    assert len(done.stdout.splitlines()) == 3
    assert run("query", path, "people", "name", "--limit", 0).stderr == ""


def test_columns_are_those_asked_for(run: Run, path: Path) -> None:
    done = run("query", path, "people", "name", "--prefix", "A", "--columns", "born, boss.name,id")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["born", "boss.name", "id"], ["1970-01-02", "people", "2"],
    ]


def test_csv_is_read_back_by_a_csv_reader(path: Path) -> None:
    done = command("query", path, "people", "name", "--format", "csv", "--from", "E",
                   "--columns", "name,tags")
    assert list(csv.reader(io.StringIO(done.stdout))) == [
        ["name", "tags"], ["Eve\x1b[31m", '["a", 4]'],
    ]


def test_json_is_one_document_even_when_nothing_is_found(run: Run, path: Path) -> None:
    assert query(run, path, "name", "--from", "Z") == []


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        (["nobody", "name"], 1, "has no pool 'nobody'; its pools are: 'people'"),
        (["people", "age"], 1, "has no index 'age'"),
        (["people", "born", "--from", "soon"], 2, "'soon' is no date such as"),
        (["people", "height", "--to", "tall"], 2, "--to: 'tall' is no number"),
        (["people", "digest", "--key", "xy"], 2, "hexadecimal"),
        (["people", "pair", "--key", "B"], 2, "JSON list"),
        (["people", "seen", "--key", "2024-01-01T00:00Z"], 2, "has an offset"),
        (["people", "born", "--prefix", "1970-01-01"], 1, "is no prefix"),
        (["people", "name", "--limit", "-1"], 2, "-1"),
        (["people", "name", "--format", "xml"], 2, "xml"),
    ],
)
def test_wrong_input_is_told(
    run: Run, path: Path, line: list[str], code: int, told: str
) -> None:
    done = run("query", path, *line)
    assert done.exit_code == code, done.output
    assert told in done.output


def test_items_whose_class_is_gone_are_shown_as_far_as_known(path: Path) -> None:
    code = """if True:
        import sys
        from atop import Item, Store
        class Robot(Item):
            "A class that only this program has."
        with Store(sys.argv[1]) as store, store.transaction():
            store.pool("robots", "name").addItem(Robot(name="R2", arms=[1, 2]))
    """
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=ROOT)
    done = command("query", path, "robots", "name", "--format", "json")
    (row,) = json.loads(done.stdout)
    assert (row["name"], row["arms"], row["class"]) == ("R2", [1, 2], "__main__:Robot")
    assert "Robot" in row["problem"]


def test_a_value_that_may_not_be_loaded_hides_one_item_only(run: Run, path: Path) -> None:
    with Store(path, allow=[Path2]) as store, store.transaction():
        store.pool("odd", "name").addItem(Item(name="odd", value=Path2()))
        store.pool("odd").addItem(Item(name="plain"))
    done = run("query", path, "odd", "name", "--format", "json")
    first, second = json.loads(done.stdout)
    assert "may not be loaded" in first["problem"]
    assert second["name"] == "plain"


class Path2:
    """A value class that has to be allowed."""


def on_terminal(*words: object, **environment: str) -> str:
    """What the command writes to a terminal, both ways."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "atop", *map(str, words)],
        stdin=subprocess.DEVNULL, stdout=child, stderr=child, cwd=ROOT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200", **environment},
    )  # fmt: skip
    os.close(child)
    written = b""
    try:
        while data := os.read(parent, 65536):
            written += data
    except OSError:
        pass  # the terminal is closed at the other end
    os.close(parent)
    assert process.wait() == 0, written
    return written.decode()


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_terminal_never_gets_control_characters_of_the_store(path: Path, form: str) -> None:
    shown = on_terminal("query", path, "people", "name", "--columns", "name", "--format", form)
    assert "Eve" in shown
    assert "\x1b[31m" not in shown


def test_a_table_on_a_terminal_has_no_colour_when_none_is_wanted(path: Path) -> None:
    assert "\x1b[1m" in on_terminal("pools", path)
    plain = on_terminal("pools", path, NO_COLOR="1")
    assert "\x1b[3" not in plain


def test_a_terminal_sees_a_progress_bar(path: Path) -> None:
    assert "items" in on_terminal("verify", path).partition("commit")[0]
