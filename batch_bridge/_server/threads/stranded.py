"""Threads whose last run failed before it came to any node: they read `error`, and are parked as they were before.

A person who answers with a plain value while a wait of the same thread is pending makes one: LangGraph refuses a value
that names no interrupt where there are several. So does a run whose command, input or settings the graph refuses. No
node of theirs has failed, and what they wait for is delivered as if that run had never been.

A thread in which a node has failed is another matter: to resume it is to run that node again, and that is for its owner
to decide.
"""

import asyncio
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError

from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of
from batch_bridge._node.platform.keys import KeyRing
from batch_bridge._server.threads.view import ThreadView, look

logger = logger_of(__name__)

_SIDE_BY_SIDE = 16
_ID: Final = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class LateAnswer:
    """Recovers a person's answer from a run that LangGraph refused because it did not name an interrupt.

    Attributes:
        run: That run.
        question: The id of the one interrupt of a person's that the thread is parked at.
        command: That run's command.
    """

    run: str
    question: str
    command: Mapping[str, Any]

    def command_with(self, answers: Mapping[str, Any]) -> dict[str, Any]:
        """Return the command that brings this answer, by its interrupt's id, together with ours."""
        return {**self.command, "resume": {**answers, self.question: self.command["resume"]}}


async def look_closely(
    client: LangGraphClient, ids: Sequence[str], key_ring: KeyRing, doubted: Container[str] = ()
) -> dict[str, ThreadView]:
    """Do what `look` does, and distinguish stranded threads from those in which a node has failed.

    Costs a call for each thread that reads `error` and shows interrupts of ours, and for each that is doubted.

    Args:
        client: Calls the server.
        ids: Threads.
        key_ring: The deployment's keys.
        doubted: Those that may have taken already what they show that they ask for: the server continues showing the
            interrupt of a task that has finished, while another task of its step is parked.
    """
    seen = await look(client, ids, key_ring)
    gate = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def judge(thread: ThreadView) -> ThreadView:
        async with gate:
            try:
                state: Mapping[str, Any] = await client.threads.get_state(thread.id)
            except (APIError, httpx.HTTPError) as error:
                logger.info("could not read the state of thread %s: %s", thread.id, _logged.said(error))
                return replace(thread, failed=False, busy=True)  # not to be resumed now
        if thread.failed and _has_failed(state):
            return thread
        pending = {str(each["id"]) for task in state.get("tasks") or () for each in task.get("interrupts") or ()}
        parked = tuple(each for each in thread.parked if each.id in pending)
        return replace(thread, failed=False, stranded=thread.failed, parked=parked)

    doubtful = [
        thread
        for thread in seen.values()
        if thread.parked and (thread.failed or thread.id in doubted) and not thread.busy
    ]
    return seen | {thread.id: thread for thread in await asyncio.gather(*map(judge, doubtful))}


async def has_failed_node(client: LangGraphClient, thread: str) -> bool:
    """Return whether a node of a thread has failed since its last checkpoint."""
    return _has_failed(await client.threads.get_state(thread))


def _has_failed(state: Mapping[str, Any]) -> bool:
    return any(task.get("error") for task in state.get("tasks") or ())


async def find_late_answer(client: LangGraphClient, thread: ThreadView) -> LateAnswer | None:
    """Return the answer of a stranded thread's last run, if its question is known.

    It can where one interrupt of a person's is pending: that is the only one which that person was shown.
    """
    runs: Sequence[Mapping[str, Any]] = await client.runs.list(thread.id, limit=10)
    last = max(runs, key=lambda run: str(run["created_at"]), default=None)
    if last is None or last.get("status") != "error":
        return None
    command = (last.get("kwargs") or {}).get("command") or {}
    resume = command.get("resume")
    if resume is None or _is_by_id(resume):
        return None
    if len(thread.questions) != 1:
        logger.warning(
            "thread %s: its run %s brought an answer that names no interrupt, and %d of a person's are pending; it is "
            "not known which was meant, and they stay. Answer by id: command={'resume': {interrupt['id']: answer}}",
            thread.id,
            last["run_id"],
            len(thread.questions),
        )
        return None
    return LateAnswer(str(last["run_id"]), thread.questions[0], command)


def _is_by_id(resume: object) -> bool:
    """Return whether LangGraph reads this as answers by the ids of their interrupts."""
    return isinstance(resume, Mapping) and all(isinstance(each, str) and _ID.fullmatch(each) for each in resume)
