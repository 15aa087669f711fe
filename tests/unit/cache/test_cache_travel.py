"""How a request's tenant and sample travel from the node to its bridge."""

import json
from types import SimpleNamespace

import pytest
from fakes import FakeStore
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

from batch_bridge import Request, gather, wait, wait_many
from batch_bridge._core.payload import interrupt_payload as wire
from batch_bridge._core.payload.interrupt_payload import Asked
from batch_bridge._core.payload.request_identity import Identity
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._node.platform.announce import user_of


@pytest.mark.parametrize(
    ("equal", "key", "sample"),
    [(0, None, ""), (1, None, "1"), (0, "draft", ":draft"), (2, "draft", "2:draft"), (0, "", ":")],
)
def test_the_sample_is_the_number_of_equal_waits_and_the_key(equal, key, sample):
    plain = Identity("t", "ns", "bridge", b"content", equal)
    named = Identity("t", "ns", "bridge", b"content", equal, key, "me")
    assert named.sample == sample
    assert named.first == plain.first, "neither key nor tenant is a second time part of the id"


def test_what_is_not_set_is_not_in_the_interrupt():
    assert wire.to_json(Asked("r", "bridge", {"q": 1})) == {"id": "r", "batcher": "bridge", "item": {"q": 1}}


@pytest.mark.parametrize("more", [{}, {"tenant": "me"}, {"sample": "1"}, {"tenant": "me", "sample": ":draft"}])
async def test_tenant_and_sample_come_through_the_interrupt_and_the_ledger(more):
    asked = Asked("00ff", "bridge", {"q": 1}, **more)
    (read,) = wire.read_interrupt(json.loads(json.dumps(wire.interrupt_value([wire.to_json(asked)]))))
    request = read.request("thread")
    assert request == Request("00ff", "thread", {"q": 1}, **more)
    ledger = Ledger(FakeStore(), "bridge")
    await ledger.enqueue([request])
    assert await ledger.requests(["00ff"]) == [request]


async def test_equal_waits_of_one_execution_are_samples_and_those_of_others_are_not():
    async def node(state):
        await gather(wait("a"), wait("b"), wait("a"), wait("a", key="again"), wait_many(["a", "c"]))

    graph = StateGraph(dict).add_node("node", node).add_edge(START, "node").add_edge("node", END)
    compiled = graph.compile(checkpointer=InMemorySaver())
    for thread in ("t1", "t2"):
        result = await compiled.ainvoke({}, {"configurable": {"thread_id": thread}})
        (interrupt,) = result["__interrupt__"]
        asked = {(each.item, each.sample, each.tenant) for each in wire.read_interrupt(interrupt.value)}
        assert asked == {
            ("a", "", ""),
            ("b", "", ""),
            ("a", "1", ""),
            ("a", ":again", ""),
            ("a", "2", ""),
            ("c", "", ""),
        }


def test_the_tenant_is_the_servers_user():
    server = SimpleNamespace(user=SimpleNamespace(identity="ada"))
    assert user_of(SimpleNamespace(server_info=server)) == "ada"
    assert user_of(SimpleNamespace(server_info=SimpleNamespace(user=None))) == ""
    assert user_of(SimpleNamespace(server_info=None)) == ""
