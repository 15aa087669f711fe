"""What we use of LangGraph though it is not public, `batch_bridge/_compat/langgraph.py`: a name that vanishes fails here, by name."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables.config import var_child_runnable_config
from langgraph._internal import _constants
from langgraph._internal._scratchpad import PregelScratchpad
from langgraph.checkpoint.base import WRITES_IDX_MAP
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from batch_bridge._compat import langgraph as _langgraph

SOURCES = Path(_langgraph.__file__).parent


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("SCRATCHPAD", "CONFIG_KEY_SCRATCHPAD"),
        ("CHECKPOINTER", "CONFIG_KEY_CHECKPOINTER"),
        ("RESUMING", "CONFIG_KEY_RESUMING"),
        ("RESUME_MAP", "CONFIG_KEY_RESUME_MAP"),
        ("CHECKPOINT_MAP", "CONFIG_KEY_CHECKPOINT_MAP"),
        ("SEND", "CONFIG_KEY_SEND"),
        ("RESUME", "RESUME"),
        ("NULL_TASK_ID", "NULL_TASK_ID"),
    ],
)
def test_langgraph_still_calls_it_so(ours, theirs) -> None:
    assert getattr(_langgraph, ours) == getattr(_constants, theirs)


@pytest.mark.parametrize("name", ["get_null_resume", "interrupt_counter", "resume"])
def test_a_scratchpad_still_has_it(name) -> None:
    assert name in {each.name for each in dataclasses.fields(PregelScratchpad)}


def test_an_answer_that_is_written_again_takes_the_place_of_the_old_one() -> None:
    assert WRITES_IDX_MAP[_langgraph.RESUME] < 0


async def test_a_task_is_told_what_we_look_for() -> None:
    """In the first run, in one that a plain answer resumes, and in one that is resumed by ids."""
    seen: list[dict[str, Any]] = []

    def node(state: dict[str, Any]) -> dict[str, Any]:
        configurable = get_config()["configurable"]
        seen.append({**configurable, "answer": configurable[_langgraph.SCRATCHPAD].get_null_resume(False)})
        interrupt("A?")
        interrupt("B?")
        return {}

    graph = StateGraph(dict).add_node("node", node).add_edge(START, "node").compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"x": 1}, config)
    (second,) = (await graph.ainvoke(Command(resume="a"), config))["__interrupt__"]
    await graph.ainvoke(Command(resume={second.id: "b"}), config)
    assert [bool(each.get(_langgraph.RESUMING)) for each in seen] == [False, True, True]
    assert [each.get(_langgraph.RESUME_MAP) for each in seen] == [None, None, {second.id: "b"}]
    assert all(each[_langgraph.CHECKPOINTER] is graph.checkpointer for each in seen)
    assert all(each[_langgraph.CHECKPOINT_MAP][""] for each in seen)
    assert [each["answer"] for each in seen] == [None, "a", "a"], "LangGraph forgets the answer itself now: so can we"


def test_interrupt_reads_the_config_that_we_set() -> None:
    token = var_child_runnable_config.set({"configurable": {"here": 1}})
    try:
        assert get_config()["configurable"]["here"] == 1
    finally:
        var_child_runnable_config.reset(token)


def test_an_id_of_an_interrupt_still_looks_like_one() -> None:
    assert _langgraph.is_by_id({interrupt_id(): "yes"})
    assert not _langgraph.is_by_id({"yes": True})
    assert not _langgraph.is_by_id("yes")


def interrupt_id() -> str:
    graph = StateGraph(dict).add_node("node", lambda state: interrupt("A?")).add_edge(START, "node")
    found = graph.compile(checkpointer=InMemorySaver()).invoke({"x": 1}, {"configurable": {"thread_id": "t"}})
    return str(found["__interrupt__"][0].id)


def test_nothing_that_is_not_public_is_named_anywhere_else() -> None:
    private = re.compile(
        r"__pregel_|langgraph\._internal|langgraph\.pregel(?! import Pregel\n)|var_child_runnable_config|__resume__"
    )
    named = {path.name for path in SOURCES.rglob("*.py") if private.search(path.read_text())}
    assert named == {"langgraph.py", "parked_frames.py", "pregel_loop.py"}
