"""A Runner and a Batcher at level DEBUG: items, answers and broken lines are in no line of the log."""

import logging
from typing import TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, FlushPolicy, Runner, wait
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

SECRET = "zebra prompt"
REPLY = "zebra reply"


class State(TypedDict):
    item: str


async def ask(state):
    return {"item": await wait(state["item"])}


GRAPH = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END)


def leaking(*told):
    raise ValueError(f"a callback: {SECRET} {told}")


CALLBACKS = {"on_event": leaking, "on_progress": leaking, "on_item": leaking, "on_complete": leaking}


class CallableProvider:
    """Functions of a user whose errors quote what they were given, and whose handles hold it."""

    def __init__(self, fault):
        self.fault, self.looks = fault, 0

    def submit(self, items):
        if self.fault == "submit":
            raise KeyError(f"submit: {items}")
        if self.fault == "refused":
            return ValueError(f"refused: {items}")
        return {"kept": items}

    def poll(self, handle):
        self.looks += 1
        if self.fault == "poll" and self.looks < 5:
            raise RuntimeError(f"poll: {handle}")
        if self.fault == "nonsense":
            return {f"{SECRET} {place}": f"{REPLY} {place}" for place in range(9)}
        if self.fault == "element":
            return [ValueError(f"{REPLY} {item}") for item in handle["kept"]]
        return [f"{REPLY} to {item}" for item in handle["kept"]]

    @staticmethod
    def when(queue):
        raise ValueError(f"when: {SECRET}")

    def options(self):
        return {"submit": self.submit, "poll": self.poll, "poll_interval": 0.02, "attempts": 1}


@pytest.mark.parametrize("fault", ["", "submit", "refused", "poll", "nonsense", "element"])
async def test_a_runner_and_a_batcher_log_no_content(fault, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    pair = CallableProvider(fault)
    bridge = Bridge(**pair.options(), flush=FlushPolicy(max_age=0, when=CallableProvider.when))
    inputs = [{"item": f"{SECRET} {number}"} for number in range(3)]
    async with Runner(GRAPH, bridge, path=tmp_path / "run.db", **CALLBACKS) as runner:
        try:
            await runner.abatch(inputs, run_id="r", return_exceptions=True)
        except Exception:  # it quotes what it likes: nobody logs it
            assert fault == "nonsense"
    pair = CallableProvider(fault)
    batcher = Batcher(
        submit_func=pair.submit,
        poll_func=pair.poll,
        should_flush_func=lambda items, _: leaking(items),
        max_batch_age=0.02,
        poll_interval=0.02,
        path=tmp_path / "batcher.db",
        **CALLBACKS,
    )
    try:
        await batcher.amap([f"{SECRET} {number}" for number in range(3)], return_exceptions=True)
    except Exception:  # as above
        assert fault == "nonsense"
    await batcher.aclose(wait=False)
    ours = [each for each in caplog.records if each.name.startswith("batch_bridge")]
    assert {each.levelname for each in ours} >= {"INFO", "ERROR"}, "there is something to read"
    assert "zebra" not in caplog.text


async def test_a_broken_line_of_a_provider_is_counted_and_not_quoted(caplog, tmp_path):
    caplog.set_level(logging.DEBUG, logger="batch_bridge")
    with BatchServer(latency=0.02, garbled_line=1.0) as server:
        provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"), model="gpt-4o-mini")
        bridge = Bridge(provider, flush=FlushPolicy(max_age=0), poll_interval=0.05, attempts=1)
        async with Runner(GRAPH, bridge, path=tmp_path / "run.db") as runner:
            inputs = [{"item": [{"role": "user", "content": f"{SECRET} {number}"}]} for number in range(3)]
            await runner.abatch(inputs, return_exceptions=True)
    ours = [each.getMessage() for each in caplog.records if each.name.startswith("batch_bridge")]
    assert ours
    assert not [each for each in ours if "zebra" in each]
