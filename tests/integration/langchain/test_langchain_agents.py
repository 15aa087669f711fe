"""`create_agent` with a batched model, under a Runner, against the Batch API server."""

import asyncio
from importlib.metadata import version

import openai
import pytest
import sampling
from helpers import within
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    ToolRetryMiddleware,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_answers import answer
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_parts import MODELS, chat, fresh, look_up, plain, runner
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from packaging.version import Version
from pydantic import BaseModel

from batch_bridge import Succeeded
from batch_bridge._core.payload.interrupt_payload import envelope, read_interrupt
from batch_bridge.errors import RequestFailed
from batch_bridge.langchain import batched


def asked(count):
    return [{"messages": [HumanMessage(f"question {index}", id=f"q{index}")]} for index in range(count)]


async def run(agent, server, inputs, **options):
    async with runner(agent, server) as running:
        return await within(running.abatch(inputs, **options), 60)


class Report(BaseModel):
    """A report."""

    title: str
    stars: int


@pytest.mark.parametrize("kind", MODELS)
async def test_an_agent_ends_as_in_realtime(server, kind):
    many = sampling.many(100, 20)
    model, inputs = MODELS[kind](server), asked(many)
    in_realtime = await within(create_agent(fresh(model), tools=[look_up]).abatch(inputs, {"max_concurrency": 20}), 100)
    server.reset_stats()
    in_batches = await run(create_agent(batched(model), tools=[look_up]), server, inputs)
    for one, other in zip(in_realtime, in_batches, strict=True):
        assert one.keys() == other.keys()
        assert [plain(each) for each in one["messages"]] == [plain(each) for each in other["messages"]]
        assert one["messages"][-1].usage_metadata["total_tokens"] > 0
    assert [type(each) for each in in_batches[0]["messages"]] == [
        HumanMessage, AIMessage, ToolMessage, AIMessage, ToolMessage, ToolMessage, AIMessage,
    ]  # fmt: skip
    stats = server.stats
    assert (stats.batches, stats.paid, stats.paid_twice, stats.realtime) == (3, 3 * many, 0, 0)


@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy, None])
async def test_structured_output_of_an_agent(server, strategy):
    model = chat(server)
    wanted = strategy(Report) if strategy else Report
    (realtime,) = await create_agent(fresh(model), response_format=wanted).abatch(asked(1))
    (result,) = await run(create_agent(batched(model), response_format=wanted), server, asked(1))
    assert isinstance(result["structured_response"], Report)
    assert result["structured_response"] == realtime["structured_response"]
    assert [plain(each) for each in result["messages"]] == [plain(each) for each in realtime["messages"]]


@pytest.mark.skipif(Version(version("langchain")) < Version("1.4"), reason="its middleware swallowed interrupts")
async def test_middleware_lets_a_parked_thread_pass(server):
    middleware = [
        ModelRetryMiddleware(max_retries=2, initial_delay=0),
        ModelFallbackMiddleware(chat(server, model="gpt-4o")),
        ToolRetryMiddleware(max_retries=2, initial_delay=0),
        ModelCallLimitMiddleware(run_limit=3),
    ]
    agent = create_agent(batched(chat(server)), tools=[look_up], middleware=middleware)
    results = await run(agent, server, asked(5))
    assert all(isinstance(each["messages"][-1], AIMessage) and each["messages"][-1].content for each in results)
    stats = server.stats
    assert (stats.batches, stats.paid, stats.realtime) == (3, 15, 0)


async def test_middleware_asks_again_after_a_failure(server):
    middleware = [ModelRetryMiddleware(max_retries=1, initial_delay=0, on_failure="error")]
    agent = create_agent(batched(chat(server)), middleware=middleware)
    (error,) = await run(agent, server, [{"messages": [("user", "fail 500")]}], return_exceptions=True)
    assert error.status_code == 500
    assert server.stats.requests == 2


async def test_a_fallback_model_is_asked_after_a_failure_and_in_a_batch_too(server):
    second = batched(chat(server, model="gpt-4o"))
    middleware = [ModelFallbackMiddleware(second)]
    agent = create_agent(batched(chat(server)), middleware=middleware)
    (error,) = await run(agent, server, [{"messages": [("user", "fail 400")]}], return_exceptions=True)
    assert error.status_code == 400
    stats = server.stats
    assert (stats.requests, stats.batches, stats.realtime) == (2, 2, 0)


async def test_a_tool_that_asks_a_batched_model(server):
    model = batched(chat(server))

    @tool
    async def ask(city: str) -> str:
        """Ask a model."""
        answer = await model.ainvoke(f"Tell me of {city}")
        return answer.text

    @tool
    def ask_sync(city: str) -> str:
        """Ask a model."""
        return model.invoke(f"Tell me of {city}").text

    for each in (ask, ask_sync):
        server.reset_stats()
        results = await run(create_agent(model, tools=[each]), server, asked(3))
        tools = [m for m in results[0]["messages"] if isinstance(m, ToolMessage)]
        assert len(tools) == 3
        assert all("Tell me of" in m.content for m in tools)
        assert server.stats.realtime == 0
        assert server.stats.paid == 3 * 6
        assert server.stats.paid_twice == 0


async def test_streams_carry_one_message_at_the_end_of_each_call(server):
    agent = create_agent(batched(chat(server)), tools=[look_up], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    seen, given = [], asked(1)[0]
    while True:
        async for message, _ in agent.astream(given, config, stream_mode="messages"):
            seen.append(message)
        interrupts = (await agent.aget_state(config)).interrupts
        if not interrupts:
            break
        (request,) = read_interrupt(interrupts[0].value)
        body = answer(request.item["url"], request.item["body"]).body
        given = Command(resume={interrupts[0].id: envelope({request.id: Succeeded(body)})})
    kinds = [m.type.replace("AIMessageChunk", "ai") for m in seen]
    assert kinds == ["ai", "tool", "ai", "tool", "tool", "ai"]
    assert seen[-1].content


async def test_a_line_that_failed_is_the_sdk_s_own_error(server):
    agent = create_agent(batched(chat(server)))
    wanted = {400: openai.BadRequestError, 429: openai.RateLimitError, 500: openai.InternalServerError}
    inputs = [{"messages": [("user", f"fail {status}")]} for status in wanted]
    errors = await run(agent, server, inputs, return_exceptions=True)
    for error, (status, kind) in zip(errors, wanted.items(), strict=True):
        assert isinstance(error, kind)
        assert error.status_code == status
        assert error.body["message"].startswith("it is")
    assert server.stats.requests == 3  # no SDK has asked again


async def test_a_request_that_never_ran_is_our_error(server):
    server.configure(expiry=1.0, expiry_share=0.0)
    try:
        agent = create_agent(batched(chat(server)))
        (error,) = await run(agent, server, asked(1), return_exceptions=True)
    finally:
        server.configure(expiry=0.0, expiry_share=0.5)
    assert type(error).__name__ == "RequestExpired"
    assert not isinstance(error, RequestFailed)


async def test_many_agents_are_three_batches(server):
    many = sampling.many(200, 50)
    agent = create_agent(batched(chat(server)), tools=[look_up])
    results = await asyncio.wait_for(run(agent, server, asked(many)), 100)
    assert all(isinstance(each["messages"][-1], AIMessage) for each in results)
    stats = server.stats
    assert (stats.batches, stats.requests, stats.paid, stats.paid_twice) == (3, 3 * many, 3 * many, 0)
