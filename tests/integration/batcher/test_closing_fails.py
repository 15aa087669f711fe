"""Closing goes on after a failing close, and the first error has a note of each other."""

from typing import TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, Runner, wait
from batch_bridge._core.closing import Closing, close_all
from batch_bridge.providers.openai import OpenAIBatch


class State(TypedDict):
    item: str


async def ask(state):
    return {"item": await wait(state["item"], batcher="one")}


GRAPH = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END)


class Closes:
    """Providers whose connections cannot be closed."""

    def __init__(self, monkeypatch, *names):
        self.closed = []
        self.bridges = [self.bridge(name, monkeypatch) for name in names]

    def bridge(self, name, monkeypatch):
        bridge = Bridge(submit=list, poll=lambda handle: handle, name=name, poll_interval=0.02)

        async def aclose():
            self.closed.append(name)
            raise OSError(f"{name} cannot be closed")

        for provider in bridge.providers:
            monkeypatch.setattr(provider, "aclose", aclose)
        return bridge


def fail(name):
    async def close():
        raise OSError(name)

    return close


async def test_the_first_error_has_notes_of_the_others():
    done = []

    async def close():
        done.append(True)

    with pytest.raises(OSError, match="a") as error:
        await close_all([fail("a"), close, fail("b"), close])
    assert error.value.__notes__ == ["closing failed, too: OSError: b"]
    assert len(done) == 2


async def test_what_the_block_raised_comes_first():
    with pytest.raises(ValueError, match="block") as error:
        async with Closing([fail("a"), fail("b")]):
            raise ValueError("block")
    assert len(error.value.__notes__) == 2


async def test_a_runner_closes_all_of_its_providers_and_gives_the_file_free(monkeypatch, tmp_path):
    closes = Closes(monkeypatch, "one", "two", "three")
    for _ in range(2):
        with pytest.raises(OSError, match="one cannot be closed") as error:
            async with Runner(GRAPH, closes.bridges, path=tmp_path / "run.db") as runner:
                assert await runner.abatch([{"item": "a"}], run_id="r") == [{"item": "a"}]
        assert [note.partition(":")[2] for note in error.value.__notes__] == [
            " OSError: two cannot be closed",
            " OSError: three cannot be closed",
        ]
    assert closes.closed == ["one", "two", "three"] * 2


async def test_the_error_of_a_runs_block_is_not_replaced(monkeypatch, tmp_path):
    closes = Closes(monkeypatch, "one")
    with pytest.raises(ValueError, match="of the block") as error:
        async with Runner(GRAPH, closes.bridges, path=tmp_path / "run.db"):
            raise ValueError("of the block")
    assert "one cannot be closed" in error.value.__notes__[0]


async def test_a_batcher_says_what_could_not_be_closed_and_its_file_is_free(monkeypatch, tmp_path):
    for _ in range(2):
        batcher = Batcher(submit_func=list, poll_func=lambda handle: handle, path=tmp_path / "b.db", poll_interval=0.02)

        async def aclose():
            raise OSError("it cannot be closed")

        for provider in batcher._worker._bridge.providers:
            monkeypatch.setattr(provider, "aclose", aclose)
        assert await batcher.amap(["a"]) == ["a"]
        with pytest.raises(OSError, match="it cannot be closed"):
            await batcher.aclose()


async def test_a_provider_closes_its_connections_though_a_look_cannot_be_ended(monkeypatch):
    provider = OpenAIBatch(AsyncOpenAI(api_key="test"), model="gpt-4o-mini")
    closed = []

    async def clients():
        closed.append(True)

    monkeypatch.setattr(provider._background, "close", fail("a look"))
    monkeypatch.setattr(provider._clients, "aclose", clients)
    with pytest.raises(OSError, match="a look"):
        await provider.aclose()
    assert closed
