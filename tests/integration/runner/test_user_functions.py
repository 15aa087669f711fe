"""What the user's own functions raise: told once, with a traceback, and never the end of who called them."""

import asyncio
import logging
from datetime import timedelta
from typing import TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from batch_bridge import Batcher, Bridge, FlushPolicy, RequestFailed, Runner, wait


def submit(items):
    return list(items)


def poll(handle):
    return [f"<{item}>" for item in handle]


def with_traceback(records):
    return [each for each in records if each.exc_info and each.levelno >= logging.WARNING]


def test_a_predicate_that_raises_is_a_no_and_the_age_still_flushes(caplog):
    def should_flush(items, last_flushed):
        raise KeyError("priority")

    with Batcher(
        submit_func=submit, poll_func=poll, should_flush_func=should_flush, max_batch_age=0.05, poll_interval=0.02
    ) as batcher:
        assert batcher.submit("a") == "<a>"
        assert batcher.submit("b") == "<b>"
    (told,) = with_traceback(caplog.records)
    assert "predicate" in told.getMessage()
    assert told.exc_info[0] is KeyError


async def test_an_async_predicate_is_a_no(caplog):
    async def when(queue):
        return True

    policy = FlushPolicy(max_age=0.05, when=when)
    async with Batcher(submit_func=submit, poll_func=poll, flush=policy, poll_interval=0.02) as batcher:
        assert await batcher.asubmit("a") == "<a>"
    assert len(with_traceback(caplog.records)) == 1


async def test_a_predicate_that_raises_ends_no_run(caplog):
    class State(TypedDict):
        item: str

    async def ask(state):
        return {"item": await wait(state["item"])}

    def when(queue):
        raise RuntimeError("no")

    builder = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END)
    bridge = Bridge(submit=submit, poll=poll, flush=FlushPolicy(max_age=timedelta(0), when=when), poll_interval=0.02)
    async with Runner(builder, bridge) as runner:
        results = await runner.abatch([{"item": "a"}, {"item": "b"}])
    assert [each["item"] for each in results] == ["<a>", "<b>"]
    assert len([each for each in with_traceback(caplog.records) if "predicate" in each.getMessage()]) <= 1


async def test_a_submit_that_raises_shows_its_traceback_once(caplog):
    def broken(items):
        return items[0]["missing"]

    async with Batcher(submit_func=broken, poll_func=poll, max_batch_size=1, poll_interval=0.02) as batcher:
        results = await asyncio.gather(*(batcher.asubmit({"n": n}) for n in range(3)), return_exceptions=True)
    assert all(isinstance(each, RequestFailed) for each in results)
    (told,) = with_traceback(caplog.records)
    assert told.exc_info[0] is KeyError


@pytest.mark.parametrize("kind", [KeyError, asyncio.CancelledError])
async def test_a_callback_that_raises_harms_nothing(caplog, kind):
    def on_event(event):
        raise kind("mine")

    async with Batcher(submit_func=submit, poll_func=poll, on_event=on_event, poll_interval=0.02) as batcher:
        assert await batcher.amap(["a", "b"]) == ["<a>", "<b>"]
    assert len([each for each in with_traceback(caplog.records) if "on_event" in each.getMessage()]) == 1
