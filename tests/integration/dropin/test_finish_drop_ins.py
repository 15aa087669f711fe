"""The drop-in clients with a deadline: a batch that never ends, and an answer in time all the same."""

import pytest
from langchain_openai import ChatOpenAI
from langgraph.graph import StateGraph
from openai import AsyncOpenAI

from batch_bridge import Bridge, FlushPolicy, Runner, wrap_openai
from batch_bridge.langchain import batched
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

SOON = 0.5


@pytest.fixture
def server():
    with BatchServer(stuck=1.0, stuck_share=0.0) as running:
        yield running


def client(server):
    return AsyncOpenAI(base_url=server.base_url, api_key="test")


def wrapped(server):
    made = wrap_openai(client(server), flush=FlushPolicy(max_idle=0.05), poll_interval=0.1, deadline=SOON)

    async def ask():
        answer = await made.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
        return answer.choices[0].message.content

    return ask


def langchain(server):
    model = ChatOpenAI(model="gpt-4o-mini", base_url=server.base_url, api_key="test")
    made = batched(model, max_idle=0.05, deadline=SOON)

    async def ask():
        return (await made.ainvoke("hi")).text

    return ask


WAYS = pytest.mark.parametrize("way", [wrapped, langchain])


@WAYS
async def test_in_a_node(server, way):
    ask = way(server)

    async def node(state):
        return {"a": await ask()}

    graph = StateGraph(dict).add_node("node", node).add_edge("__start__", "node")
    bridge = Bridge(OpenAIBatch(client(server)), poll_interval=0.1, flush=FlushPolicy(when_idle=True))
    async with Runner(graph, bridge, path=":memory:", progress=False) as runner:
        assert "hi" in (await runner.ainvoke({}))["a"]
    assert (server.stats.batches, server.stats.realtime, server.stats.paid) == (1, 1, 0)


@WAYS
async def test_outside_of_graphs(server, way):
    assert "hi" in await way(server)()
    assert (server.stats.batches, server.stats.realtime, server.stats.paid) == (1, 1, 0)


@pytest.mark.parametrize("wrap", [wrap_openai, batched])
def test_a_deadline_that_is_none(server, wrap):
    of = client(server) if wrap is wrap_openai else ChatOpenAI(model="m", api_key="test")
    with pytest.raises(TypeError, match="deadline='soon' is not a duration"):
        wrap(of, deadline="soon")
