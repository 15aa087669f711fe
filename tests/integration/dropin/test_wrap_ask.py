"""The seam of the drop-in clients: a bridge in a node, a shared Batcher elsewhere, and whose call may block."""

import asyncio
import threading

import pytest
from helpers import Desk, one_node, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from batch_bridge import Batcher, Errored, FlushPolicy, Runner, Succeeded
from batch_bridge._dropin.asker import Asker
from batch_bridge.errors import BatcherClosedError, NoCheckpointerError, OutsideGraphError


def shout(item):
    return ValueError("no good") if item == "bad" else f"{item}!"


class Shared:
    """Makes the shared Batcher, and counts what it is asked."""

    def __init__(self, *, hold=False):
        self.made = []
        self.batches = []
        self.open = threading.Event()
        if not hold:
            self.open.set()

    def submit(self, items):
        self.batches.append(items)
        return len(self.batches) - 1

    def poll(self, handle):
        return [shout(item) for item in self.batches[handle]] if self.open.is_set() else None

    def __call__(self):
        flush = FlushPolicy(max_idle=0.05)
        self.made.append(Batcher(submit_func=self.submit, poll_func=self.poll, poll_interval=0.05, flush=flush))
        return self.made[-1]


@pytest.fixture
def shared():
    made = Shared()
    yield made
    for each in made.made:
        each.close(wait=False)


async def test_outside_of_graphs_a_gather_is_a_batch_without_any_flush(shared):
    asker = Asker("bridge", shared)
    assert not asker.waits()
    answers = await within(asyncio.gather(*map(asker.ask, ["a", "bad", "c"])))
    assert [outcome for _, outcome in answers if isinstance(outcome, Succeeded)] == [Succeeded("a!"), Succeeded("c!")]
    refused = answers[1][1]
    assert isinstance(refused, Errored)
    assert "no good" in refused.message
    assert len({request_id for request_id, _ in answers}) == 3
    assert shared.batches == [["a", "bad", "c"]]
    assert len(shared.made) == 1


async def test_in_a_node_the_thread_parks_at_the_bridge_and_the_outcome_comes_back(shared):
    asker = Asker("bridge", shared)

    async def node(state):
        assert asker.waits()
        (_, good), (_, bad) = await asyncio.gather(asker.ask(state["x"]), asker.ask("bad"))
        return {"out": [good.answer, bad.message]}

    desk = Desk(shout)
    async with Runner(one_node(node), desk.bridge()) as runner:
        result = await within(runner.ainvoke({"x": "a"}))
    assert result["out"][0] == "a!"
    assert "no good" in result["out"][1]
    assert desk.sizes == [2]
    assert shared.made == []


async def test_a_bridge_is_as_good_as_its_name(shared):
    desk = Desk(shout)
    bridge = desk.bridge(name="other")
    asker = Asker(bridge, shared)

    async def node(state):
        return {"out": [(await asker.ask(state["x"]))[1].answer]}

    async with Runner(one_node(node), bridge) as runner:
        assert (await within(runner.ainvoke({"x": "a"})))["out"] == ["a!"]
    assert shared.made == []


async def test_a_batcher_is_asked_in_nodes_too_and_stays_the_callers(shared):
    own = shared()
    asker = Asker(own, shared)

    async def node(state):
        assert not asker.waits()
        return {"out": [(await asker.ask(state["x"]))[1].answer]}

    assert (await within(one_node(node).compile().ainvoke({"x": "a"})))["out"] == ["a!"]
    asker.close()
    assert (await within(asker.ask("b")))[1] == Succeeded("b!")
    assert shared.made == [own]


async def test_a_graph_that_cannot_park_is_told_so_as_wait_does(shared):
    asker = Asker("bridge", shared)

    async def node(state):
        return {"out": [await asker.ask(state["x"])]}

    with pytest.raises(NoCheckpointerError):
        await one_node(node).compile().ainvoke({"x": "a"})
    assert shared.made == []


@pytest.mark.parametrize("kind", ["sync node", "async node", "thread of an async node"])
async def test_a_sync_call_in_a_node_parks_as_well(shared, kind):
    asker = Asker("bridge", shared)

    def sync(state):
        return {"out": [asker.ask_sync(state["x"])[1].answer]}

    async def blocking(state):
        return sync(state)

    async def threaded(state):
        return await asyncio.to_thread(sync, state)

    node = {"sync node": sync, "async node": blocking, "thread of an async node": threaded}[kind]
    desk = Desk(shout)
    async with Runner(one_node(node), desk.bridge()) as runner:
        assert (await within(runner.ainvoke({"x": "a"})))["out"] == ["a!"]
    assert desk.batches == [["a"]]


def test_sync_calls_from_threads_share_a_batch(shared):
    asker = Asker("bridge", shared)
    answers = {}
    threads = [
        threading.Thread(target=lambda item=item: answers.update({item: asker.ask_sync(item)[1].answer}))
        for item in "abc"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {"a": "a!", "b": "b!", "c": "c!"}
    assert [sorted(batch) for batch in shared.batches] == [["a", "b", "c"]]
    assert len(shared.made) == 1


async def test_a_sync_call_never_stops_an_event_loop(shared):
    asker = Asker("bridge", shared)
    with pytest.raises(OutsideGraphError, match=r"asynchronous client, or asyncio\.to_thread"):
        asker.ask_sync("a")
    assert (await within(asyncio.to_thread(asker.ask_sync, "a")))[1] == Succeeded("a!")


def test_two_event_loops_share_one_batcher(shared):
    asker = Asker("bridge", shared)

    async def ask(item):
        return (await asker.ask(item))[1].answer

    assert asyncio.run(ask("a")) == "a!"
    assert asyncio.run(ask("b")) == "b!"
    assert len(shared.made) == 1


async def test_closing_ends_the_shared_batcher_and_the_next_request_has_a_new_one():
    shared = Shared(hold=True)
    asker = Asker("bridge", shared)
    asker.close()
    waiting = asyncio.create_task(asker.ask("a"))
    while not shared.batches:
        await asyncio.sleep(0.01)
    await asker.aclose()
    with pytest.raises(BatcherClosedError):
        await within(waiting)
    shared.open.set()
    assert (await within(asker.ask("b")))[1] == Succeeded("b!")
    await asker.aclose()
    assert len(shared.made) == 2


async def test_a_graph_driven_by_hand_parks_too(shared):
    asker = Asker("bridge", shared)

    async def node(state):
        return {"out": [(await asker.ask(state["x"]))[1].answer]}

    graph = StateGraph(dict).add_node("node", node).add_edge(START, "node").compile(checkpointer=InMemorySaver())
    parked = await graph.ainvoke({"x": "a"}, {"configurable": {"thread_id": "t"}})
    ((request,),) = [each.value["requests"] for each in parked["__interrupt__"]]
    assert request["item"] == "a"
