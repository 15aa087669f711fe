"""Opens waits: which execution of which node asks, for which bridge, and what identifies the request."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.runtime import ExecutionInfo, get_runtime

from batch_bridge._compat.langgraph import has_checkpointer, skip_old_answer
from batch_bridge._core.durations import Within, duration
from batch_bridge._core.json.json_values import digest, dumps
from batch_bridge._core.json.messages import encode, has_messages, without_ids
from batch_bridge._core.models import JSON
from batch_bridge._core.payload.request_identity import Identity
from batch_bridge._node.label import check_label
from batch_bridge._node.link import DEFAULT, Link, Named
from batch_bridge._node.pending_waits import LONG_GRACE, PendingWaits, pending_waits_of
from batch_bridge._node.platform.announce import (
    check_own_run,
    is_deployed,
    origin_of,
    user_of,
)
from batch_bridge._node.slow_rounds import note_late
from batch_bridge._node.step_limits import LINK
from batch_bridge.errors import NoCheckpointerError, OutsideGraphError, UnknownBatcherError

Asked: TypeAlias = tuple[Identity, JSON]
"""What identifies a request, and its item."""


def open_waits(
    items: Iterable[Any],
    batcher: str | Named | None,
    key: str | None,
    deadline: Within,
    label: str | None = None,
    *,
    is_priced: bool = False,
) -> tuple[PendingWaits, list[Asked]]:
    """Return the pending waits of the execution that runs here, and what identifies each item among them.

    Args:
        items: What is asked, checked.
        batcher: As for `wait`, as the others.
        key: Takes the place of an item's content.
        deadline: How long the answers may take.
        label: What receipts call them.
        is_priced: The answers are to tell what they have cost.

    Raises:
        OutsideGraphError, NoCheckpointerError, UnknownBatcherError: As `wait`.
        GraphInterrupt: The task has parked without these.
    """
    within = duration(deadline)
    info, run, link = _execution()
    called = check_label(label, info.checkpoint_ns)
    skip_old_answer()
    if (tenant := user_of(get_runtime())) and link is None:
        check_own_run(get_runtime())
    name = _name_of(batcher, link)
    if link is not None and name not in link.bridges:
        known = ", ".join(sorted(map(repr, link.bridges)))
        raise UnknownBatcherError(
            f"wait(…, batcher={name!r}): this Runner has no bridge of that name, only {known}; "
            "pass the Runner a Bridge(…, name=…) with it, or name one of these"
        )
    retries = info.node_attempt - 1 + (link.retries if link else 0)
    is_on_server = link is None and is_deployed(get_runtime())
    pending = pending_waits_of(
        run,
        _key_of(info),
        retries,
        origin_of(get_runtime()),
        attempt=info.node_attempt,
        by=link.by if link else "",
        signs_for=str(info.thread_id) if is_on_server else "",
        asks_refused=is_on_server,
        grace=link.grace if link else LONG_GRACE,
    )
    if link is not None:
        link.pending.add(pending)
    asked: list[Asked] = []
    for item in items:
        encoded = encode(item)
        if key is not None:
            content = digest(b"key:" + key.encode())
        else:
            content = digest(dumps(without_ids(encoded) if has_messages(item) else encoded))
        try:
            identity = pending.identify(
                str(info.thread_id),
                info.checkpoint_ns,
                name,
                content,
                key=key,
                tenant=tenant,
                deadline=within,
                label=called,
                is_priced=is_priced or has_messages(item),
            )
        except GraphInterrupt:  # the task has parked without this one
            note_late(info.thread_id, info.checkpoint_ns, pending.rounds)
            raise
        asked.append((identity, encoded))
    return pending, asked


def waits_here() -> PendingWaits:
    """Return the pending waits of the execution that runs here, which has some."""
    info, run, _ = _execution()
    return pending_waits_of(run, _key_of(info), 0)


def _key_of(info: ExecutionInfo) -> tuple[object, ...]:
    """Return what tells an execution from every other of its run."""
    return info.thread_id, info.checkpoint_ns, info.node_attempt, info.node_first_attempt_time


def _name_of(batcher: str | Named | None, link: Link | None) -> str:
    """Return the bridge's name; without one, that of the Runner's only bridge."""
    if batcher is None:
        return next(iter(link.bridges)) if link is not None and len(link.bridges) == 1 else DEFAULT
    return batcher if isinstance(batcher, str) else batcher.name


def _execution() -> tuple[ExecutionInfo, Callable[[Any], None], Link | None]:
    try:
        runtime, configurable = get_runtime(), get_config()["configurable"]
        info = runtime.execution_info
    except (RuntimeError, KeyError, AttributeError):
        info = None
    if info is None:
        raise OutsideGraphError(
            "wait() was called outside a LangGraph node; call it inside a node or a task of a graph "
            "(in a thread of your own, copy the node's context with contextvars), or use a Batcher"
        )
    if info.thread_id is None or not has_checkpointer(configurable):
        raise NoCheckpointerError(
            "wait() needs a checkpointer to park this thread, and its graph has none; "
            "run the graph with a Runner, or compile it with a checkpointer and pass a thread_id. "
            "A subgraph must not be compiled with checkpointer=False"
        )
    return info, runtime.stream_writer, configurable.get(LINK)
