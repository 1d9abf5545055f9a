"""The modules import downward only, as doc/design.rst draws them."""

from __future__ import annotations

import ast
from pathlib import Path

ATOP = Path(__file__).resolve().parent.parent / "atop"
LAYERS = [
    {"errors", "native"},
    {"numeric", "temporal"},
    {"engine.base", "engine.ids", "engine.progress", "engine.seekable"},
    {"engine.messages"},
    {"engine.wire"},
    {"engine.trust"},
    {"engine.checksum", "engine.turn", "engine.log", "engine.failures", "engine.history",
     "engine.pagecipher", "engine.pages", "engine.rangelocks", "engine.recovering", "engine.rows"},
    {"engine.address", "engine.certificate", "engine.channel", "engine.systemd", "engine.tokens"},
    {"engine.answers", "engine.connection", "engine.reads", "engine.tls"},
    {"engine.pagecode"},
    {"engine.leaves"},
    {"engine.logtail", "engine.mending", "engine.setaside"},
    {"engine.differences", "engine.environment", "engine.owner", "engine.published",
     "engine.sealed", "engine.unsynced"},
    {"engine.firstlook", "engine.keyfile"},
    {"engine.keyring"},
    {"engine.filefolder"},
    {"engine.localfiles", "engine.overlay", "engine.remotefiles"},
    {"engine.memory", "engine.optimism", "engine.present", "engine.uploads"},
    {"engine.tables"},
    {"engine.bdbturn"},
    {"engine.bdb"},
    {"engine.recovery"},
    {"engine.folder"},
    {"engine.pagecheck", "engine.wreck"},
    {"engine.backup", "engine.compaction"},
    {"engine.recoding"},
    {"engine.keeping"},
    {"engine.host", "engine.lasting", "engine.remotekeeper", "engine.remotereads", "engine.sending",
     "engine.tunnel"},
    {"engine.remoteturn"},
    {"engine.remote"},
    {"engine.servedreads", "engine.servedturns"},
    {"engine.servedwrites"},
    {"engine.limits", "engine.pipe", "engine.service", "engine.workload"},
    {"engine.client", "engine.remotelink"},
    {"engine.admission", "engine.server", "engine.upstream"},
    {"engine.doors", "engine.serving"},
    {"engine.joined", "engine.owned"},
    {"engine.link"},
    {"engine.daemon"},
    {"keys", "keytext", "values"},
    {"item"},
    {"calls", "weight"},
    {"walk"},
    {"opcodes"},
    {"plain", "records", "watch"},
    {"classes", "index"},
    {"objects"},
    {"session"},
    {"query", "batch"},
    {"transaction", "files"},
    {"pool"},
    {"report", "indexcheck", "itemcheck", "verify", "care"},
    {"remains", "savedfiles", "unclassed"},
    {"census"},
    {"rebuild"},
    {"salvage"},
    {"repair"},
    {"opening", "running"},
    {"store"},
]


def imports(path: Path) -> set[str]:
    """The modules of Atop's in Python that a module imports when it is run."""
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
    return {
        name.removeprefix("atop.")
        for name in names if name.startswith("atop.") and not name.endswith("._native")
    }


def test_each_module_has_its_layer() -> None:
    """Those that no other one may import are left out: the package itself and the commands."""
    listed = {module for layer in LAYERS for module in layer}
    found = {
        ".".join(path.relative_to(ATOP).with_suffix("").parts)
        for folder in (ATOP, ATOP / "engine") for path in folder.glob("*.py")
        if not path.stem.startswith("__")
    }
    assert found == listed


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
