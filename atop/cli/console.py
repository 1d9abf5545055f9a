"""The Python console: running code, telling what went wrong, showing values, editing lines.

What is shown of a store never reaches the terminal as anything that it would obey.
"""

from __future__ import annotations

import builtins
import code
import contextlib
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from reprlib import Repr
from traceback import FrameSummary
from types import ModuleType
from typing import Any

from atop.cli.output import clean
from atop.errors import AtopError
from atop.item import Item, class_of
from atop.query import Query

ROWS = 10
HISTORY_LINES = 2000
_TYPED = "<console>"
_OWN = (f"{Path(__file__).parents[1]}{os.sep}", str(code.__file__), str(contextlib.__file__))
_short = Repr()
_short.maxstring = _short.maxother = 60


class Console(code.InteractiveConsole):
    """Runs what is typed, or a file; an error of Atop's is told without the frames in between."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(vars(module), _TYPED)

    def execute(self, source: bytes, name: str) -> bool:
        """Run a whole file; whether it got to its end."""
        try:
            exec(compile(source, name, "exec", dont_inherit=True), self.locals)
        except Exception:
            self.showtraceback()
            return False
        return True

    def showtraceback(self) -> None:
        error = sys.exception()
        if not isinstance(error, AtopError):
            super().showtraceback()
            return
        sys.last_type, sys.last_value, sys.last_traceback = sys.exc_info()
        self.write(told(error))


def told(error: AtopError) -> str:
    """The frames of the user's own functions and files, if any, and the error in one line."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not _is_own(each)]
    head = ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
    message = "; ".join([str(error), *getattr(error, "__notes__", ())])
    return f"{''.join(head) if frames else ''}{type(error).__name__}: {clean(message)}\n"


def _is_own(frame: FrameSummary) -> bool:
    typed = frame.filename == _TYPED and frame.name == "<module>"
    return typed or frame.filename.startswith(_OWN)


def display(value: object) -> None:
    """What ``sys.displayhook`` does; but an item shows its attributes, a query its first rows."""
    if value is None:
        return
    vars(builtins)["_"] = None
    if isinstance(value, Query):
        _display_query(value)
    else:
        print("\n".join(map(clean, _described(value).split("\n"))))
    vars(builtins)["_"] = value


def _display_query(query: Query) -> None:
    count = len(query)
    print(f"{clean(repr(query))} {count:,} row{'' if count == 1 else 's'}")
    width = shutil.get_terminal_size().columns - 3
    for row in islice(query[:ROWS], ROWS):
        line = clean(_described(row))
        print(" ", line if len(line) <= width else line[: width - 1] + "…")
    if count > ROWS:
        print(f"  and {count - ROWS:,} more")


def _described(value: object) -> str:
    if not isinstance(value, Item) or class_of(value).__repr__ is not Item.__repr__:
        return repr(value)
    attributes = value.attributes().items()
    return " ".join([repr(value), *(f"{name}={_short.repr(held)}" for name, held in attributes)])


@contextmanager
def installed(module: ModuleType) -> Iterator[None]:
    """Meanwhile `module` is what Python calls ``__main__``, and values are shown as above.

    So classes that are made in the console can be found by name, as those of any program.
    """
    main, hook = sys.modules["__main__"], sys.displayhook
    sys.modules["__main__"], sys.displayhook = module, display
    try:
        yield
    finally:
        sys.modules["__main__"], sys.displayhook = main, hook
        vars(builtins).pop("_", None)


@contextmanager
def line_editing(names: dict[str, Any]) -> Iterator[None]:
    """Meanwhile the tab key completes `names`, and lines come back; without readline neither."""
    try:
        # Only now: some versions write to the terminal when they are imported.
        import readline
        from rlcompleter import Completer
    except ImportError:
        yield
        return
    readline.set_completer(Completer(names).complete)
    edits = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if edits else "tab: complete")
    with suppress(OSError, RuntimeError):
        readline.read_history_file(_history_file())
    try:
        yield
    finally:
        with suppress(OSError, RuntimeError):
            path = _history_file()
            _make_private(path)
            readline.set_history_length(HISTORY_LINES)
            readline.write_history_file(path)


def _history_file() -> Path:
    """Where lines are kept.

    :raises RuntimeError: for a user who has no home.
    """
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        state = Path.home() / ".local" / "state"
    return state / "atopdb" / "history"


def _make_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(0o600)
    path.chmod(0o600)
