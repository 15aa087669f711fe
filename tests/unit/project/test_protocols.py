"""No protocol is asked for at run time: from Python 3.12 on that does not see what `__getattr__` gives."""

import ast
from pathlib import Path

import batch_bridge

PACKAGE = Path(batch_bridge.__file__).parent


def named(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def bases(made: ast.ClassDef) -> set[str]:
    return {named(base.value if isinstance(base, ast.Subscript) else base) for base in made.bases}


def asks_a_protocol(node: ast.AST, protocols: set[str]) -> bool:
    """Return whether this is `isinstance(…, P)` of a protocol, alone or among others."""
    is_call = isinstance(node, ast.Call) and named(node.func) in ("isinstance", "issubclass") and len(node.args) == 2
    return is_call and any(isinstance(each, ast.expr) and named(each) in protocols for each in ast.walk(node.args[1]))


def test_no_protocol_is_asked_for_at_run_time():
    """Ask with `getattr`, as `_core/provider.py` does."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
    protocols = {made.name for tree in trees.values() for made in classes(tree) if "Protocol" in bases(made)}
    assert {"Provider", "HasTokens", "HasRealtime", "HasIdentity"} <= protocols
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.expr) and (named(node) == "runtime_checkable" or asks_a_protocol(node, protocols))
    ]
    assert found == []
