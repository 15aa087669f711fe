"""Mistakes in how something is made, or in what state or place it is used: each says which it is, and what to do."""

import asyncio
import functools
import sqlite3
from datetime import timedelta

import pytest
import warm
from helpers import Desk, ask, inputs_of, memory, one_node, says, within
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver

import batch_bridge.runner._storage
from batch_bridge import (
    BatchBridgeError,
    Bridge,
    FlushPolicy,
    Runner,
)
from batch_bridge._sqlite.file import open_file
from batch_bridge.errors import (
    RunFileError,
    RunnerStateError,
)

# -- constructors ---------------------------------------------------------------------------------------------------


def pair(**options):
    desk = Desk()
    return Bridge(submit=desk.submit, poll=desk.poll, **options)


@pytest.mark.parametrize(
    ("make", "error", "parts"),
    [
        (lambda: Runner(one_node(ask), []), ValueError, ["no bridge", "Bridge(…)"]),
        (lambda: Runner(one_node(ask), None), TypeError, ["None", "Bridge(…)"]),
        (lambda: Runner(one_node(ask), [pair(), pair()]), ValueError, ["same name", "name=…"]),
        (lambda: Runner(one_node(ask), pair), TypeError, ["instead of a Bridge"]),
        (lambda: Runner(one_node(ask), [pair(), "bridge"]), TypeError, ["'bridge'", "instead of a Bridge"]),
        (lambda: Runner(ask, pair()), TypeError, ["instead of a graph", "StateGraph"]),
        (lambda: Runner(RunnableLambda(ask), pair()), TypeError, ["instead of a graph", "StateGraph"]),
        (
            lambda: Runner(one_node(ask).compile(checkpointer=InMemorySaver()), pair(), checkpointer=InMemorySaver()),
            TypeError,
            ["checkpointer=", "leave one"],
        ),
    ],
)
def test_mistakes_in_a_runner_are_named_when_it_is_made(make, error, parts):
    with pytest.raises(error) as caught:
        make()
    assert says(caught.value, *parts)


@pytest.mark.parametrize(
    ("make", "error", "parts"),
    [
        (Bridge, TypeError, ["lacks", "submit=…, poll=…"]),
        (lambda: Bridge(submit=print), TypeError, ["lacks poll="]),
        (lambda: Bridge(poll=print), TypeError, ["lacks submit="]),
        (lambda: Bridge(object(), submit=print, poll=print), TypeError, ["one or the other"]),
        (lambda: Bridge(print), TypeError, ["is not a provider", "submit=…, poll=…"]),
        (lambda: Bridge(submit="submit", poll=print), TypeError, ["submit='submit'", "not callable"]),
        (lambda: Bridge(submit=print, poll=5), TypeError, ["poll=5", "not callable"]),
        (lambda: Bridge(submit=lambda items: 1, poll=print, find=print), TypeError, ["find=", "submit(items, key)"]),
        (lambda: pair(name=""), ValueError, ["name=''"]),
        (lambda: pair(name="a.b"), ValueError, ["name='a.b'", "dots"]),
        (lambda: pair(name=5), ValueError, ["name=5"]),
        (lambda: pair(poll_interval=0), ValueError, ["poll_interval=", "positive"]),
        (lambda: pair(poll_interval=timedelta(seconds=-1)), ValueError, ["poll_interval=", "positive"]),
        (lambda: pair(poll_interval="30"), TypeError, ["poll_interval='30'", "seconds"]),
        (lambda: pair(flush=100), TypeError, ["flush=100", "FlushPolicy"]),
    ],
)
def test_mistakes_in_a_bridge_are_named_when_it_is_made(make, error, parts):
    with pytest.raises(error) as caught:
        make()
    assert says(caught.value, *parts)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"max_requests": 0}, "max_requests=0"),
        ({"max_requests": -5}, "max_requests=-5"),
        ({"max_requests": 1.5}, "max_requests=1.5"),
        ({"max_requests": True}, "max_requests=True"),
        ({"max_bytes": 0}, "max_bytes=0"),
        ({"max_age": -1}, "in the past"),
        ({"max_age": timedelta(days=-1)}, "in the past"),
        ({"when": "always"}, "when='always'"),
    ],
)
def test_mistakes_in_a_flush_policy_are_named_when_it_is_made(options, part):
    with pytest.raises(ValueError, match=r"FlushPolicy\(") as caught:
        FlushPolicy(**options)
    assert says(caught.value, part)


# -- a Runner in the wrong state or place ---------------------------------------------------------------------------


async def test_a_runner_that_is_not_open_says_how_to_open_it():
    runner = memory(one_node(ask), Desk().bridge())

    async def consume():
        async for _ in runner.abatch_as_completed(inputs_of("a")):
            pass

    for _ in range(2):  # before it was opened, and after it was closed
        for call in (
            lambda: runner.abatch(inputs_of("a")),
            lambda: runner.ainvoke({"x": "a"}),
            runner.report,
            consume,
        ):
            with pytest.raises(RunnerStateError, match="async with Runner"):
                await call()
        async with runner:
            with pytest.raises(RunnerStateError, match="already open"):
                await runner.__aenter__()


async def test_the_sync_twins_are_refused_inside_an_event_loop_and_name_what_to_write():
    runner = memory(one_node(ask), Desk().bridge())
    with pytest.raises(RunnerStateError, match="await abatch"):
        runner.batch(inputs_of("a"))
    with pytest.raises(RunnerStateError, match="abatch_as_completed"):
        next(runner.batch_as_completed(inputs_of("a")))
    with pytest.raises(RunnerStateError, match="await ainvoke"):
        runner.invoke({"x": "a"})
    with pytest.raises(RunnerStateError, match="async with"):
        runner.__enter__()


async def refusal(path):
    """What a Runner says that cannot have this file; it can be opened elsewhere afterwards."""
    with pytest.raises(RunFileError) as caught:
        async with Runner(one_node(ask), Desk().bridge(), path=path, progress=False):
            pass
    assert isinstance(caught.value, BatchBridgeError)
    assert str(path) in str(caught.value)
    return caught.value


async def test_a_broken_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "run.db"
    path.write_bytes(b"no database " * 1000)
    assert says(await refusal(path), "not a database", "name another file")
    assert path.read_bytes() == b"no database " * 1000


async def test_a_locked_file_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(
        batch_bridge.runner._storage, "open_file", functools.partial(open_file, busy_timeout=timedelta(0))
    )
    path = tmp_path / "run.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    assert says(await refusal(path), "locked", "Close that program")
    connection.close()


async def test_a_folder_that_does_not_exist_is_named_and_not_made(tmp_path):
    assert says(await refusal(tmp_path / "no" / "run.db"), str(tmp_path / "no"))
    assert list(tmp_path.iterdir()) == []


async def test_a_second_runner_on_one_file_is_refused_and_the_first_goes_on(tmp_path):
    path = tmp_path / "run.db"
    desk = Desk()
    async with Runner(one_node(ask), desk.bridge(), path=path, progress=False) as runner:
        assert says(await refusal(path), "another Runner", "Runner.left_open()")
        [result] = await within(runner.abatch(inputs_of("a")))
    assert result["out"] == ["a!"]


async def test_a_runner_in_another_process_on_one_file_is_refused(tmp_path):
    path = tmp_path / "run.db"
    program = f"""
import asyncio
from langgraph.graph import StateGraph
from batch_bridge import Bridge, Runner
from batch_bridge.errors import RunFileError

async def main():
    graph = StateGraph(dict).add_node("node", lambda state: {{}}).set_entry_point("node")
    try:
        async with Runner(graph, Bridge(submit=len, poll=len), path={str(path)!r}):
            print("opened")
    except RunFileError as error:
        print(error)

asyncio.run(main())
"""
    async with Runner(one_node(ask), Desk().bridge(), path=path, progress=False):
        other = await asyncio.to_thread(warm.run, ["-c", program])
    assert "another Runner has this file open" in other.stdout
