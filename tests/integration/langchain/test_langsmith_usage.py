"""What LangSmith is told: a parked call costs nothing, an answered one once, at the batch price."""

from decimal import Decimal

import pytest
from helpers import State, memory, one_node, within
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.langchain import LangChainTracer
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy
from langsmith_server import LangSmith
from openai import AsyncOpenAI

from batch_bridge import Bridge, Pending, Runner
from batch_bridge.langchain import batched
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

NOTHING = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0.01) as server:
        yield server


@pytest.fixture
def langsmith():
    with LangSmith() as langsmith:
        yield langsmith


class Tracer(BaseTracer):
    """Any other tracer: it keeps the runs of models that have ended."""

    def __init__(self):
        super().__init__()
        self.ended = []

    def _persist_run(self, run):
        pass

    def _on_llm_end(self, run):
        self.ended.append(run)

    def usages(self):
        generations = [run.outputs["generations"][0] for run in self.ended]
        return [one[0]["message"]["kwargs"].get("usage_metadata") if one else None for one in generations]


def bridge(server, **options):
    provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"), model="gpt-4o-mini")
    return Bridge(provider, **{"poll_interval": 0.02, "mode": "batch", **options})


def model(server, batcher="bridge"):
    return batched(ChatOpenAI(model="gpt-4o-mini", base_url=server.base_url, api_key="test"), batcher=batcher)


def plain(usage):
    """A message's usage, without the details that are zero."""
    return {name: usage[name] for name in NOTHING}


def paid(message):
    return float(Decimal(message.response_metadata["batch_bridge"]["paid"]))


def told(message):
    return {**message.usage_metadata, "total_cost": paid(message)}


@pytest.mark.parametrize("is_sync", [False, True])
async def test_a_node_of_two_calls_tells_each_answer_once_and_gets_both_whole(server, langsmith, is_sync):
    llm, mine, counted = model(server), Tracer(), UsageMetadataCallbackHandler()
    options = {"callbacks": [LangChainTracer(client=langsmith.client), mine, counted]}
    legs = []

    async def node(state):
        legs.append([])
        for text in ("hi", "hello"):
            legs[-1].append(await llm.ainvoke(text, options))
        return {"out": legs[-1]}

    def node_sync(state):
        legs.append([])
        for text in ("hi", "hello"):
            legs[-1].append(llm.invoke(text, options))
        return {"out": legs[-1]}

    async with memory(one_node(node_sync if is_sync else node), bridge(server)) as runner:
        (result,) = await within(runner.abatch([{}]))
        cost = (await runner.report()).cost
    first, second = result["out"]
    assert [len(each) for each in legs] == [0, 1, 2]
    assert legs[1][0].usage_metadata == first.usage_metadata  # the node gets the same each time
    assert paid(legs[1][0]) == paid(first)

    zero = {**NOTHING, "total_cost": 0}
    assert langsmith.usages() == [
        zero,
        told(first),
        zero,
        zero,
        told(second),
    ]  # the second is a parked call, of `hello`
    assert float(cost.paid) == pytest.approx(sum(each["total_cost"] for each in langsmith.usages()))
    whole = [first.usage_metadata, second.usage_metadata]
    assert [each for each in mine.usages() if each not in (None, NOTHING)] == whole
    (all_in_all,) = counted.usage_metadata.values()
    assert plain(all_in_all) == {name: sum(each[name] for each in whole) for name in NOTHING}


def counted(tracer):
    """How often each text was told with what it has used."""
    used = {}
    for run, usage in zip(tracer.ended, tracer.usages(), strict=True):
        text = run.inputs["prompts"][0].removeprefix("Human: ")
        used.setdefault(text, []).append(bool(usage and usage["total_tokens"]))
    return {text: sum(each) for text, each in used.items()}


async def test_an_attempt_that_fails_has_told_its_answers(server):
    llm, tracer, attempts = model(server), Tracer(), []

    async def node(state):
        message = await llm.ainvoke("hi", {"callbacks": [tracer]})
        attempts.append(message)
        if len(attempts) < 3:
            raise ConnectionError("a tool is down")
        return {"out": [message]}

    retried = one_node(node, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0))
    async with memory(retried, bridge(server)) as runner:
        with pytest.raises(ConnectionError, match="a tool is down"):
            await within(runner.abatch([{}], run_id="r"))
        (result,) = await within(runner.abatch([{}], run_id="r"))  # the same command again
    assert len(attempts) == 3
    assert counted(tracer) == {"hi": 1}
    assert result["out"][0].usage_metadata["total_tokens"]


async def test_sessions_that_go_on_tell_only_what_is_new(server, tmp_path):
    llm, tracer = model(server), Tracer()

    async def node(state):
        options = {"callbacks": [tracer]}
        return {"out": [await llm.ainvoke(text, options) for text in ("hi", "hello", "bye")]}

    for _ in range(40):
        async with Runner(one_node(node), bridge(server), path=tmp_path / "run.db", progress=False) as runner:
            (result,) = await within(runner.abatch([{}], run_id="r", on_pending="return"))
        if not isinstance(result, Pending):
            break
    assert counted(tracer) == {"hi": 1, "hello": 1, "bye": 1}
    assert all(each.usage_metadata["total_tokens"] for each in result["out"])


async def test_a_branch_that_runs_again_for_a_siblings_answer_tells_nothing_twice(server):
    tracer = Tracer()
    rounds = {"quick": "abcdefgh", "slow": "xy"}

    def branch(name):
        llm = model(server, batcher=name)

        async def node(state):
            return {"out": [await llm.ainvoke(text, {"callbacks": [tracer]}) for text in rounds[name]]}

        return node

    slow = one_node(branch("slow")).compile()  # a graph in a graph
    graph = StateGraph(State).add_node("quick", branch("quick")).add_node("slow", slow)
    for name in rounds:
        graph.add_edge(START, name).add_edge(name, END)
    bridges = bridge(server, name="quick"), bridge(server, name="slow", poll_interval=0.15)
    async with memory(graph, *bridges) as runner:
        await within(runner.abatch([{}]))
    assert counted(tracer) == dict.fromkeys("abcdefghxy", 1)
