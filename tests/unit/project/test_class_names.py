"""No two classes of the package have one name: a reader who meets it knows which one it is."""

import ast
from collections import defaultdict
from pathlib import Path

import batch_bridge

ROOT = Path(batch_bridge.__file__).parent
PUBLIC = {
    "Cancelled": "an outcome, and an event of `batch_bridge.events`",
    "Limits": "of a provider, and of the Batch API server in `batch_bridge.testing`",
    "Stalled": "an error, and an event of `batch_bridge.events`",
    "Telemetry": "the engine's port, and the class of `batch_bridge.otel` behind it",
}
"""Names that two modules share, of which one is public at least."""


def test_each_name_means_one_class():
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(file.relative_to(ROOT).as_posix())
    twice = {name: files for name, files in found.items() if len(files) > 1}
    assert twice.keys() == PUBLIC.keys(), {name: files for name, files in twice.items() if name not in PUBLIC}
