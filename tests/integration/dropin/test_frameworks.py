"""Frameworks that take an OpenAI client, given a wrapped one: in a node their calls park, in a script they are a batch."""

import asyncio
import importlib
import logging

import pytest
from helpers import one_node, within
from openai import AsyncOpenAI
from pydantic import BaseModel

from batch_bridge import Bridge, Runner, wrap_openai
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

MODEL = "gpt-4o-mini"


class City(BaseModel):
    name: str


def pydantic_ai(client, *, responses=False):
    """Pydantic AI's agent."""
    ai = _needs("pydantic_ai")
    openai = importlib.import_module("pydantic_ai.models.openai")
    provider = importlib.import_module("pydantic_ai.providers.openai").OpenAIProvider(openai_client=client)
    kind = openai.OpenAIResponsesModel if responses else openai.OpenAIChatModel
    agent = ai.Agent(kind(MODEL, provider=provider))

    async def ask(text):
        return (await agent.run(text)).output

    return ask


def pydantic_ai_responses(client):
    return pydantic_ai(client, responses=True)


def openai_agents(client, *, responses=False):
    """The OpenAI Agents SDK."""
    agents = _needs("agents")
    agents.set_tracing_disabled(disabled=True)
    kind = agents.OpenAIResponsesModel if responses else agents.OpenAIChatCompletionsModel
    agent = agents.Agent(name="asker", model=kind(MODEL, openai_client=client))

    async def ask(text):
        return (await agents.Runner.run(agent, text)).final_output

    return ask


def openai_agents_responses(client):
    return openai_agents(client, responses=True)


def instructor(client):
    """Instructor, with answers by a tool."""
    package = pytest.importorskip("instructor", reason="instructor is not installed; `make test-instructor` has it")
    patched = package.from_openai(client, mode=package.Mode.TOOLS)

    async def ask(text):
        messages = [{"role": "user", "content": text}]
        return (await patched.chat.completions.create(model=MODEL, messages=messages, response_model=City)).name

    return ask


def langsmith(client):
    """LangSmith's wrapper, around ours."""
    wrappers = _needs("langsmith.wrappers")
    return _plain(wrappers.wrap_openai(client))


def langfuse(client):
    """Langfuse, which changes the methods of the SDK's classes."""
    return _plain(client)


def _plain(client):
    async def ask(text):
        answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}])
        return answer.choices[0].message.content

    return ask


def _needs(module):
    return pytest.importorskip(module, reason=f"{module} is not installed; `--group frameworks` has it")


FRAMEWORKS = [pydantic_ai, pydantic_ai_responses, openai_agents, openai_agents_responses, instructor, langsmith]


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as server:
        yield server


@pytest.fixture
async def plain(server, request):
    async with AsyncOpenAI(base_url=server.base_url, api_key=request.node.name) as client:
        yield client


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_in_a_node_the_calls_of_a_framework_park_and_are_answered_as_in_realtime(framework, plain, server):
    def graph_of(client):
        ask = framework(client)

        async def node(state):
            first = await asyncio.gather(ask(f"{state['x']} A"), ask(f"{state['x']} B"))
            return {"out": [*first, await ask(first[0])]}

        return one_node(node)

    inputs = [{"x": f"city {number}"} for number in range(3)]
    realtime = await graph_of(plain).compile().abatch(inputs)
    before = server.stats
    async with Runner(graph_of(wrap_openai(plain)), Bridge(OpenAIBatch(plain), poll_interval=0.05)) as runner:
        assert await within(runner.abatch(inputs)) == realtime
    after = server.stats
    # LangSmith sets up each call in a thread: on a busy machine the second of two comes when the node has parked.
    assert after.batches - before.batches in ((2, 3) if framework is langsmith else (2,))
    assert after.requests - before.requests == 9
    assert (after.realtime, after.paid_twice) == (before.realtime, 0)


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_in_a_script_gathered_calls_of_a_framework_are_one_batch(framework, plain, server, caplog):
    questions = [f"question {number}" for number in range(4)]
    realtime = await asyncio.gather(*map(framework(plain), questions))
    before = server.stats
    caplog.set_level(logging.WARNING, "batch_bridge")
    async with wrap_openai(plain, poll_interval=0.05) as client:
        assert await within(asyncio.gather(*map(framework(client), questions))) == realtime
    after = server.stats
    assert (after.batches - before.batches, after.requests - before.requests) == (1, 4)
    assert (after.realtime, after.paid_twice) == (before.realtime, 0)
    assert not [each for each in caplog.records if each.name.startswith("batch_bridge")]
