"""What a node does on a server before it parks: a note in each bridge's inbox, then its bell."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from langgraph.config import get_config
from langgraph.runtime import Runtime

from batch_bridge._deployment._bell import ring
from batch_bridge._deployment._inbox import note_row
from batch_bridge.errors import NoStoreError

_SERVERS: Final = frozenset({"thread_id", "run_id", "graph_id", "assistant_id", "user_id", "cron_id"})
_PREFIXES: Final = ("__", "langgraph_", "checkpoint_")
"""What the server and LangGraph put into a run's `configurable` themselves."""


def user_of(runtime: Runtime[Any]) -> str:
    """Return the user that a LangGraph server runs this for; empty where it knows none, and off the server."""
    server = getattr(runtime, "server_info", None)
    return str(getattr(getattr(server, "user", None), "identity", None) or "")


def is_deployed(runtime: Runtime[Any]) -> bool:
    """Tell whether a LangGraph server runs this."""
    return getattr(runtime, "server_info", None) is not None


def origin_of(runtime: Runtime[Any]) -> str:
    """Return the id of a server's run that has a context, or settings of its own in `configurable`.

    The server hands neither on to the run that resumes it. Empty for a run that has none.
    """
    info = runtime.execution_info
    if not is_deployed(runtime) or info is None:
        return ""
    own = any(name not in _SERVERS and not name.startswith(_PREFIXES) for name in get_config()["configurable"])
    return str(info.run_id or "") if runtime.context or own else ""


async def announce(runtime: Runtime[Any], asks: Mapping[str, Sequence[str]]) -> None:
    """Tell bridges that a task is about to park. What was told is durable when this returns.

    Args:
        runtime: The task's.
        asks: The ids of the requests that it waits for, by bridge.

    Raises:
        NoStoreError: The deployment has no store.
        UnknownBatcherError, BridgeUnreachableError: As `ring`.
    """
    user, thread = user_of(runtime), _thread(runtime)
    await _store(runtime).abatch([note_row(bridge, thread, user, ids) for bridge, ids in asks.items()])
    for bridge in asks:
        await ring(bridge, user)


def announce_sync(runtime: Runtime[Any], asks: Mapping[str, Sequence[str]]) -> Future[None]:
    """Do what `announce` does, in a node that is not async; the server's own loop does the work."""
    loop = getattr(_store(runtime), "_loop", None)  # not public; without it the work is done on a loop of its own
    if isinstance(loop, asyncio.AbstractEventLoop) and loop.is_running():
        return asyncio.run_coroutine_threadsafe(announce(runtime, asks), loop)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, announce(runtime, asks))


def _thread(runtime: Runtime[Any]) -> str:
    return str(runtime.execution_info.thread_id) if runtime.execution_info else ""


def _store(runtime: Runtime[Any]) -> Any:
    if runtime.store is None:
        raise NoStoreError(
            "wait() leaves a note in the deployment's store before it parks, and this graph runs without a store; "
            "a LangGraph server gives every graph one: remove the setting that takes it away"
        )
    return runtime.store
