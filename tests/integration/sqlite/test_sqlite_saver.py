"""The checkpointer on a real file, with LangGraph's own kit, graphs and saver beside it."""

import asyncio
import operator
import signal
import sqlite3
import subprocess
import textwrap
from typing import Annotated, TypedDict

import pytest
import sampling
import warm
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import GetOp
from langgraph.types import Command, Send, interrupt

from batch_bridge._sqlite.file import open_file
from batch_bridge._sqlite.listing import PAGE
from batch_bridge.errors import RunnerStateError


class State(TypedDict):
    items: list[str]
    answers: Annotated[list[str], operator.add]


async def ask(item):
    first = interrupt({"ask": item})
    second = interrupt({"ask again": item, "after": first})
    return {"answers": [f"{item}:{first}:{second}"]}


def build():
    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_conditional_edges(START, lambda state: [Send("ask", item) for item in state["items"]], ["ask"])
    builder.add_edge("ask", END)
    return builder


def thread(name, namespace=""):
    return {"configurable": {"thread_id": name, "checkpoint_ns": namespace}}


async def answer(graph, config, parked, text, **options):
    resume = {one.id: text for one in parked["__interrupt__"]}
    return await graph.ainvoke(Command(resume=resume), config, **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.sqlite"


async def test_langgraphs_conformance_kit(tmp_path):
    count = iter(range(1000))

    @checkpointer_test(name="GroupedSqliteSaver")
    async def factory():
        async with open_file(tmp_path / f"{next(count)}.sqlite") as (saver, _):
            yield saver

    report = await validate(factory)
    assert {name: result.failures for name, result in report.results.items() if result.failures} == {}
    assert all(result.detected and result.passed for result in report.results.values())
    assert len(report.results) == 8


@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
async def test_many_threads_park_and_wake_and_share_their_commits(path, durability):
    async def one(graph, name):
        config = {"configurable": {"thread_id": name}}
        parked = await graph.ainvoke({"items": ["a", "b"], "answers": []}, config, durability=durability)
        parked = await answer(graph, config, parked, "1", durability=durability)
        return await answer(graph, config, parked, "2", durability=durability)

    async with open_file(path) as (saver, _):
        graph = build().compile(checkpointer=saver)
        ended = await asyncio.gather(*(one(graph, f"t{n}") for n in range(sampling.many(100, 30))))
        writer = saver._writer
        assert all(sorted(state["answers"]) == ["a:1:2", "b:1:2"] for state in ended)
        assert writer.groups < writer.writes / 4


async def test_a_parked_thread_outlives_the_process_that_parked_it(path):
    config = {"configurable": {"thread_id": "t"}}
    async with open_file(path) as (saver, _):
        graph = build().compile(checkpointer=saver)
        parked = await graph.ainvoke({"items": ["a", "b"], "answers": []}, config)
        first, second = parked["__interrupt__"]
        await graph.ainvoke(Command(resume={first.id: "1"}), config)
    async with open_file(path) as (saver, _):
        graph = build().compile(checkpointer=saver)
        state = await graph.aget_state(config)
        assert len(state.interrupts) == 2
        await graph.ainvoke(Command(resume={second.id: "1"}), config)
        state = await graph.aget_state(config)
        ended = await graph.ainvoke(Command(resume={one.id: "2" for one in state.interrupts}), config)
        assert sorted(ended["answers"]) == ["a:1:2", "b:1:2"]


@pytest.mark.parametrize("ours_first", [True, False])
async def test_langgraphs_saver_continues_our_file_and_the_other_way_round(path, ours_first):
    config = {"configurable": {"thread_id": "t"}, "metadata": {"who": "Zoë"}}

    async def in_turn(ours, step):
        if ours:
            async with open_file(path) as (saver, _):
                return await step(build().compile(checkpointer=saver))
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
            return await step(build().compile(checkpointer=saver))

    async def start(graph):
        return await graph.ainvoke({"items": ["a", "b"], "answers": []}, config)

    parked = await in_turn(ours_first, start)
    parked = await in_turn(not ours_first, lambda graph: answer(graph, config, parked, "1"))
    ended = await in_turn(ours_first, lambda graph: answer(graph, config, parked, "2"))
    assert sorted(ended["answers"]) == ["a:1:2", "b:1:2"]

    async def history(graph):
        return [
            (one.config, one.parent_config, one.metadata, one.values, one.next, one.tasks)
            async for one in graph.aget_state_history(config)
        ]

    found = await in_turn(ours_first, history)
    assert found == await in_turn(not ours_first, history)
    assert len(found) >= 3
    assert found[0][2]["who"] == "Zoë"


async def test_rows_are_byte_for_byte_those_of_langgraphs_saver(path, tmp_path):
    async def fill(saver):
        parent = {**thread("t", "inner"), "metadata": {"odd": float("nan"), "Zoë": "ü\x00", "n": 10**20}}
        for step in range(3):
            checkpoint = {**empty_checkpoint(), "id": f"{step}", "ts": "now", "channel_values": {"a": [step]}}
            parent = await saver.aput(parent, checkpoint, {"source": "loop", "step": step, "parents": {}}, {})
            await saver.aput_writes(parent, [("a", 1), ("b", b"2"), ("c", None)], "task", "~path, 1")
            await saver.aput_writes(parent, [("a", "late"), ("__error__", "mixed")], "task")
            await saver.aput_writes(parent, [("__interrupt__", "old")], "task")
            await saver.aput_writes(parent, [("__interrupt__", "new")], "task", "other")
            await saver.aput_writes(parent, [], "task")

    def dump(path):
        connection = sqlite3.connect(path)
        connection.row_factory = sqlite3.Row
        rows = [
            {name: row[name] for name in row.keys() if name in names}  # noqa: SIM118 a Row is no mapping
            for table in ("checkpoints", "writes")
            for row in connection.execute(f"SELECT * FROM {table}")
        ]
        connection.close()
        return sorted(rows, key=lambda row: repr(sorted(row.items())))

    async with open_file(path) as (saver, _):
        await fill(saver)
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "stock.sqlite")) as saver:
        await fill(saver)
    stock = sqlite3.connect(tmp_path / "stock.sqlite")
    names = {
        name for table in ("checkpoints", "writes") for _, name, *_ in stock.execute(f"PRAGMA table_info({table})")
    }
    stock.close()
    assert dump(path) == dump(tmp_path / "stock.sqlite")


async def test_listing_pages_filters_and_bears_deletion(path):
    count = PAGE * 2 + 3
    async with open_file(path) as (saver, _):
        for n in range(count):
            checkpoint = {**empty_checkpoint(), "id": f"{n:04}"}
            await saver.aput(thread("t"), checkpoint, {"step": n, "parents": {}, "run_id": f"r{n % 2}"}, {})
        newest_first = [f"{n:04}" for n in reversed(range(count))]

        def ids(found):
            return [one.checkpoint["id"] for one in found]

        assert ids([one async for one in saver.alist(thread("t"))]) == newest_first
        assert ids(saver.list(None)) == newest_first
        assert ids(saver.list(thread("t"), limit=5)) == newest_first[:5]
        odd = saver.list(thread("t"), filter={"run_id": "r1"}, before={"configurable": {"checkpoint_id": "0006"}})
        assert ids(odd) == ["0005", "0003", "0001"]
        found = []
        async for one in saver.alist(thread("t")):
            if not found:
                await saver.aprune(["t"])
            found.append(one)
        assert ids(found) == newest_first[:PAGE]
        assert ids(saver.list(thread("t"))) == newest_first[:1]


async def test_the_blocking_twins_work_on_the_loop_and_off_it(path):
    def all_of_them(saver, name):
        stored = saver.put(thread(name), empty_checkpoint(), {"step": 1, "run_id": f"run of {name}"}, {})
        saver.put_writes(stored, [("a", 1)], "task", "path")
        assert saver.get_tuple(thread(name)).pending_writes == [("task", "a", 1)]
        assert saver.get(thread(name))["id"] == stored["configurable"]["checkpoint_id"]
        saver.copy_thread(name, f"copy of {name}")
        saver.prune([name, f"copy of {name}"])
        saver.delete_for_runs([f"run of {name}"])
        assert saver.get_tuple(thread(name)) is None
        saver.put(thread(name), empty_checkpoint(), {"step": 1}, {})
        saver.delete_thread(name)
        assert list(saver.list(thread(name))) == []

    class Plain(TypedDict):
        text: str

    builder = StateGraph(Plain)
    builder.add_node("ask", lambda state: {"text": interrupt(state["text"])})
    builder.add_edge(START, "ask")

    def sync_graph(saver, name):
        graph = builder.compile(checkpointer=saver)
        config = {"configurable": {"thread_id": name}}
        parked = graph.invoke({"text": "?"}, config)
        resume = {parked["__interrupt__"][0].id: "!"}
        assert graph.invoke(Command(resume=resume), config) == {"text": "!"}

    async with open_file(path) as (saver, _):
        for work in (all_of_them, sync_graph):
            work(saver, "on the loop")
            await asyncio.gather(*(asyncio.to_thread(work, saver, f"thread {n}") for n in range(8)))


async def test_delta_channels_are_rebuilt_and_not_pruned(path):
    delta = pytest.importorskip("langgraph.channels.delta")

    class Deltas(TypedDict):
        log: Annotated[list[str], delta.DeltaChannel(lambda old, new: [*old, *new], list)]

    async def node(state):
        return {"log": f"node saw {len(state['log'])}"}

    builder = StateGraph(Deltas)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    config = {"configurable": {"thread_id": "t"}}
    memory = builder.compile(checkpointer=InMemorySaver())
    async with open_file(path) as (saver, _):
        graph = builder.compile(checkpointer=saver)
        for n in range(5):
            state = await graph.ainvoke({"log": f"input {n}"}, config)
            assert state == await memory.ainvoke({"log": f"input {n}"}, config)
        assert (await graph.aget_state(config)).values == state
        assert (await asyncio.to_thread(graph.get_state, config)).values == state
        with pytest.raises(NotImplementedError, match="DeltaChannel"):
            await saver.aprune(["t"])
        assert (await graph.aget_state(config)).values == state
        await saver.aprune(["t"], strategy="delete")
        assert [one async for one in saver.alist(None)] == []
        with pytest.raises(ValueError, match="keep_latest"):
            await saver.aprune(["t"], strategy="all")
        with pytest.raises(TypeError, match="string"):
            await saver.aprune("t")


async def test_a_closed_file_says_so(path):
    async with open_file(path) as (saver, _):
        pass
    with pytest.raises(RunnerStateError, match="is closed"):
        await saver.aget_tuple(thread("t"))
    with pytest.raises(RunnerStateError, match="is closed"):
        await saver.aput(thread("t"), empty_checkpoint(), {}, {})


# Processes that end in the midst of writing. They print a line for each write that has returned.

CHILD = """
import asyncio, os, sys
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.store.base import PutOp

from batch_bridge._sqlite.file import open_file

commits = 0

def cut():
    global commits
    commits += 1
    if commits == {cut}:
        os.write(1, b"CUT\\n")
        os._exit(9)

async def write(saver, store, name):
    for step in range(10_000):
        config = {{"configurable": {{"thread_id": name, "checkpoint_ns": ""}}}}
        stored = await saver.aput(config, {{**empty_checkpoint(), "id": f"{{step:06}}"}}, {{"step": step}}, {{}})
        os.write(1, f"checkpoint {{name}} {{step:06}}\\n".encode())
        await saver.aput_writes(stored, [("a", name), ("b", step)], "task")
        os.write(1, f"writes {{name}} {{step:06}}\\n".encode())
        await store.abatch([PutOp(("steps", name), f"{{step:06}}", {{"step": step}})])
        os.write(1, f"item {{name}} {{step:06}}\\n".encode())

async def main():
    async with open_file(sys.argv[1], before_commit=cut) as (saver, store):
        await asyncio.gather(*(write(saver, store, f"t{{n}}") for n in range(16)))

asyncio.run(main())
"""


def child(path, cut):
    code = textwrap.dedent(CHILD).format(cut=cut)
    return warm.start(["-c", code, path], stdout=subprocess.PIPE, text=False)


async def check(path, lines):
    """Everything acknowledged is there, and nothing is there by half."""
    acknowledged = [line.split() for line in lines if line.count(" ") == 2]
    async with open_file(path) as (saver, store):
        for kind, name, step in acknowledged:
            config = {"configurable": {"thread_id": name, "checkpoint_ns": "", "checkpoint_id": step}}
            if kind == "item":
                (item,) = await store.abatch([GetOp(("steps", name), step)])
                assert item.value == {"step": int(step)}
                continue
            found = await saver.aget_tuple(config)
            assert found is not None
            if kind == "writes":
                assert found.pending_writes == [("task", "a", name), ("task", "b", int(step))]
        async for found in saver.alist(None):
            assert len(found.pending_writes) in (0, 2)
        await saver.aput(thread("after"), empty_checkpoint(), {}, {})
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return len(acknowledged)


async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(path):
    process = child(path, cut=-1)
    lines = [process.stdout.readline().decode() for _ in range(3000)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    lines += [line for line in rest.decode().splitlines(keepends=True) if line.endswith("\n")]
    assert await check(path, lines) >= 3000


@pytest.mark.parametrize("cut", [1, 2, 40])
async def test_nothing_acknowledged_is_lost_when_the_power_fails_before_a_commit(path, cut):
    process = child(path, cut)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 9
    lines = output.decode().splitlines()
    assert "CUT" in lines
    written = await check(path, lines)
    assert bool(written) == (cut > 1)
