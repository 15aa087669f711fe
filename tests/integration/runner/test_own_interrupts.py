"""A node may raise LangGraph's `GraphInterrupt` itself, with anything: the Runner hands it out as LangGraph does."""

import pytest
from helpers import Desk, State, config_of, one_node, within
from langgraph.errors import GraphInterrupt

from batch_bridge import Runner


@pytest.mark.parametrize("held", ["?", ["stop"], [None]])
async def test_what_a_node_interrupts_with_is_in_the_result(tmp_path, held):
    async def node(state: State) -> State:
        raise GraphInterrupt(held)

    async with Runner(one_node(node), Desk().bridge(), path=tmp_path / "run.db") as runner:
        for value in ({"x": "a"}, None):
            result = await within(runner.ainvoke(value, config_of("T")))
            assert result["__interrupt__"] == list(held)
