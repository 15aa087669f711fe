"""`give_up_after=`: a run whose provider cannot be reached ends, and the same command goes on once it can be."""

from typing import TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from batch_bridge import Batcher, Bridge, Runner, wait
from batch_bridge.errors import ProviderUnavailable, Stalled
from batch_bridge.events import Stalled as StalledEvent

SOON = {"poll_interval": 0.02}


class State(TypedDict):
    item: str


async def ask(state):
    return {"item": await wait(state["item"])}


GRAPH = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END)


class Service:
    """A provider that can be out of reach, at one of its two calls."""

    def __init__(self, at):
        self.at, self.batches = at, []

    def submit(self, items):
        if self.at == "submit":
            raise ProviderUnavailable("no such host: exmaple.com")
        self.batches.append(items)
        return len(self.batches) - 1

    def poll(self, handle):
        if self.at == "poll":
            raise ProviderUnavailable("no such host: exmaple.com")
        return [f"<{item}>" for item in self.batches[handle]]

    def bridge(self):
        return Bridge(submit=self.submit, poll=self.poll, **SOON)


@pytest.mark.parametrize("at", ["submit", "poll"])
async def test_a_run_gives_up_and_the_same_command_goes_on(at, tmp_path):
    service, told = Service(at), []
    inputs = [{"item": "a"}, {"item": "b"}]
    for _ in range(2):
        runner = Runner(GRAPH, service.bridge(), path=tmp_path / "run.db", give_up_after=0.2, on_event=told.append)
        async with runner:
            for _ in range(2):  # also in one Runner
                with pytest.raises(Stalled, match="no such host") as error:
                    await runner.abatch(inputs, run_id="r")
                assert error.value.seconds >= 0.2
    assert len([each for each in told if isinstance(each, StalledEvent)]) == 4
    service.at = ""
    async with Runner(GRAPH, service.bridge(), path=tmp_path / "run.db", give_up_after=0.2) as runner:
        assert [each["item"] for each in await runner.abatch(inputs, run_id="r")] == ["<a>", "<b>"]
    assert sum(map(len, service.batches)) == 2, "each was paid once"


@pytest.mark.parametrize("at", ["submit", "poll"])
async def test_a_batcher_gives_up_and_the_next_one_goes_on(at, tmp_path):
    service = Service(at)

    def batcher():
        return Batcher(
            submit_func=service.submit, poll_func=service.poll, path=tmp_path / "b.db", give_up_after=0.2, **SOON
        )

    given_up = batcher()
    with pytest.raises(Stalled, match="exmaple"):
        await given_up.amap(["a", "b"])
    with pytest.raises(Stalled):
        await given_up.asubmit("c")
    await given_up.aclose(wait=False)
    service.at = ""
    async with batcher() as again:
        assert await again.amap(["a", "b"]) == ["<a>", "<b>"]
    assert sum(map(len, service.batches)) == 2


async def test_a_batch_that_runs_is_no_standstill():
    looks = 0

    def poll(handle):
        nonlocal looks
        looks += 1
        return None if looks < 30 else ["done"]

    async with Batcher(submit_func=len, poll_func=poll, give_up_after=0.1, poll_interval=0.02) as batcher:
        assert await batcher.amap(["a"]) == ["done"]


@pytest.mark.parametrize("given", [-1, 0, "soon"])
def test_what_is_no_time_is_refused(given):
    with pytest.raises((TypeError, ValueError), match="give_up_after"):
        Runner(GRAPH, Service("").bridge(), give_up_after=given)
    with pytest.raises((TypeError, ValueError), match="give_up_after"):
        Batcher(submit_func=len, poll_func=len, give_up_after=given)
