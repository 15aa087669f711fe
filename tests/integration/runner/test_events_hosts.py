"""What a Runner and a Batcher tell of a whole run."""

import asyncio
from collections import Counter
from typing import TypedDict

import pytest
from helpers import TIMEOUT, Desk
from langgraph.graph import START, StateGraph

from batch_bridge import Batcher, RequestFailed, Runner, wait
from batch_bridge.events import Delivered, Progress, Queued, Settled, Submitted


class State(TypedDict, total=False):
    topic: str
    said: str


async def ask(state: State) -> State:
    return {"said": await wait(state["topic"], batcher="bridge")}


GRAPH = StateGraph(State).add_node(ask).add_edge(START, "ask")
INPUTS = [{"topic": f"t{index}"} for index in range(10)]


def answer(item):
    return ValueError("no") if item == "t3" else f"{item}!"


class Heard:
    """What the callbacks were called with."""

    def __init__(self):
        self.events, self.progress, self.items, self.completed = [], [], {}, []

    def on_item(self, what, result):
        assert what not in self.items
        self.items[what] = result

    def options(self):
        return {
            "on_event": self.events.append,
            "on_progress": self.progress.append,
            "on_item": self.on_item,
            "on_complete": self.completed.append,
        }

    def ids(self, kind):
        return sorted(each for event in self.events if isinstance(event, kind) for each in event.requests)


@pytest.mark.parametrize("workers", [0, 1])
async def test_a_runner_tells_of_requests_threads_and_the_end(workers):
    heard = Heard()
    async with asyncio.timeout(TIMEOUT):
        async with Runner(
            GRAPH, Desk(answer).bridge(), path=":memory:", callback_workers=workers, **heard.options()
        ) as runner:
            results = await runner.abatch(INPUTS, return_exceptions=True)
    asked = heard.ids(Queued)
    assert len(asked) == 10
    assert heard.ids(Submitted) == heard.ids(Settled) == heard.ids(Delivered) == asked
    counts = sum((Counter(event.outcomes) for event in heard.events if isinstance(event, Settled)), Counter())
    assert counts == {"succeeded": 9, "errored": 1}
    kinds = [type(event) for event in heard.events]
    assert kinds.index(Queued) < kinds.index(Submitted) < kinds.index(Settled) < kinds.index(Delivered)
    assert [heard.items[index] for index in range(10)] == results
    assert isinstance(heard.items[3], RequestFailed)
    assert heard.completed == [Progress(10, 10, 0, 0, 0)]
    assert heard.progress[-1] == heard.completed[0]


async def test_a_lazy_input_has_no_total():
    heard = Heard()
    async with Runner(GRAPH, Desk().bridge(), path=":memory:", **heard.options()) as runner:
        await runner.abatch(each for each in INPUTS)
    assert heard.completed[0].total is None


async def test_a_callback_that_fails_harms_no_thread(caplog):
    def fail(*_):
        raise ValueError("of the user")

    options = dict.fromkeys(("on_event", "on_progress", "on_item", "on_complete"), fail)
    async with asyncio.timeout(TIMEOUT):
        async with Runner(GRAPH, Desk().bridge(), path=":memory:", **options) as runner:
            results = await runner.abatch(INPUTS)
    assert [result["said"] for result in results] == [f"t{index}!" for index in range(10)]
    said = Counter(record.getMessage().split()[0] for record in caplog.records if record.levelname == "ERROR")
    assert said == dict.fromkeys(options, 1)


def test_the_sync_twins_tell_too():
    heard = Heard()
    with Runner(GRAPH, Desk().bridge(), path=":memory:", **heard.options()) as runner:
        runner.batch(INPUTS)
    assert len(heard.items) == 10
    assert len(heard.completed) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batcher_tells_of_items_and_of_the_end(workers):
    heard = Heard()
    batches = []

    def submit(items):
        batches.append(items)
        return len(batches) - 1

    def poll(handle):
        return [answer(item) for item in batches[handle]]

    options = heard.options() | {"callback_workers": workers, "poll_interval": 0.05}
    with Batcher(submit_func=submit, poll_func=poll, **options) as batcher:
        answers = batcher.map([f"t{index}" for index in range(5)], return_exceptions=True)
    assert heard.items.keys() == {f"t{index}" for index in range(5)}
    assert [heard.items[f"t{index}"] for index in (0, 1, 2, 4)] == [answers[index] for index in (0, 1, 2, 4)]
    assert isinstance(heard.items["t3"], RequestFailed)
    assert heard.ids(Queued) == heard.ids(Settled) == heard.ids(Delivered)
    assert heard.completed == [Progress(5, 5, 0, 0, 0)]
    assert heard.progress


@pytest.mark.parametrize("host", [Runner, Batcher])
def test_what_is_no_callback_is_refused(host):
    arguments = (GRAPH, Desk().bridge()) if host is Runner else ()
    with pytest.raises(TypeError, match=rf"{host.__name__}\(on_item=3\) is not callable"):
        host(*arguments, on_item=3)
