"""What we use of LangGraph that is not public, but for its loop (`_pregel.py`).

`tests/unit/compat/test_langgraph_names.py` fails by name when one of the names vanishes.

A plain `Command(resume=answer)` names no interrupt. LangGraph writes it to the thread's newest checkpoint under a task
id of zeros, and the next `interrupt()` that any task calls takes it, from memory alone: what was written stays until
the checkpoint is replaced. By itself LangGraph needs no more, since the next plain answer takes its place. Our answers
come by the interrupts' ids, and do not: each later run on that checkpoint finds the old answer again, and hands it to
the next `interrupt()`. So

- a wait never takes a plain answer (`interrupt_for_us`);
- a task that parks at a wait puts nothing in the place of the answer that its run was given (`forget_answer`);
- in a run that was resumed by ids, a plain answer is an old one, and a wait throws it away (`skip_old_answer`);
- a Runner looks for one before it resumes a thread (`forget_old_answer`).
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.config import get_config
from langgraph.types import interrupt

SCRATCHPAD = "__pregel_scratchpad"
"""In a task's `configurable`: what its interrupts count with and are answered from."""
CHECKPOINTER = "__pregel_checkpointer"
"""The saver, or `None` or `False`; not there in a graph that inherits none."""
RESUMING = "__pregel_resuming"
"""Whether the run continues one that was stopped, until its first step is over."""
RESUME_MAP = "__pregel_resume_map"
"""What the run was resumed with by the interrupts' ids."""
CHECKPOINT_MAP = "checkpoint_map"
"""The ids of the checkpoints that the task and the graphs around it run on, by namespace; the root's is empty."""
SEND = "__pregel_send"
"""The bound `extend` of the list of what the task has written. Without it, a thread whose node has failed where an
interrupt was swallowed continues with what the node had written, when it is run again."""
SENDS = "__pregel_tasks"
"""The channel of what `Send` has begun."""
RESUME = "__resume__"
"""The channel that answers are written to."""
NULL_TASK_ID = "00000000-0000-0000-0000-000000000000"
"""Whose write a plain answer is."""
_NOTHING = [(RESUME, None)]
"""The write that marks a missing plain answer: LangGraph cannot resume with `None`."""
_ID = re.compile("[0-9a-f]{32}")

COUNTS_ON = tuple(map(int, re.findall(r"\d+", version("langgraph"))[:3])) < (1, 2, 20)
"""Whether this LangGraph, on a retry of a node, counts its interrupts on from where the failed attempt got to."""


def interrupt_for_us(value: Any) -> Any:
    """Do what `interrupt` does, but leave a plain answer to the human's question that it was given for."""
    config = get_config()
    configurable = config["configurable"]
    ours = replace(configurable[SCRATCHPAD], get_null_resume=_no_answer)
    token = var_child_runnable_config.set({**config, "configurable": {**configurable, SCRATCHPAD: ours}})
    try:
        return interrupt(value)
    finally:
        var_child_runnable_config.reset(token)


def next_answer() -> Any:
    """Return what the next `interrupt()` of this task will return, and leave it there; `None`: it will park."""
    scratchpad = get_config()["configurable"][SCRATCHPAD]
    number = scratchpad.interrupt_counter()
    object.__setattr__(scratchpad, "interrupt_counter", itertools.count(number).__next__)
    return scratchpad.resume[number] if number < len(scratchpad.resume or ()) else None


def _no_answer(consume: bool = False) -> None:  # noqa: FBT001, FBT002
    """There is no plain answer."""


def skip_old_answer() -> None:
    """Throw away a plain answer in a run that was resumed by ids: it was given to an earlier run."""
    if is_resumed_by_ids():
        get_config()["configurable"][SCRATCHPAD].get_null_resume(True)  # noqa: FBT003  # LangGraph's own signature


def is_resumed_by_ids() -> bool:
    """Return whether this run was resumed with answers by the interrupts' ids."""
    return bool(get_config()["configurable"].get(RESUME_MAP))


def is_new_answer(value: object) -> bool:
    """Return whether an answer that this task was handed was given to this run; else it was to an earlier one."""
    given = get_config()["configurable"].get(RESUME_MAP) or {}
    return any(each is value for each in given.values())


def has_answer() -> bool:
    """Return whether this run may have been given a plain answer, or have found one."""
    return _answered() is not None


async def forget_answer() -> None:
    """Have no later run find the plain answer that this one was given, or has found. To be called when a task parks.

    What this run still does with it changes nothing: it has the answer in memory. Idempotent.
    """
    if (found := _answered()) is not None:
        saver, config = found
        await saver.aput_writes(config, _NOTHING, NULL_TASK_ID)


def forget_answer_sync() -> None:
    """Do what `forget_answer` does, in a node that is not async. No event loop may run on this thread.

    Savers that cannot write from here (the thread of their own event loop; async alone) are left as they are: then the
    other ways to come across an old answer must do.
    """
    if (found := _answered()) is not None:
        saver, config = found
        with suppress(NotImplementedError):
            saver.put_writes(config, _NOTHING, NULL_TASK_ID)


def _answered() -> tuple[BaseCheckpointSaver[Any], RunnableConfig] | None:
    """Return where to write that there is no plain answer, if there may be one.

    A task of the functional API does not see one that its entrypoint has taken, so in a run's first step it is enough
    that the run was resumed and not by ids. Further steps of a subgraph see it through the root's task.
    """
    config = get_config()
    configurable = config["configurable"]
    resumed = configurable.get(RESUMING) and not configurable.get(RESUME_MAP)
    if not resumed and configurable[SCRATCHPAD].get_null_resume(False) is None:  # noqa: FBT003
        return None
    root = (configurable.get(CHECKPOINT_MAP) or {}).get("")
    if root is None:
        return None
    where = {**configurable, "checkpoint_ns": "", "checkpoint_id": root}
    return configurable[CHECKPOINTER], {**config, "configurable": where}


async def forget_old_answer(
    saver: BaseCheckpointSaver[Any], config: RunnableConfig, writes: Iterable[tuple[str, str, Any]]
) -> bool:
    """Have a run that is resumed by ids find no plain answer of an earlier run. Return whether there was one.

    Args:
        saver: Where the thread is kept.
        config: What names the thread's newest checkpoint, as the saver has returned it.
        writes: The pending writes of that checkpoint.
    """
    if any((task, channel) == (NULL_TASK_ID, RESUME) and value is not None for task, channel, value in writes):
        await saver.aput_writes(config, _NOTHING, NULL_TASK_ID)
        return True
    return False


def has_checkpointer(configurable: Mapping[str, Any]) -> bool:
    """Return whether a task's graph can park; true unless the graph says that it cannot."""
    saver = configurable.get(CHECKPOINTER, True)
    return saver is not None and saver is not False


def restart_interrupt_count() -> None:
    """Let the next `interrupt()` of a retried node be its first, as it is since LangGraph 1.2.20 (`COUNTS_ON`).

    Before, a retry is not handed what its failed attempt took; and when it parks, LangGraph forgets the answers that
    this run was resumed with, since it persists only what the parking attempt was handed.
    """
    scratchpad = get_config()["configurable"][SCRATCHPAD]
    object.__setattr__(scratchpad, "interrupt_counter", itertools.count().__next__)


def is_by_id(resume: object) -> bool:
    """Return whether LangGraph takes what a `Command` resumes with for answers by the ids of interrupts."""
    return isinstance(resume, dict) and all(isinstance(each, str) and _ID.fullmatch(each) for each in resume)
