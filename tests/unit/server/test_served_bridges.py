"""Only a bridge that is served is known by its name; no other object of the process takes its place."""

import gc
import sys
from types import ModuleType

import pytest
from openai import OpenAI

from batch_bridge import Batcher, Bridge, wrap_openai
from batch_bridge._node.platform import client as _access


def submit(items):
    return list(items)


def poll(handle):
    return handle


def bridge(**options):
    return Bridge(submit=submit, poll=poll, **options)


@pytest.fixture
def served(monkeypatch):
    """A server's table of graphs, with a bridge in it."""
    module, one = ModuleType("langgraph_api.graph"), bridge(client=lambda: None)
    module.GRAPHS = {"bridge": one}
    monkeypatch.setitem(sys.modules, "langgraph_api.graph", module)
    return one


def test_a_bridge_that_is_not_served_is_not_known():
    one = bridge(name="nobodys")
    assert not _access.is_introduced("nobodys")
    one()
    assert _access.access_of("nobodys") is one._access


def test_no_batcher_or_client_takes_the_place_of_a_served_bridge(served):
    with Batcher(submit_func=submit, poll_func=poll, name="bridge"):
        client = wrap_openai(OpenAI(api_key="k"))
        assert _access.access_of("bridge") is served._access
        other = bridge()
        assert _access.access_of("bridge") is served._access
    del client, other
    gc.collect()
    assert _access.access_of("bridge") is served._access


def test_the_graph_id_decides_and_not_the_name():
    one, other = bridge(name="twins"), bridge(name="twins")
    one(), other()
    assert _access.access_of("twins") is one._access
    other._host("twins")
    assert _access.access_of("twins") is other._access
