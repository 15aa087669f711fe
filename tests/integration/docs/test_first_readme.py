"""The examples of the first README, as they were written."""

import io
import json
from datetime import datetime, timedelta
from threading import Thread
from typing import Annotated, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, Runner, wait
from batch_bridge.testing import BatchServer


def submit_batch(items):
    return "batch_123"


def poll_batch(batch_id):
    return [f"Processed: {item}" for item in ["item1", "item2"]]


def test_basic_usage_with_the_two_items_that_its_poll_answers():
    batcher = Batcher(
        submit_func=submit_batch, poll_func=poll_batch, max_batch_size=50000, max_batch_age=timedelta(minutes=30)
    )
    with batcher:
        assert batcher.map(["item1", "item2"]) == ["Processed: item1", "Processed: item2"]


def test_a_submit_that_blocks_in_a_graphs_node():
    sent = {}

    def submit(items):
        sent["batch"] = items
        return "batch"

    with Batcher(
        submit_func=submit, poll_func=lambda b: [f"Processed: {i}" for i in sent[b]], max_batch_age=0
    ) as batcher:

        def process_with_batch(state):
            return {"result": batcher.submit(state["item"])}

        builder = StateGraph(dict)
        builder.add_node("process", process_with_batch)
        builder.add_edge(START, "process")
        builder.add_edge("process", END)
        graph = builder.compile()
        assert graph.invoke({"item": "test_item"}) == {"result": "Processed: test_item"}


def test_custom_flush_criteria():
    batches = []

    def should_flush(items, last_flushed):
        return len(items) >= 100 or (datetime.now() - last_flushed) > timedelta(minutes=5)  # noqa: DTZ005

    def submit(items):
        batches.append(items)
        return len(batches) - 1

    batcher = Batcher(
        submit_func=submit,
        poll_func=lambda handle: batches[handle],
        should_flush_func=should_flush,
        name="my_custom_batcher",
        poll_interval=30,
    )
    answers = []
    callers = [Thread(target=lambda i=i: answers.append(batcher.submit(i))) for i in range(100)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    batcher.close()
    assert sorted(answers) == list(range(100))
    assert [len(batch) for batch in batches] == [100]


@pytest.fixture
def client():
    with BatchServer(latency=0, shuffle=False) as server:
        yield AsyncOpenAI(base_url=server.base_url, api_key="test")


async def test_its_pair_for_openai_with_a_bridge(client):
    """Its `poll` maps by order; OpenAI promises none, and `OpenAIBatch` goes by id. Here the order is kept."""

    async def submit_openai(tasks):
        jsonl = "\n".join(
            json.dumps(
                {
                    "custom_id": str(i),
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": {"model": "gpt-3.5-turbo-0125", "messages": task},
                }
            )
            for i, task in enumerate(tasks)
        )
        batch_input_file = await client.files.create(file=io.BytesIO(jsonl.encode("utf-8")), purpose="batch")
        batch_object = await client.batches.create(
            input_file_id=batch_input_file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"description": "batch job example"},
        )
        return batch_object.id

    async def poll_openai(batch_id):
        batch_obj = await client.batches.retrieve(batch_id)
        if batch_obj.status == "failed":
            return ValueError(f"Batch {batch_id} failed")
        if batch_obj.status != "completed":
            return None
        result_content = (await client.files.content(batch_obj.output_file_id)).content
        results = []
        for line in result_content.decode("utf-8").splitlines():
            if line.strip():
                data = json.loads(line)
                if (response := data.get("response")) and (body := response.get("body")):
                    results.append(body)
                else:
                    results.append(data)
        return results

    def add_messages(old, new):
        return (old or []) + (new if isinstance(new, list) else [new])

    class State(TypedDict):
        messages: Annotated[list[dict], add_messages]

    async def my_model(state: State):
        result = await wait(state["messages"], batcher="bridge")
        return {"messages": [result]}

    graph = StateGraph(State).add_node(my_model).add_edge("__start__", "my_model").compile()
    bridge = Bridge(submit=submit_openai, poll=poll_openai, poll_interval=0.2)
    async with Runner(graph, bridge, path=":memory:") as runner:
        inputs = [{"messages": [{"role": "user", "content": f"Hello {i}"}]} for i in range(5)]
        results = await runner.abatch(inputs)
    for i, result in enumerate(results):
        assert f"Hello {i}" in result["messages"][1]["choices"][0]["message"]["content"]
