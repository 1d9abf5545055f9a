"""The modules import downward only, as doc/design.rst draws them."""

from __future__ import annotations

import ast
from pathlib import Path

ATOP = Path(__file__).resolve().parent.parent / "atop"
LAYERS = [
    {"errors"},
    {"numeric", "temporal"},
    {"engine.base", "engine.ids", "engine.progress"},
    {"engine.messages"},
    {"engine.wire"},
    {"engine.turn", "engine.log", "engine.failures", "engine.history", "engine.pages"},
    {"engine.differences", "engine.environment", "engine.filefolder", "engine.owner"},
    {"engine.overlay", "engine.tables"},
    {"engine.memory", "engine.present"},
    {"engine.bdb"},
    {"engine.folder"},
    {"engine.backup", "engine.compaction"},
    {"engine.keeping"},
    {"keys", "values"},
    {"item"},
    {"records", "watch"},
    {"classes", "index"},
    {"objects"},
    {"session"},
    {"query", "batch"},
    {"transaction", "files"},
    {"pool"},
    {"report", "indexcheck", "itemcheck", "verify", "care"},
    {"store"},
]


def imports(path: Path) -> set[str]:
    """The modules of Atop's that a module imports when it is run."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    names = {
        f"{node.module}.{alias.name}" if node.module == "atop.engine" else str(node.module)
        for node in found
        for alias in node.names
    }
    return {name.removeprefix("atop.") for name in names if name.startswith("atop.")}


def test_nothing_imports_upward() -> None:
    below: set[str] = set()
    for layer in LAYERS:
        for module in layer:
            found = imports(ATOP / (module.replace(".", "/") + ".py"))
            assert found <= below | layer, f"{module} imports {found - below - layer}"
        below |= layer


def test_the_object_layers_know_nothing_of_berkeley_db() -> None:
    for path in ATOP.glob("*.py"):
        assert "berkeleydb" not in path.read_text("utf-8"), path.name
