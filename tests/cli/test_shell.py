"""``shell``: scripts through a pipe, and somebody who types at a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import stat
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atop import Index, Item, Store
from tests.cli.conftest import ROOT, digest

Script = Callable[..., subprocess.CompletedProcess[str]]
PATIENCE = 20.0


@pytest.fixture
def script(path: Path) -> Script:
    """A function that pipes lines into the shell, as a script."""

    def call(*lines: str, options: tuple[object, ...] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "atop", "shell", path, *map(str, options)],
            input="\n".join(lines), capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip

    return call


class Terminal:
    """Somebody at a terminal, who types and waits for what is to be seen."""

    def __init__(self, command: list[object], environment: dict[str, str]) -> None:
        self.descriptor, child = pty.openpty()
        termios.tcsetwinsize(child, (24, 100))
        self.process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdin=child, stdout=child, stderr=child, cwd=ROOT, start_new_session=True,
            env={**os.environ, "TERM": "dumb", "INPUTRC": os.devnull, **environment},
        )  # fmt: skip
        os.close(child)
        self._written = ""

    def see(self, wanted: str) -> str:
        """What is written until `wanted` is."""
        while wanted not in self._written:
            assert self._read(), f"{wanted!r} was not seen after {self._written!r}"
        seen, _, self._written = self._written.partition(wanted)
        return seen

    def press(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def type(self, line: str) -> str:
        """Type a line at the prompt; what it shows, until the next prompt."""
        self.press(line + "\n")
        self.see("\n")
        return self.see(">>> ")

    def leave(self, keys: str = "\x04") -> tuple[int, str]:
        """The exit code, and what was written last."""
        self.press(keys)
        while self._read():
            pass
        return self.process.wait(PATIENCE), self._written

    def _read(self) -> bool:
        """Whether there was more, within reason."""
        try:
            ready, _, _ = select.select([self.descriptor], [], [], PATIENCE)
            data = os.read(self.descriptor, 65536) if ready else b""
        except OSError:
            data = b""  # the terminal is closed at the other end
        self._written += data.decode().replace("\r", "")
        return bool(data)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.descriptor)


@pytest.fixture
def sit_down(path: Path, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """A function that starts the shell on a terminal of its own."""
    opened: list[Terminal] = []

    def start(*options: object, command: tuple[object, ...] = ("-m", "atop")) -> Terminal:
        history = {"XDG_STATE_HOME": str(tmp_path / "state")}
        opened.append(Terminal([*command, "shell", path, *options], history))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def names(path: Path) -> list[str]:
    with Store(path) as store:
        return [item.name for item in store.pool("people").queryIndex("name", startKey="A")]


# A script


def test_a_script_sees_pools_by_name_and_changes_them(script: Script, path: Path) -> None:
    done = script(
        "print(len(people), people is pools['people'], store.pool('people') is people)",
        "people.getIndexItem('name', 'Bob').name = 'Robert'",
        "people.addItem(Item(name='Fay', email='fay@example.org'))",
        "commit()",
        "'an expression shows nothing in a script'",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "6 True True\n", "")
    assert {"Robert", "Fay"} < set(names(path))


def test_what_is_not_committed_is_rolled_back_and_that_is_said(script: Script, path: Path) -> None:
    done = script("people.getIndexItem('name', 'Bob').name = 'Robert'")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "what was not committed is rolled back\n"
    assert "Robert" not in names(path)


@pytest.mark.parametrize(
    "change", ["people.getIndexItem('name', 'Bob').tags.append('x')", "store.begin().commit",
               "store.begin(); store.add(Item())", "store.pool('new')"],
)  # fmt: skip
def test_every_change_counts_as_one(script: Script, change: str) -> None:
    said = script(change).stderr
    assert bool(said) == (not change.endswith("commit")), change


def test_abort_drops_what_was_changed(script: Script, path: Path) -> None:
    done = script(
        "bob = people.getIndexItem('name', 'Bob')",
        "bob.name = 'Robert'",
        "store.begin()",
        "bob.name = 'Rob'",
        "abort()",
        "print(bob.name)",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Bob\n", "")


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("def f(:", 1, "SyntaxError: invalid syntax"),
        ("import sys; sys.exit(3)", 3, ""),
        ("raise SystemExit('enough')", 1, "enough"),
        ("pools['nobody']", 1, "NoSuchPool: there is no pool 'nobody'"),
    ],
)
def test_a_script_that_fails_ends_there(script: Script, line: str, code: int, told: str) -> None:
    done = script("print('before')", line, "print('after')")
    assert (done.returncode, done.stdout) == (code, "before\n" if "(:" not in line else "")
    assert told in done.stderr
    assert "atop/cli" not in done.stderr


def test_an_error_of_atop_is_told_without_what_is_between(script: Script, path: Path) -> None:
    done = script(
        "def rename():",
        "    people.getIndexItem('name', 'Bob').email = '0@example.org'",
        "    commit()",
        "rename()",
    )
    assert done.returncode == 1
    *frames, error = done.stderr.splitlines()
    assert frames == [
        "Traceback (most recent call last):",
        '  File "<stdin>", line 4, in <module>',
        '  File "<stdin>", line 3, in rename',
    ]
    assert error.startswith("DuplicateKey: <Item 3> cannot have the key '0@example.org'")
    assert error.endswith("; all changes were rolled back, and a new transaction has begun")


def test_a_failed_commit_is_followed_by_a_new_transaction(script: Script, path: Path) -> None:
    done = script(
        "from atop import AtopError",
        "bob = people.getIndexItem('name', 'Bob')",
        "bob.name, bob.email = 'Robert', '0@example.org'",
        "try:",
        "    commit()",
        "except AtopError:",
        "    print(bob.name)",
        "bob.name = 'Rob'",
        "commit()",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Bob\n", "")
    assert "Rob" in names(path)


def test_a_transaction_of_the_users_own_is_a_savepoint(script: Script, path: Path) -> None:
    done = script(
        "with store.transaction():",
        "    people.getIndexItem('name', 'Bob').name = 'Rob'",
        "commit()",
        "store.begin()",
        "commit()",
    )
    assert done.returncode == 1
    assert done.stderr.endswith("TransactionEnded: end the nested transaction first\n")
    assert "Rob" in names(path)


def test_only_free_names_are_given_to_pools(script: Script, path: Path) -> None:
    with Store(path) as store, store.transaction():
        for name in ["old mail", "list", "class", "commit", "Pool", "events", "_"]:
            store.pool(name)
    done = script(
        "print(events, list is type([]), Pool.__name__, callable(commit), len(pools))",
        "print(sorted(name for name in globals() if isinstance(globals()[name], Pool)))",
        "print(pools['old mail'], 'old mail' in pools, pools.get('nobody'))",
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "<Pool 'events'> True Pool True 8", "['events', 'people']", "<Pool 'old mail'> True None",
    ]


def test_a_pool_that_is_made_gets_its_name_and_keeps_off_variables(script: Script) -> None:
    done = script(
        "events = 5",
        "store.pool('events'), store.pool('notes')",
        "commit()",
        "print(events, notes)",
    )
    assert (done.stdout, done.stderr) == ("5 <Pool 'notes'>\n", "")


def test_read_only_writes_nothing(script: Script, path: Path) -> None:
    before = digest(path)
    done = script("commit(); abort()", "print(len(people))", "store.add(Item())",
                  options=("--read-only",))
    assert (done.returncode, done.stdout) == (1, "6\n")
    assert "\nReadOnlyStore: " in done.stderr
    assert digest(path) == before


def test_a_startup_file_runs_first_and_says_where_it_fails(script: Script, tmp_path: Path) -> None:
    startup = tmp_path / "start.py"
    startup.write_text("class Person(Item):\n    pass\n\ndef add():\n    people.addItem(5)\n")
    done = script("print(Person(a=1).a, Person.__module__)", options=("--startup", startup))
    assert (done.stdout, done.stderr) == ("1 __main__\n", "")
    told = script("add()", options=("--startup", startup)).stderr
    assert f'  File "{startup}", line 5, in add\n    people.addItem(5)\nValueRefused: ' in told
    startup.write_text("1 / 0")
    done = script("print('never')", options=("--startup", startup))
    assert (done.returncode, done.stdout) == (1, "")
    assert f'File "{startup}", line 1' in done.stderr
    assert script(options=("--startup", tmp_path / "none.py")).returncode == 2


def test_what_a_class_needs_of_its_module_is_there(script: Script) -> None:
    done = script(
        "from __future__ import annotations",
        "from typing import get_type_hints",
        "class Person(Item):",
        "    boss: Person",
        "print(get_type_hints(Person)['boss'] is Person)",
        "store.add(Person())",
        "commit()",
        "print([type(item) is Person for item in store.items(Person)])",
    )
    assert (done.stdout, done.stderr) == ("True\n[True]\n", "")


@pytest.mark.parametrize("options", [(), ("--read-only",)])
def test_a_store_that_the_script_closed_is_no_problem(
    script: Script, options: tuple[str, ...]
) -> None:
    done = script("store.close()", options=options)
    assert (done.returncode, done.stderr) == (0, "")
    told = script("store.close()", "abort()", options=options).stderr.splitlines()[-1]
    assert told.startswith("StoreClosed: ")


def test_without_standard_input_nothing_is_run(path: Path) -> None:
    line = f'exec "{sys.executable}" -m atop shell "{path}" <&-'
    assert subprocess.run(["sh", "-c", line], cwd=ROOT, check=False).returncode == 0


# A terminal


def test_the_banner_tells_what_there_is(sit_down: Callable[..., Terminal], path: Path) -> None:
    with Store(path) as store, store.transaction():
        store.pool("old\x1b[31m mail")
    terminal = sit_down("--read-only")
    banner = terminal.see(">>> ")
    assert f"store  {path}: 9 items, read only\n" in banner
    assert "pools  pools['old\\x1b[31m mail'] (0), people (6)\n" in banner
    assert "names  store, pools, commit(), abort(), Store, Item, Pool, Index, File\n" in banner
    assert "both go on to the newest state\n" in banner
    assert max(map(len, banner.splitlines()[1:])) < 80
    assert "leave  Ctrl-D or exit()" in banner
    assert terminal.leave() == (0, "\n")


def test_a_session_at_a_terminal(sit_down: Callable[..., Terminal], path: Path) -> None:
    terminal = sit_down()
    terminal.see(">>> ")
    assert terminal.type("len(people)") == "6\n"
    assert terminal.type("bob = people.getIndexItem('name', 'Bob')") == ""
    assert terminal.type("bob.email = '0@example.org'") == ""
    refused = terminal.type("commit()")
    assert refused.startswith("DuplicateKey: ")
    assert refused.count("\n") == 1
    assert terminal.type("bob.name = 'Robert'; commit()") == ""
    assert "File \"<console>\", line 1, in <module>" in terminal.type("nobody")
    assert terminal.type("_, bob.name") == "(6, 'Robert')\n"
    assert terminal.type("bob.name = 'Rob'") == ""
    assert terminal.leave("exit()\n") == (0, "exit()\nwhat was not committed is rolled back\n")
    assert "Robert" in names(path)


def test_items_and_queries_show_what_they_hold(
    sit_down: Callable[..., Terminal], path: Path
) -> None:
    with Store(path) as store, store.transaction():
        notes = store.pool("notes", "number", Index("text"))
        for number in range(12):
            notes.addItem(Item(number=number, text=f"{number}" * 50, body="x" * 1000))
    terminal = sit_down()
    terminal.see(">>> ")
    shown = terminal.type("people.getIndexItem('name', 'Eve\\x1b[31m')")
    assert shown.startswith("<Item 6> name='Eve\\x1b[31m' born=datetime.date(1974, 1, 2) ")
    assert "\x1b" not in shown
    first, *rows, last = terminal.type("notes.queryIndex('number')").splitlines()
    assert first == "<Query of index 'number': items> 12 rows"
    assert len(rows) == 10
    assert rows[0].startswith("  <Item 10> number=0 text='000")
    assert max(map(len, rows)) < 100
    assert last == "  and 2 more"
    assert terminal.type("notes.queryIndex('number', key=3).keys()").splitlines() == [
        "<Query of index 'number': keys> 1 row", "  3",
    ]
    assert terminal.type("notes") == "<Pool 'notes'>\n"
    assert terminal.type("None") == ""
    terminal.leave()


def test_the_tab_key_completes(sit_down: Callable[..., Terminal]) -> None:
    pytest.importorskip("readline")
    terminal = sit_down()
    terminal.see(">>> ")
    assert terminal.type("comm\t or len(peop\t.queryI\t'name'))") == "6\n"
    terminal.press("bob = people.getIndexItem('name', 'Bob')\nbob.he\t\n")
    terminal.see(">>> ")
    assert terminal.see(">>> ") == "bob.height\n1.5\n"
    terminal.leave()


def test_lines_are_kept_for_the_owner_alone(
    sit_down: Callable[..., Terminal], tmp_path: Path
) -> None:
    pytest.importorskip("readline")
    history = tmp_path / "state" / "atopdb" / "history"
    terminal = sit_down()
    terminal.see(">>> ")
    terminal.type("6 * 7")
    terminal.leave()
    assert history.read_text().splitlines()[-1] == "6 * 7"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.parent.stat().st_mode) == 0o700
    again = sit_down()
    again.see(">>> ")
    assert again.type("\x10") == "42\n"
    again.leave()


def test_a_history_that_cannot_be_kept_is_no_problem(
    sit_down: Callable[..., Terminal], tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("not a folder")
    terminal = sit_down()
    terminal.see(">>> ")
    assert terminal.leave() == (0, "\n")


def test_it_does_without_readline(sit_down: Callable[..., Terminal], tmp_path: Path) -> None:
    code = "import sys; sys.modules['readline'] = None; from atop.cli import main; main()"
    terminal = sit_down(command=("-c", code))
    terminal.see(">>> ")
    assert terminal.type("len(people)") == "6\n"
    assert terminal.leave()[0] == 0
    assert not (tmp_path / "state").exists()


def test_an_interrupt_leaves_the_line_and_not_the_shell(
    sit_down: Callable[..., Terminal]
) -> None:
    terminal = sit_down()
    terminal.see(">>> ")
    terminal.press(r"exec('print(6 * 7, flush=True)\nwhile True: pass')" + "\n")
    terminal.see("\n42\n")
    terminal.process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in terminal.see(">>> ")
    assert terminal.type("1 + 1") == "2\n"
    terminal.leave()


def test_two_shells_work_side_by_side_and_are_told_of_conflicts(
    sit_down: Callable[..., Terminal]
) -> None:
    one, two = sit_down(), sit_down()
    for terminal, name in ((one, "Bob"), (two, "Carl")):
        terminal.see(">>> ")
        terminal.type(f"mine = people.getIndexItem('name', '{name}')")
        assert terminal.type(f"mine.name = 'The {name}'") == ""
    assert two.type("commit()") == ""
    assert one.type("commit()") == "", "others have changed nothing that it has looked at"
    assert one.type("people.getIndexItem('name', 'The Carl').name = 'One'") == ""
    assert two.type("mine.name = 'Two'") == ""
    assert two.type("commit()") == ""
    refused = one.type("commit()")
    assert refused.startswith("WriteConflict: others have changed items with the ids 4, ")
    assert "all changes were rolled back, and a new transaction has begun" in refused
    assert one.type("[item.name for item in people.queryIndex('name', 'Dora')]") == (
        "['Dora', 'Eve\\x1b[31m', 'The Bob', 'Two']\n"
    )
    for terminal in (one, two):
        assert terminal.leave() == (0, "\n")
