"""What a node does before it parks is done once for all its waits, and before the first of them ends the node."""

import asyncio

import pytest
from helpers import config_of, one_node, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from batch_bridge import is_bridge_interrupt, wait, wait_many
from batch_bridge._compat.langgraph import NULL_TASK_ID


class SlowSaver(InMemorySaver):
    """Holds the writes back that belong to no task, but for the answer of a person."""

    def __init__(self):
        super().__init__()
        self.forgot, self.reached, self.go_on = 0, asyncio.Event(), asyncio.Event()

    async def aput_writes(self, config, writes, task_id, task_path=""):
        if task_id == NULL_TASK_ID and all(value is None for _, value in writes):
            self.forgot += 1
            self.reached.set()
            await self.go_on.wait()
        await super().aput_writes(config, writes, task_id, task_path)


async def late(items):
    for _ in range(10):  # its own work, while the others have parked
        await asyncio.sleep(0)
    return await wait_many(items)


async def together(state):
    interrupt("go on?")
    return {"out": await asyncio.gather(wait("a"), wait("b"), wait("c"))}


async def one_is_late(state):
    interrupt("go on?")
    return {"out": await asyncio.gather(wait("a"), late(["b"]))}


@pytest.mark.parametrize("node", [together, one_is_late])
async def test_a_node_parks_when_the_answer_that_its_run_was_given_is_forgotten(node):
    saver = SlowSaver()
    graph = one_node(node).compile(checkpointer=saver)
    await graph.ainvoke({}, config_of("t"))
    before = asyncio.all_tasks()
    parking = asyncio.create_task(graph.ainvoke(Command(resume="yes"), config_of("t")))
    await within(saver.reached.wait())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not parking.done()
    saver.go_on.set()
    found = await within(parking)
    assert all(map(is_bridge_interrupt, found["__interrupt__"]))
    for _ in range(3):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert saver.forgot == 1
