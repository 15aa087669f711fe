"""A wrapped OpenAI client in the nodes of a graph: calls park the thread, and each gets its own answer back."""

import asyncio
import logging

import openai
import pytest
from helpers import one_node, within
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import RetryPolicy
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from batch_bridge import Batcher, Bridge, FlushPolicy, Runner, wrap_openai
from batch_bridge.errors import NoCheckpointerError, SwallowedInterruptError
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


class City(BaseModel):
    name: str


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as server:
        yield server


@pytest.fixture
def plain(server, request):
    return AsyncOpenAI(base_url=server.base_url, api_key=request.node.name)


@pytest.fixture
def sync(server, request):
    return OpenAI(base_url=server.base_url, api_key=request.node.name)


def bridge(client, **options):
    return Bridge(OpenAIBatch(client), poll_interval=0.1, **options)


def chat(client, text):
    return client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": text}])


async def test_calls_of_one_node_are_one_round_and_the_nodes_code_is_the_realtime_code(plain, server):
    def node_with(client):
        async def node(state):
            first, parsed, embedded = await asyncio.gather(
                chat(client, state["x"]),
                client.responses.parse(model="gpt-4o-mini", input=state["x"], text_format=City),
                client.embeddings.create(model="text-embedding-3-small", input=state["x"]),
            )
            last = await chat(client, first.choices[0].message.content)
            return {"out": [last.model_dump(), parsed.output_parsed, embedded.data[0].embedding[:2]]}

        return one_node(node)

    inputs = [{"x": f"city {number}"} for number in range(5)]
    realtime = await node_with(plain).compile().abatch(inputs)
    before = server.stats
    async with Runner(node_with(wrap_openai(plain)), bridge(plain)) as runner:
        assert await within(runner.abatch(inputs)) == realtime
    assert server.stats.batches == before.batches + 4  # three endpoints in the first round, one in the second
    assert server.stats.requests == before.requests + 20
    assert (server.stats.realtime, server.stats.paid_twice) == (before.realtime, 0)


@pytest.mark.parametrize("kind", ["sync node", "async node", "thread of an async node"])
async def test_a_synchronous_client_parks_in_every_kind_of_node(plain, sync, kind, server):
    client = wrap_openai(sync)

    def ask(state):
        return {"out": [chat(client, state["x"]).choices[0].message.content]}

    async def blocking(state):
        return ask(state)

    async def threaded(state):
        return await asyncio.to_thread(ask, state)

    node = {"sync node": ask, "async node": blocking, "thread of an async node": threaded}[kind]
    before = server.stats
    async with Runner(one_node(node), bridge(plain)) as runner:
        results = await within(runner.abatch([{"x": "a"}, {"x": "b"}]))
    assert all(result["out"] for result in results)
    assert (server.stats.batches, server.stats.realtime) == (before.batches + 1, before.realtime)


async def test_tools_that_call_a_wrapped_client(plain, server):
    client = wrap_openai(plain)

    @tool
    async def look_up(city: str) -> str:
        """Look a city up."""
        return (await chat(client, f"Where is {city}?")).choices[0].message.content

    calls = [{"name": "look_up", "args": {"city": city}, "id": city} for city in ("Paris", "Rome")]
    async with Runner(
        StateGraph(dict).add_node("tools", ToolNode([look_up], messages_key="messages")).add_edge(START, "tools"),
        bridge(plain),
    ) as runner:
        before = server.stats.batches
        result = await within(runner.ainvoke({"messages": [AIMessage("", tool_calls=calls)]}))
    assert [message.status for message in result["messages"]] == ["success", "success"]
    assert len({message.content for message in result["messages"]}) == 2
    assert server.stats.batches == before + 1


async def test_an_agent_whose_tool_calls_a_wrapped_client(plain):
    client = wrap_openai(plain)

    @tool
    async def look_up(city: str) -> str:
        """Look a city up."""
        return (await chat(client, f"Where is {city}?")).choices[0].message.content

    class Model(GenericFakeChatModel):
        def bind_tools(self, tools, **options):
            return self

    call = {"name": "look_up", "args": {"city": "Paris"}, "id": "1"}
    model = Model(messages=iter([AIMessage("", tool_calls=[call]), AIMessage("done")]))
    async with Runner(create_agent(model, [look_up]), bridge(plain)) as runner:
        result = await within(runner.ainvoke({"messages": [HumanMessage("go")]}))
    assert [type(message).__name__ for message in result["messages"]][-2:] == ["ToolMessage", "AIMessage"]
    assert result["messages"][-2].content.startswith("[stand-in")


async def test_an_error_is_the_sdks_and_a_retry_asks_again():
    with BatchServer(latency=0, line_failure=1, line_failure_status=[429]) as server:
        plain = AsyncOpenAI(base_url=server.base_url, api_key="k")
        client, seen = wrap_openai(plain), []

        async def node(state):
            try:
                answer = await chat(client, "hi")
            except openai.RateLimitError as error:
                seen.append(error.request_id)
                server.configure(line_failure=0)
                raise
            return {"out": [answer.choices[0].message.content]}

        graph = one_node(node, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.01))
        async with Runner(graph, bridge(plain, attempts=1)) as runner:
            result = await within(runner.ainvoke({"x": "a"}))
        assert len(result["out"]) == 1
        assert all(seen)
        assert (server.stats.requests, server.stats.paid) == (2, 1)


@pytest.mark.parametrize("siblings", [0, 1])
async def test_a_node_that_swallows_the_interrupt_is_told_so(plain, siblings):
    client = wrap_openai(plain)

    async def careless(state):
        try:
            return {"out": [(await chat(client, "a")).choices[0].message.content]}
        except Exception:
            return {"out": ["nothing"]}

    async def careful(state):
        return {"out": [(await chat(client, "b")).choices[0].message.content]}

    graph = one_node(careless)
    if siblings:
        graph.add_node("careful", careful)
        graph.add_edge(START, "careful")
    async with Runner(graph, bridge(plain)) as runner:
        with pytest.raises(SwallowedInterruptError, match=r"caught the interrupt.*Catch RequestError"):
            await within(runner.ainvoke({"x": "a"}))


async def test_the_next_call_in_such_a_node_parks_it_after_all(plain):
    client = wrap_openai(plain)

    async def careless(state):
        answers = []
        for text in ("a", "b"):
            try:
                answers.append((await chat(client, text)).choices[0].message.content)
            except ValueError:
                answers.append("nothing")
        try:
            await chat(client, "c")
        except openai.APIError:
            answers.append("nothing")
        return {"out": answers}

    async with Runner(one_node(careless), bridge(plain)) as runner:
        result = await within(runner.ainvoke({"x": "a"}))
    assert "nothing" not in result["out"]


async def test_a_graph_that_cannot_park_is_told_so(plain):
    client = wrap_openai(plain)

    async def node(state):
        return {"out": [await chat(client, "a")]}

    with pytest.raises(NoCheckpointerError):
        await one_node(node).compile().ainvoke({"x": "a"})


async def test_a_batcher_answers_in_a_node_without_parking_it(plain):
    async with Batcher(OpenAIBatch(plain), flush=FlushPolicy(max_idle=0.02), poll_interval=0.1) as batcher:
        client = wrap_openai(plain, batcher)

        async def node(state):
            return {"out": [(await chat(client, "a")).choices[0].message.content]}

        assert (await within(one_node(node).compile().ainvoke({"x": "a"})))["out"]


async def test_a_client_for_another_api_is_refused_by_the_bridge(plain):
    client = wrap_openai(plain.with_options(base_url="http://localhost:1/v1"))

    async def node(state):
        return {"out": [await chat(client, "a")]}

    async with Runner(one_node(node), bridge(plain)) as runner:
        with pytest.raises(openai.APIError, match=r"base_url is 'http://localhost:1/v1', and this provider's is"):
            await within(runner.ainvoke({"x": "a"}))


async def test_headers_that_a_bridge_does_not_send_are_not_dropped_in_silence(plain, caplog):
    client = wrap_openai(plain.with_options(default_headers={"X-Tenant": "a"}))

    async def node(state):
        return {"out": [(await chat(client, state["x"])).choices[0].message.content]}

    with caplog.at_level(logging.WARNING, "batch_bridge"):
        async with Runner(one_node(node), bridge(plain)) as runner:
            await within(runner.abatch([{"x": "a"}, {"x": "b"}]))
    assert len([each for each in caplog.records if "default headers" in each.message]) == 1
