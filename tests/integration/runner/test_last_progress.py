"""The last `on_progress` of a run shows how it ended, however late it is called."""

import asyncio
from typing import TypedDict

from helpers import TIMEOUT, Desk
from langgraph.graph import START, StateGraph

from batch_bridge import Batcher, Runner, wait
from batch_bridge.events import Progress


class State(TypedDict, total=False):
    topic: str
    said: str


async def ask(state: State) -> State:
    return {"said": await wait(state["topic"], batcher="bridge")}


GRAPH = StateGraph(State).add_node(ask).add_edge(START, "ask")
INPUTS = [{"topic": f"t{index}"} for index in range(5)]
ENDED = Progress(5, 5, 0, 0, 0)


class Slow:
    """A callback that returns late: what comes after it is told when the Runner is being closed."""

    def __init__(self, closing: asyncio.Event) -> None:
        self.closing, self.seen, self.order = closing, [], []

    async def on_progress(self, progress: Progress) -> None:
        self.seen.append(progress)
        self.order.append("progress")
        await self.closing.wait()

    def on_item(self, index, result) -> None:
        self.order.append("item")

    def on_complete(self, progress: Progress) -> None:
        self.seen.append(progress)
        self.order.append("complete")

    def options(self):
        return {"on_progress": self.on_progress, "on_item": self.on_item, "on_complete": self.on_complete}


async def close_and_let_go(runner: Runner, closing: asyncio.Event) -> None:
    ended = asyncio.create_task(runner.__aexit__(None, None, None))
    for _ in range(50):
        await asyncio.sleep(0)
    closing.set()
    await ended


async def test_a_runner_that_is_closed_tells_the_truth():
    closing = asyncio.Event()
    slow = Slow(closing)
    async with asyncio.timeout(TIMEOUT):
        runner = Runner(GRAPH, Desk().bridge(), path=":memory:", **slow.options())
        await runner.__aenter__()
        await runner.abatch(INPUTS)
        await close_and_let_go(runner, closing)
    assert slow.seen[-1] == slow.seen[-2] == ENDED
    assert slow.order.count("item") == 5
    assert slow.order[-1] == "complete", "something is told after the end"


async def test_a_batcher_that_is_closed_tells_the_truth():
    seen = []

    async def late(progress: Progress) -> None:
        seen.append(progress)
        await asyncio.sleep(0.02)

    batcher = Batcher(
        submit_func=lambda items: items, poll_func=lambda items: items, poll_interval=0.01, on_progress=late
    )
    async with asyncio.timeout(TIMEOUT), batcher:
        await batcher.amap([each["topic"] for each in INPUTS])
    assert seen[-1] == ENDED


async def test_a_runner_that_is_closed_under_a_run_still_counts_what_had_ended():
    desk = Desk()
    closing = asyncio.Event()
    slow = Slow(closing)
    async with asyncio.timeout(TIMEOUT):
        runner = Runner(GRAPH, desk.bridge(), path=":memory:", **slow.options())
        await runner.__aenter__()
        results = runner.abatch_as_completed(INPUTS)
        await anext(results)
        await close_and_let_go(runner, closing)
        await results.aclose()
    assert slow.seen[-1] == ENDED
