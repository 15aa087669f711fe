"""An interrupt that a library wraps, or a node: the error says which way out there is, and shows no prompt."""

import asyncio
import traceback

import anyio
import pytest
import tenacity
from helpers import Desk, chain, memory, one_node
from langgraph.graph import START, StateGraph

from batch_bridge import wait, wait_sync
from batch_bridge.errors import SwallowedInterruptError

SECRET = "the secret prompt"


class OwnError(Exception):
    pass


@tenacity.retry(stop=tenacity.stop_after_attempt(2))
async def with_tenacity(state):
    return {"out": [await wait(state["x"])]}


@tenacity.retry(stop=tenacity.stop_after_attempt(2))
def with_tenacity_sync(state):
    return {"out": [wait_sync(state["x"])]}


async def in_a_task_group(state):
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(wait(state["x"]))
    return {"out": [asked.result()]}


async def in_anyios_task_group(state):
    async with anyio.create_task_group() as group:
        group.start_soon(wait, state["x"])
    return {"out": []}


async def as_a_cause(state):
    try:
        return {"out": [await wait(state["x"])]}
    except Exception as error:
        raise OwnError("it failed") from error


def as_a_context(state):
    try:
        return {"out": [wait_sync(state["x"])]}
    except Exception:
        raise OwnError("it failed")  # noqa: B904


class InstructorRetryException(Exception):
    """Of the shape of instructor's."""

    def __init__(self, failed):
        super().__init__("retries exhausted")
        self.failed_attempts = [type("FailedAttempt", (), {"exception": failed})()]


InstructorRetryException.__module__ = "instructor.core.exceptions"


async def in_instructor(state):
    try:
        return {"out": [await wait(state["x"])]}
    except Exception as error:
        raise InstructorRetryException(error) from None


NODES = [
    (with_tenacity, tenacity.RetryError, "retry_if_not_exception_type"),
    (with_tenacity_sync, tenacity.RetryError, "retry_if_not_exception_type"),
    (in_a_task_group, ExceptionGroup, "batch_bridge.TaskGroup"),
    (in_anyios_task_group, ExceptionGroup, "batch_bridge.TaskGroup"),
    (as_a_cause, OwnError, "except GraphBubbleUp: raise"),
    (as_a_context, OwnError, "except GraphBubbleUp: raise"),
    (in_instructor, InstructorRetryException, "instructor"),
]


@pytest.mark.parametrize("nested", [False, True], ids=["node", "subgraph"])
@pytest.mark.parametrize(("node", "cause", "way_out"), NODES, ids=[each[0].__name__ for each in NODES])
async def test_it_is_named_with_the_way_out(node, cause, way_out, nested):
    desk = Desk()
    graph = one_node(node)
    if nested:
        graph = StateGraph(dict).add_node("inner", graph.compile()).add_edge(START, "inner")
    async with memory(graph, desk.bridge()) as runner:
        with pytest.raises(SwallowedInterruptError, match=way_out) as caught:
            await runner.ainvoke({"x": SECRET})
    assert isinstance(caught.value.__cause__, cause)
    assert "was not sent" in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert not desk.batches


async def test_an_error_of_a_later_leg_is_its_own():
    async def ask(state):
        await wait(state["x"])
        raise OwnError("after the answer")

    async with memory(chain(ask), Desk().bridge()) as runner:
        with pytest.raises(OwnError, match="after the answer"):
            await runner.ainvoke({"x": "a"})
