"""What changes a thread while a Runner prepares its leg is not overwritten."""

from typing import TypedDict

from helpers import Desk, config_of, within
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import StateGraph

from batch_bridge import Runner, wait


class Noted(TypedDict, total=False):
    x: str
    out: str
    note: str


async def ask_first(state: Noted):
    return {"out": await wait(state["x"])}


async def then_read(state: Noted):
    return {"out": f"{state['out']} {state.get('note', 'no note')}"}


def noted():
    graph = StateGraph(Noted).add_node("ask", ask_first).add_node("read", then_read)
    return graph.add_edge("__start__", "ask").add_edge("ask", "read")


async def test_an_update_while_a_leg_is_prepared_is_not_lost(tmp_path):
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        graph = noted().compile(checkpointer=saver)
        async with Runner(graph, Desk().bridge(), path=tmp_path / "b.db", checkpointer=None, progress=False) as runner:
            session, updated = runner._opened.session, []
            read = session.outcomes

            async def outcomes(asks):
                if not updated:
                    updated.append(True)
                    await graph.aupdate_state(config_of("t"), {"note": "noted"}, as_node="__start__")
                return await read(asks)

            session.outcomes = outcomes
            result = await within(runner.ainvoke({"x": "a"}, config_of("t")))
    assert result["out"] == "a! noted"


async def test_a_checkpoint_that_does_not_exist_does_not_hide_those_of_the_thread(tmp_path):
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        graph = noted().compile(checkpointer=saver)
        await graph.aupdate_state(config_of("t"), {"note": "noted"})
        async with Runner(graph, Desk().bridge(), path=tmp_path / "b.db", checkpointer=None, progress=False) as runner:
            config = config_of("t", checkpoint_id="1f000000-0000-6000-8000-000000000000")
            result = await within(runner.ainvoke({"x": "a"}, config))
    assert result["out"] == "a! noted"
