"""What we use of `langgraph-api` though it is not public: a name that vanishes fails here, by name, and says what then."""

import ast
import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType

import pytest

from batch_bridge import Bridge
from batch_bridge._node.platform import client as _access

VANISHED = (
    "`langgraph_api.graph.{}` has vanished or changed. `_of_server` in `batch_bridge/_node/platform/client.py` reads there "
    "which bridge langgraph.json names, before its first run. Until it finds that elsewhere, each Bridge(…, client=…) "
    "must be given name= its id: say so in docs/langgraph-server.md, and let `_of_server` return None"
)


@pytest.fixture
def source() -> ast.Module:
    """The server's module of graphs, read and not run: it wants a deployment's environment."""
    spec = importlib.util.find_spec("langgraph_api")
    if spec is None or spec.origin is None:
        pytest.skip("langgraph-api is not installed")
    return ast.parse(Path(spec.origin).with_name("graph.py").read_text())


def test_the_server_still_has_a_table_of_graphs(source) -> None:
    named = [
        node.target.id for node in source.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    assert "GRAPHS" in named, VANISHED.format("GRAPHS")


def test_the_server_still_puts_there_what_the_configuration_names(source) -> None:
    (register,) = [node for node in ast.walk(source) if getattr(node, "name", "") == "register_graph"]
    assert "GRAPHS[graph_id] = graph" in ast.unparse(register), VANISHED.format("register_graph")


@pytest.mark.parametrize("table", [None, [], "GRAPHS"])
def test_without_it_a_bridge_is_known_by_its_own_name_and_that_is_said_once(monkeypatch, caplog, table) -> None:
    module = ModuleType("langgraph_api.graph")
    if table is not None:
        module.GRAPHS = table
    monkeypatch.setitem(sys.modules, "langgraph_api.graph", module)
    _access._say_once.cache_clear()
    one = Bridge(submit=list, poll=list, name=f"by its own name {table}")
    one()
    with caplog.at_level(logging.WARNING, logger="batch_bridge"):
        assert _access.access_of(f"by its own name {table}") is one._access
        assert _access.access_of("nobody") is _access._DEFAULT
    assert [each for each in caplog.messages if "name= its id in langgraph.json" in each] == caplog.messages[:1]
