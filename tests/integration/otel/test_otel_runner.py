"""Traces and metrics of a real run: a span a batch, linked with those of its requests, also over a restart."""

import asyncio
import subprocess
import sys

import pytest
from helpers import Desk, one_node
from openai import AsyncOpenAI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from batch_bridge import Batcher, Bridge, Runner, wait
from batch_bridge._core.payload.trace_context import capture_with
from batch_bridge.otel import Telemetry
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as server:
        yield server


@pytest.fixture
def exporter():
    yield InMemorySpanExporter()
    capture_with(None)


def traced(exporter, reader=None):
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader] if reader else [])
    return tracers, Telemetry(tracer_provider=tracers, meter_provider=meters)


async def twice(state):
    first = await wait([{"role": "user", "content": f"SECRET {state['x']}"}])
    return {"out": [await wait([{"role": "user", "content": first["choices"][0]["message"]["content"]}])]}


def sorted_out(exporter):
    spans = exporter.get_finished_spans()
    batches = [each for each in spans if each.name.startswith("batch ")]
    return batches, [each for each in spans if each.name.startswith("chat ")]


async def test_a_batch_is_a_span_of_its_own_linked_with_its_requests_and_back(server, exporter):
    reader = InMemoryMetricReader()
    tracers, telemetry = traced(exporter, reader)
    client = AsyncOpenAI(base_url=server.base_url, api_key="test")
    bridge = Bridge(OpenAIBatch(client, model="gpt-4o-mini"), poll_interval=0.05, telemetry=telemetry)
    async with Runner(one_node(twice), bridge) as runner:
        with tracers.get_tracer("mine").start_as_current_span("evaluation") as mine:
            await runner.abatch([{"x": x} for x in range(3)], run_id="eval")
        cost = (await runner.report()).cost
    batches, requests = sorted_out(exporter)
    assert (len(batches), len(requests)) == (2, 6)
    for batch in batches:
        assert batch.parent is None
        assert batch.context.trace_id != mine.get_span_context().trace_id
        assert batch.name == "batch gpt-4o-mini"
        shown = dict(batch.attributes)
        assert shown["gen_ai.operation.name"] == "chat"
        assert (shown["gen_ai.provider.name"], shown["gen_ai.request.model"]) == ("openai", "gpt-4o-mini")
        assert shown["gen_ai.usage.input_tokens"] > 0
        assert shown["gen_ai.usage.output_tokens"] > 0
        assert (shown["batch_bridge.batch.requests"], shown["batch_bridge.batch.succeeded"]) == (3, 3)
        assert shown["batch_bridge.batch.id"].startswith("batch_")
        assert "SECRET" not in str(shown)
        linked = {(link.context.trace_id, link.context.span_id) for link in batch.links}
        back = {(each.context.trace_id, each.context.span_id): each for each in requests}
        assert linked <= back.keys()
        assert {back[each].links[0].context.span_id for each in linked} == {batch.context.span_id}
    mine = mine.get_span_context()
    assert {(each.context.trace_id, each.parent.span_id) for each in requests} == {(mine.trace_id, mine.span_id)}, (
        "of the second wave, too, though the engine has resumed it"
    )
    found = {
        metric.name: [point.value for point in metric.data.data_points]
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert found["batch_bridge.batches"] == [2]
    assert found["batch_bridge.requests"] == [6]
    assert found["batch_bridge.queue.requests"] == found["batch_bridge.in_flight.requests"] == [0]
    assert found["batch_bridge.cost.paid"] == [pytest.approx(float(cost.paid))]
    assert found["batch_bridge.cost.saved"] == [pytest.approx(float(cost.saved))]


async def test_where_requests_were_asked_survives_a_restart(exporter):
    desk = Desk().hold()
    tracers, telemetry = traced(exporter)

    async def node(state):
        return {"out": [await wait(state["x"])]}

    async with Runner(one_node(node), desk.bridge(telemetry=telemetry)) as runner:
        with tracers.get_tracer("mine").start_as_current_span("yesterday") as mine:
            running = asyncio.create_task(runner.abatch([{"x": "a"}], run_id="eval"))
            async with asyncio.timeout(60):
                while not desk.batches:
                    await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    desk.let_go()
    capture_with(None)
    tracers, telemetry = traced(exporter)  # another process, in which nothing of that is known
    async with Runner(one_node(node), desk.bridge(telemetry=telemetry)) as runner:
        await runner.abatch([{"x": "a"}], run_id="eval")
    (request,) = [each for each in exporter.get_finished_spans() if "batch_bridge.request.id" in each.attributes]
    mine = mine.get_span_context()
    assert (request.context.trace_id, request.parent.span_id) == (mine.trace_id, mine.span_id)


async def test_a_batcher_is_traced_too(exporter):
    desk = Desk()
    tracers, telemetry = traced(exporter)
    batcher = Batcher(Bridge(submit=desk.submit, poll=desk.poll, poll_interval=0.02, telemetry=telemetry))
    async with batcher:
        with tracers.get_tracer("mine").start_as_current_span("script") as mine:
            await batcher.amap(["a", "b"])
    spans = exporter.get_finished_spans()
    assert len([each for each in spans if each.parent and each.parent.span_id == mine.get_span_context().span_id]) == 2


async def test_an_exporter_that_fails_harms_nothing_and_is_told_once(exporter, caplog):
    class Broken(InMemorySpanExporter):
        def export(self, spans):
            raise ValueError("SECRET")

    desk = Desk()
    _, telemetry = traced(Broken())
    telemetry._spans.tell = Broken().export
    async with Runner(one_node(twice_plain), desk.bridge(telemetry=telemetry), path=":memory:") as runner:
        assert len(await runner.abatch([{"x": "a"}])) == 1
    assert len([each for each in caplog.messages if "could not be traced" in each]) == 1
    assert "SECRET" not in caplog.text


async def twice_plain(state):
    return {"out": [await wait(state["x"]), await wait("b")]}


def test_what_is_no_telemetry_is_refused_with_what_to_pass():
    with pytest.raises(TypeError, match=r"pass batch_bridge\.otel\.Telemetry\(\)"):
        Bridge(submit=print, poll=print, telemetry=True)


def test_without_it_nothing_of_opentelemetry_is_needed_or_imported():
    code = (
        "import asyncio, sys\n"
        "sys.modules['opentelemetry'] = None  # to import it is an error\n"
        "from batch_bridge import Batcher, Bridge, Runner, wait\n"
        "from langgraph.graph import START, StateGraph\n"
        "async def main():\n"
        "    async def node(state):\n"
        "        return {'x': await wait(state['x'])}\n"
        "    graph = StateGraph(dict).add_node('node', node).add_edge(START, 'node')\n"
        "    bridge = Bridge(submit=lambda items: {'n': len(items)}, poll=lambda handle: ['a'] * handle['n'])\n"
        "    async with Runner(graph, bridge, path=':memory:') as runner:\n"
        "        await runner.abatch([{'x': 1}])\n"
        "asyncio.run(main())\n"
        "print([each for each in sys.modules if each.startswith('batch_bridge.otel')])\n"
        "try:\n"
        "    import batch_bridge.otel\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    nothing, said = done.stdout.splitlines()
    assert nothing == "[]"
    assert "pip install 'langgraph-batch-bridge[otel]'" in said
