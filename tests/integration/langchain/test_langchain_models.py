"""A batched chat model by itself: in nodes and outside of graphs."""

import asyncio
import gc
import threading
import weakref

import pytest
from helpers import within
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_parts import MODELS, chat, desk, fresh, in_node, look_up, model, plain
from pydantic import BaseModel

from batch_bridge import Batcher
from batch_bridge.errors import OutsideGraphError
from batch_bridge.langchain import batched
from batch_bridge.langchain._stream import generation_chunk


class Report(BaseModel):
    """A report."""

    title: str
    stars: int


# -- outside of graphs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
async def test_a_plain_script_is_one_batch(server, kind):
    given = MODELS[kind](server)
    asked = [f"question {index}" for index in range(30)]
    answers = await within(asyncio.gather(*map(batched(given).ainvoke, asked)))
    assert [plain(each) for each in answers] == [plain(each) for each in await fresh(given).abatch(asked)]
    stats = server.stats
    assert (stats.batches, stats.paid, stats.realtime) == (1, 30, 30)


def test_a_synchronous_script_is_one_batch(server):
    asker, asked = batched(chat(server)), [f"question {index}" for index in range(50)]
    answers = asker.batch(asked, {"max_concurrency": 2})
    answers += (ChatPromptTemplate.from_template("{text}") | asker).batch([{"text": text} for text in asked])
    assert all(text in each.text for text, each in zip([*asked, *asked], answers, strict=True))
    assert (server.stats.batches, server.stats.paid) == (2, 100)


async def test_a_synchronous_call_does_not_block_an_event_loop(server):
    with pytest.raises(OutsideGraphError, match="thread that runs an event loop"):
        batched(chat(server)).invoke("hi")


def test_one_model_in_two_event_loops(server):
    shared = batched(chat(server))
    answers = []

    def script(name):
        answers.append(asyncio.run(within(shared.ainvoke(f"from {name}"))))

    threads = [threading.Thread(target=script, args=(name,)) for name in ("one", "two")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted("one" in each.text for each in answers) == [False, True]
    assert (server.stats.batches, server.stats.paid) == (1, 2)


async def test_a_model_that_is_gone_ends_its_batcher(server):
    asker = batched(chat(server))
    await within(asker.ainvoke("hi"))
    asked = weakref.ref(asker._batch_line.asker)
    thread = asked()._shared._worker.thread.work.thread
    assert thread.is_alive()
    del asker

    async def gone():
        while asked() is not None or thread.is_alive():  # whoever answered may not have let go yet
            gc.collect()
            await asyncio.sleep(0)

    await within(gone())


async def test_a_given_batcher_is_asked_always():
    far_side = desk()
    async with Batcher(submit_func=far_side.submit, poll_func=far_side.poll, poll_interval=0.02) as batcher:
        task = asyncio.ensure_future(batched(model(), batcher).ainvoke("hi"))
        while not batcher._worker._engine_loop.engine.queued:
            await asyncio.sleep(0)
        batcher.flush()
        assert "hi" in (await within(task)).text


# -- in a node -----------------------------------------------------------------------------------------------------


async def test_many_calls_of_a_node_are_one_round():
    asker = batched(model())

    async def node(state):
        answers = await asker.abatch([f"question {index}" for index in range(40)])
        return {"x": [each.text for each in answers]}

    (texts,), far_side = await in_node(node)
    assert [f"question {index}" in text for index, text in enumerate(texts)] == [True] * 40
    assert far_side.sizes == [40]


async def test_a_synchronous_node():
    asker = batched(model())

    def node(state):
        return {"x": asker.invoke("first").text + asker.invoke("second").text}

    (text,), far_side = await in_node(node)
    assert "first" in text
    assert "second" in text
    assert far_side.sizes == [1, 1]


async def test_many_calls_of_a_synchronous_node_are_one_round():
    asker = batched(model())

    def node(state):
        return {"x": [each.text for each in asker.batch([f"question {index}" for index in range(40)])]}

    (texts,), far_side = await in_node(node)
    assert [f"question {index}" in text for index, text in enumerate(texts)] == [True] * 40
    assert far_side.sizes == [40]


async def test_many_calls_park_though_errors_are_to_be_returned():
    asker = batched(model())

    async def anode(state):
        return {"x": [each.text for each in await asker.abatch(["a", "b"], return_exceptions=True)]}

    def node(state):
        return {"x": [each.text for each in asker.batch(["a", "b"], return_exceptions=True)]}

    for each in (anode, node):
        (texts,), far_side = await in_node(each)
        assert ["a" in texts[0], "b" in texts[1]] == [True, True]
        assert far_side.sizes == [2]


async def test_a_call_that_is_slow_to_be_sent_costs_no_round():
    late = asyncio.Event()

    async def slow_key():
        await late.wait()
        return "test"

    asker, slow = batched(model()), batched(model(api_key=slow_key))

    async def node(state):
        call = asyncio.ensure_future(slow.ainvoke("slow"))
        quick = asyncio.ensure_future(asker.ainvoke("quick"))
        for _ in range(100):
            await asyncio.sleep(0)
        late.set()
        return {"x": [each.text for each in await asyncio.gather(call, quick)]}

    (texts,), far_side = await in_node(node)
    assert "slow" in texts[0]
    assert far_side.sizes == [2]


async def test_a_synchronous_call_in_an_asynchronous_node():
    asker = batched(model())

    async def node(state):
        return {"x": asker.invoke("hi").text}

    (text,), far_side = await in_node(node)
    assert "hi" in text
    assert far_side.sizes == [1]


async def test_a_chain():
    chain = ChatPromptTemplate.from_messages([("user", "Tell me of {city}")]) | batched(model()) | StrOutputParser()

    async def node(state):
        return {"x": await RunnableLambda(chain.ainvoke).abatch([{"city": "Oslo"}, {"city": "Lima"}])}

    (texts,), far_side = await in_node(node)
    assert [city in text for city, text in zip(("Oslo", "Lima"), texts, strict=True)] == [True, True]
    assert far_side.sizes == [2]


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("kind", MODELS)
async def test_structured_output_is_the_same_as_in_realtime(server, kind, method):
    given = MODELS[kind](server)
    schema = Report if method != "json_mode" else {"title": "report", "type": "object", "properties": {}}
    for raw in (False, True):
        of_batch = batched(given).with_structured_output(schema, method=method, include_raw=raw)
        of_realtime = fresh(given).with_structured_output(schema, method=method, include_raw=raw)

        async def node(state, of_batch=of_batch):
            return {"x": await of_batch.ainvoke("a report as json")}

        (seen,), _ = await in_node(node)
        wanted = await of_realtime.ainvoke("a report as json")
        if raw:
            seen["raw"], wanted["raw"] = plain(seen["raw"]), plain(wanted["raw"])
        assert seen == wanted
        assert raw or not isinstance(schema, type) or isinstance(seen, Report)


async def test_a_stream_is_one_message():
    asker = batched(model(streaming=True))

    async def node(state):
        chunks = [chunk async for chunk in asker.astream("hi", stream_usage=True)]
        bound = [chunk async for chunk in asker.bind_tools([look_up], tool_choice="none").astream("hi")]
        whole = await asker.ainvoke("hi", stream=True)
        return {"x": [len(chunks), len(bound), chunks[0].text == whole.text]}

    (seen,), far_side = await in_node(node)
    assert seen == [1, 1, True]
    assert all("stream_options" not in item["body"] and not item["body"].get("stream") for item in far_side.requests)


async def test_events_of_a_call_end_with_the_whole_message():
    asker = batched(model())

    async def node(state):
        stream = await asker.astream_events("hi", version="v3")
        return {"x": (await stream).text}

    (text,), _ = await in_node(node)
    assert "hi" in text


def test_a_chunk_holds_the_whole_message():
    message = AIMessage(
        "hi",
        tool_calls=[{"name": "a", "args": {"b": 1}, "id": "c"}],
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    )
    chunk = generation_chunk(
        ChatResult(generations=[ChatGeneration(message=message)], llm_output={"model_name": "m"})
    ).message
    assert isinstance(chunk, AIMessageChunk)
    assert chunk.tool_calls == message.tool_calls
    assert chunk.usage_metadata == message.usage_metadata
    assert chunk.response_metadata == {"model_name": "m"}
