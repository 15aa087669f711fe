"""One leg of a thread: what its process does with a database that is gone."""

from datetime import timedelta
from typing import TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import GetOp

from batch_bridge._ledger.patience import Patience, PatientRows
from batch_bridge.pool._leg import LegHost
from batch_bridge.pool._leg_saver import LegToken


class State(TypedDict):
    x: str


class ShortlyGoneRows:
    """Gone for as long as they are waited for, and there again as the thread's end is written."""

    async def abatch(self, ops):
        if any(isinstance(each, GetOp) for each in ops):
            raise ConnectionError("the database is gone")
        return [None for _ in ops]


async def test_a_thread_whose_store_is_gone_has_not_failed():
    graph = StateGraph(State).add_node("node", lambda state: state).add_edge(START, "node").add_edge("node", END)
    patience = Patience("ledger", limit=timedelta(0))
    host = LegHost(
        graph.compile(checkpointer=InMemorySaver()),
        frozenset({"bridge"}),
        PatientRows(ShortlyGoneRows(), patience),
        by="here",
        patiences=(Patience("checkpointer"), patience),
        leg=LegToken("t", "token"),
        has_failed=True,
    )
    with pytest.raises(ConnectionError, match="is gone"):
        await host.run({"x": "a"}, {"configurable": {"thread_id": "t"}}, "r", {})
