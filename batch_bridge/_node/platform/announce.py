"""What a node does on a server before it parks: a note in each bridge's inbox, then a wake-up."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, Final

from langgraph.config import get_config
from langgraph.runtime import Runtime

from batch_bridge._core.payload.signature import Keys
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of
from batch_bridge._ledger.patience import Patience
from batch_bridge._ledger.process import this_process
from batch_bridge._node.platform.client import access_of
from batch_bridge._node.platform.identity_check import check_configured, how
from batch_bridge._node.platform.inbox import note_row
from batch_bridge._node.platform.keys import cached_keys, keys_for_nodes
from batch_bridge._node.platform.tickers import check_ticked, ticks_apart
from batch_bridge._node.platform.wakeup import is_doubtful, wake
from batch_bridge._node.running_loop import running_loop
from batch_bridge.errors import BridgeUnreachableError, NondeterministicNodeError, NoStoreError, OutsideGraphError

logger = logger_of(__name__)

STRIKES: Final = 2
"""How often in a row a thread may be resumed, take nothing, and ask for something new."""
_PATIENCE = 5.0
"""Seconds in which nodes wait for the first ring of all though another one waits for it already."""
_STORE_PATIENCE: Final = timedelta(minutes=1)
"""How long a node tries to leave its notes; then its run fails with the store's error, and can be run again."""
_waiting_threads = threading.Semaphore(1)


class _Patience:
    """What all nodes of this process together may wait for a ring that others wait for too."""

    def __init__(self) -> None:
        self._until: float | None = None

    def left(self) -> float:
        """Return the seconds that are left, counted from the first call."""
        if self._until is None:
            self._until = time.monotonic() + _PATIENCE
        return max(self._until - time.monotonic(), 0.0)


_patience = _Patience()
_NOBODY: Final = "anonymous"
"""The user of all Aegra's runs when it has no authentication. Source: its `core/auth_middleware.py`."""
_SERVERS: Final = frozenset(
    {"thread_id", "run_id", "graph_id", "assistant_id", "user_id", "user_display_name", "cron_id"}
)
_PREFIXES: Final = ("__", "langgraph_", "checkpoint_")
"""What the server and LangGraph put into a run's `configurable` themselves."""


def user_of(runtime: Runtime[Any]) -> str:
    """Return the user that a LangGraph server runs this for; empty where it knows none, and off the server."""
    server = getattr(runtime, "server_info", None)
    user = getattr(server, "user", None)
    identity = str(getattr(user, "identity", None) or "")
    return "" if identity == _NOBODY and getattr(user, "is_authenticated", True) is False else identity


def is_deployed(runtime: Runtime[Any]) -> bool:
    """Return whether a LangGraph server runs this."""
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


def check_own_run(runtime: Runtime[Any]) -> None:
    """Check that a run that a bridge has created for a user is that user's.

    Raises:
        BridgeUnreachableError: It belongs to another user; no more requests are made in that name.
    """
    metadata = get_config().get("metadata", {})
    meant, found = metadata.get("batch_bridge_user"), user_of(runtime)
    if meant and meant != found:
        raise BridgeUnreachableError(
            f"a bridge resumed a thread of the user {meant!r}, but the server runs it for {found!r}. "
            f"{how(str(metadata.get('batch_bridge')))}"
        )


async def keys_of(runtime: Runtime[Any], *, again: bool = False) -> Keys:
    """Return the deployment's keys; `again` reads them from the store again.

    Raises:
        NoStoreError: The deployment has no store.
    """
    return await keys_for_nodes(_store(runtime), again=again)


def keys_of_sync(runtime: Runtime[Any], *, again: bool = False) -> Keys:
    """Do what `keys_of` does, in a node that is not async."""
    if not again and (keys := cached_keys()) is not None:
        return keys
    loop = getattr(_store(runtime), "_loop", None)  # as in `announce_sync`
    if not isinstance(loop, asyncio.AbstractEventLoop) or not loop.is_running():
        return asyncio.run(keys_of(runtime, again=again))
    _check_outside(loop)
    return asyncio.run_coroutine_threadsafe(keys_of(runtime, again=again), loop).result()


def is_idle(taken: AbstractSet[str]) -> bool | None:
    """Return whether a bridge resumed this run with answers, and no wait of it has taken one so far.

    Args:
        taken: What its waits have taken.

    Returns:
        `None`: so it is, and another process has asked for them, whose code may have been another. It proves nothing.

    Raises:
        NondeterministicNodeError: It has happened too often: this thread would ask, and pay, forever.
    """
    metadata = get_config().get("metadata", {})
    if not metadata.get("batch_bridge") or taken:
        return False
    if this_process() not in metadata.get("batch_bridge_by", (this_process(),)):
        return None
    if metadata.get("batch_bridge_strikes", 0) >= STRIKES:
        raise NondeterministicNodeError(
            "a thread builds other requests each time it is resumed, and takes none of its answers. The requests of a "
            "node must not depend on the time, on random numbers or on fresh ids: build the request "
            'in a node before this one, or name it: wait(item, batcher=…, key="…"). A subgraph that waits must not be '
            "compiled with checkpointer=False"
        )
    return True


async def announce(
    runtime: Runtime[Any],
    asks: Mapping[str, Sequence[str]],
    *,
    idle: bool | None,
    unclaimed: AbstractSet[str] = frozenset(),
) -> None:
    """Notify bridges that a task is about to park. The notification is durable when this returns.

    Args:
        runtime: The task's.
        asks: The ids of the requests that it waits for, by bridge.
        idle: What `is_idle` says.
        unclaimed: Answers that another process has asked for, and that no wait of the task asks for any more.

    Raises:
        NoStoreError: The deployment has no store.
        UnknownBatcherError, BridgeUnreachableError: As `wake`, or as `check_ticked`.
    """
    await _leave_notes(runtime, asks, idle=idle, unclaimed=unclaimed)
    if ticks_apart(runtime.server_info):
        return  # they look for notes by themselves
    for bridge in asks:
        await wake(bridge, user_of(runtime), _assistant(runtime), _store(runtime))


def announce_sync(
    runtime: Runtime[Any],
    asks: Mapping[str, Sequence[str]],
    *,
    idle: bool | None,
    unclaimed: AbstractSet[str] = frozenset(),
) -> None:
    """Do what `announce` does, in a node that is not async.

    The server runs such nodes in the few threads of its loop, and needs some of them itself to serve the wake-up. So
    only the first nodes wait until it is requested; the others know that this is under way, and that their notes are
    stored.
    """
    loop = getattr(_store(runtime), "_loop", None)  # not public; without it the work is done on a loop of its own
    if not isinstance(loop, asyncio.AbstractEventLoop) or not loop.is_running():
        asyncio.run(announce(runtime, asks, idle=idle, unclaimed=unclaimed))
        return
    _check_outside(loop)
    asyncio.run_coroutine_threadsafe(_leave_notes(runtime, asks, idle=idle, unclaimed=unclaimed), loop).result()
    if ticks_apart(runtime.server_info):
        return
    user = user_of(runtime)
    for bridge in asks:
        ringing = asyncio.run_coroutine_threadsafe(wake(bridge, user, _assistant(runtime), _store(runtime)), loop)
        if _waiting_threads.acquire(blocking=False):
            try:
                ringing.result()
            finally:
                _waiting_threads.release()
        else:
            ringing.add_done_callback(_note_failure)
            with contextlib.suppress(TimeoutError):
                ringing.result(_patience.left() if is_doubtful(bridge, user) else 0)


def _check_outside(loop: asyncio.AbstractEventLoop) -> None:
    if running_loop() is loop:
        raise OutsideGraphError(
            "wait_sync() was called in an async node, on the event loop of a LangGraph server, which it would block; "
            "use `await wait(…)` there, or call it from a synchronous node"
        )


async def _leave_notes(
    runtime: Runtime[Any], asks: Mapping[str, Sequence[str]], *, idle: bool | None, unclaimed: AbstractSet[str]
) -> None:
    user, thread = user_of(runtime), _thread(runtime)
    if ticks_apart(runtime.server_info):
        await check_ticked(_store(runtime), list(asks), user, thread)
    for bridge in asks:
        check_configured(bridge, access_of(bridge), user)
    first = next(iter(asks), None)  # they are counted once, although several bridges are notified
    notes = [
        note_row(bridge, thread, user, ids, idle=idle, unclaimed=unclaimed if bridge == first else ())
        for bridge, ids in asks.items()
    ]
    store = _store(runtime)
    await Patience("ledger", limit=_STORE_PATIENCE).call(lambda: store.abatch(notes))


def _note_failure(ringing: Future[None]) -> None:
    if not ringing.cancelled() and (error := ringing.exception()) is not None:
        told = _logged.said(error)
        logger.warning("a thread has parked, but its bridge could not be woken; its next tick will find it: %s", told)


def _thread(runtime: Runtime[Any]) -> str:
    return str(runtime.execution_info.thread_id) if runtime.execution_info else ""


def _assistant(runtime: Runtime[Any]) -> str:
    server = runtime.server_info
    return str(server.assistant_id or server.graph_id or "") if server is not None else ""


def _store(runtime: Runtime[Any]) -> Any:
    if runtime.store is None:
        raise NoStoreError(
            "wait() writes a note into the deployment's store before it parks, but this graph runs without a store; "
            "a LangGraph server gives every graph one: remove the setting that disables it"
        )
    return runtime.store
