"""A thread can be erased from a Runner's file, so that nothing of its prompts and answers is left in its bytes."""

from typing import TypedDict

import pytest
from langgraph.graph import START, StateGraph
from typer.testing import CliRunner

from batch_bridge import Runner, wait
from batch_bridge._cli.app import app
from tests.integration.helpers import Desk


class State(TypedDict, total=False):
    question: str
    answer: str


async def ask(state: State) -> State:
    return {"answer": await wait(state["question"])}


GRAPH = StateGraph(State).add_node(ask).add_edge(START, "ask")


def bytes_of(folder):
    return b"".join(path.read_bytes() for path in folder.iterdir())


def erase(*threads):
    return CliRunner().invoke(app, ["erase", "run.db", *(f"--thread={thread}" for thread in threads)])


async def test_nothing_of_an_erased_thread_is_left_and_the_others_go_on(tmp_path):
    desk = Desk(lambda item: item.replace("question", "answer"))
    inputs = [{"question": "alice's question"}, {"question": "bob's question"}]
    async with Runner(GRAPH, desk.bridge(), path="run.db") as runner:
        await runner.abatch(inputs, run_id="r")
    assert b"alice's answer" in bytes_of(tmp_path)
    done = erase("r:0")
    assert (done.exit_code, "r:0: erased" in done.output) == (0, True), done.output
    left = bytes_of(tmp_path)
    assert b"alice" not in left
    assert b"bob's answer" in left
    async with Runner(GRAPH, desk.bridge(), path="run.db") as runner:
        assert (await runner.ainvoke(None, {"configurable": {"thread_id": "r:1"}}))["answer"] == "bob's answer"
    assert len(desk.requests) == 2
    assert erase("r:0").exit_code == 0


async def test_answers_that_were_not_taken_are_erased_with_their_thread(tmp_path):
    desk = Desk(lambda item: item.replace("question", "answer"))

    async def fail(state: State) -> State:
        answer = await wait(state["question"])
        raise ValueError(f"no: {len(answer)}")

    failing = StateGraph(State).add_node(fail).add_edge(START, "fail")
    async with Runner(failing, desk.bridge(), path="run.db") as runner:
        await runner.abatch([{"question": "alice's question"}], run_id="r", return_exceptions=True)
    assert b"alice's answer" in bytes_of(tmp_path)
    assert erase("r:0").exit_code == 0
    assert b"alice" not in bytes_of(tmp_path)


async def test_what_is_at_a_provider_or_open_is_not_erased():
    desk = Desk().hold()
    async with Runner(GRAPH, desk.bridge(), path="run.db") as runner:
        import asyncio

        call = asyncio.create_task(runner.abatch([{"question": "q"}], run_id="r"))
        await desk.submitted.wait()
        assert "a Runner has this file open" in erase("r:0").output
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    done = erase("r:0")
    assert done.exit_code == 1
    assert "at a provider" in done.output


def test_a_file_that_is_not_there_is_not_made(tmp_path):
    done = erase("r:0")
    assert (done.exit_code, "does not exist" in done.output) == (1, True)
    assert list(tmp_path.iterdir()) == []
