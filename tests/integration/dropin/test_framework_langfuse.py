"""Langfuse's wrapper changes the methods of the SDK's classes: a wrapped client is traced by it, in nodes and scripts."""

import asyncio
import importlib
import json
import sys

import pytest
from helpers import one_node, within
from openai import AsyncOpenAI

from batch_bridge import Bridge, Runner, wrap_openai
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

langfuse = pytest.importorskip("langfuse", reason="langfuse is not installed; `--group frameworks` has it")


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as server:
        yield server


@pytest.fixture(scope="module")
def traces():
    """What langfuse exports; at the end the SDK's classes are as they were."""
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    tracer = langfuse.Langfuse(
        public_key="test", secret_key="test", base_url="http://127.0.0.1:9", span_exporter=exporter
    )
    traced = importlib.import_module("langfuse.openai")

    def take():
        tracer.flush()
        spans = exporter.get_finished_spans()
        exporter.clear()
        return [dict(span.attributes) for span in spans]

    yield take
    tracer.shutdown()
    for method in traced.OPENAI_METHODS_V1:
        kind = getattr(sys.modules.get(method.module), method.object, None)
        changed = kind and vars(kind).get(method.method)
        if hasattr(changed, "_self_wrapper"):
            setattr(kind, method.method, changed.__wrapped__)


def ask(client, text):
    return client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": text}])


def outputs(traces):
    return [
        json.loads(each["langfuse.observation.output"])["content"]
        for each in traces
        if "langfuse.observation.output" in each
    ]


async def test_in_a_script_gathered_calls_are_one_batch_and_each_is_traced(server, traces):
    before = server.stats
    plain = AsyncOpenAI(base_url=server.base_url, api_key="test")
    async with wrap_openai(plain, poll_interval=0.05) as client:
        answers = await within(asyncio.gather(*(ask(client, f"question {number}") for number in range(3))))
    assert server.stats.batches == before.batches + 1
    assert sorted(outputs(traces())) == sorted(answer.choices[0].message.content for answer in answers)


async def test_in_a_node_calls_park_and_each_answer_is_traced(server, traces, caplog):
    async with AsyncOpenAI(base_url=server.base_url, api_key="test") as plain:
        client = wrap_openai(plain)

        async def node(state):
            answers = await asyncio.gather(ask(client, "SECRET A"), ask(client, "SECRET B"))
            return {"out": [answer.choices[0].message.content for answer in answers]}

        before = server.stats
        async with Runner(one_node(node), Bridge(OpenAIBatch(plain), poll_interval=0.05)) as runner:
            (result,) = await within(runner.abatch([{}]))
    assert (server.stats.batches, server.stats.requests) == (before.batches + 1, before.requests + 2)
    assert set(result["out"]) <= set(outputs(traces()))
    assert "SECRET" not in caplog.text
