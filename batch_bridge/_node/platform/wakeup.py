"""A wake-up: a delayed run of the bridge's graph, which a node that waits asks for before it parks.

One run serves all waits of a process in a linger window: a note that was left before the run starts is seen by it, and
the run starts no earlier than a linger after it was asked for. So a process rings once in a window, and each wait knows
that a tick comes after its note, whatever becomes of this process.
"""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from batch_bridge._core import clock as _clock
from batch_bridge._ledger.rows import Rows
from batch_bridge._node.platform.capabilities import check_search
from batch_bridge._node.platform.client import Access, access_of, is_introduced
from batch_bridge._node.platform.identity_check import how, vouch
from batch_bridge.errors import BridgeUnreachableError, UnknownBatcherError

_DENIED = (401, 403, 404, 409)
_MOST_COVERED = 1_000
"""Users whose windows are remembered; beyond, those that have passed are forgotten."""
_covered: dict[tuple[str, str], float] = {}
"""Until when, on the monotonic clock, a (bridge, user)'s notes are certain to be seen by a run that was asked for."""
_ringing: dict[tuple[int, str, str], asyncio.Task[None]] = {}
_bridges: set[str] = set()


async def wake(bridge: str, user: str, assistant: str = "", store: Rows | None = None) -> None:
    """See to it that a tick of the bridge starts after now. Costs a call of the server once in a linger window.

    Args:
        bridge: The graph's id.
        user: The user of the waiting run; empty where the deployment knows no users.
        assistant: What that run runs.
        store: The deployment's.

    Raises:
        UnknownBatcherError: The deployment has no such graph, or it is not a bridge.
        BridgeUnreachableError: The server does not let this user start the bridge's runs, or would resume the user's
            thread as another user.
    """
    entered = time.monotonic()
    access = access_of(bridge)
    caller = "" if access.service else user
    mine = False  # a ring that begins after we came is for us; one that we join may have begun before
    while not mine and entered >= _covered.get((bridge, caller), 0.0):
        place = (id(asyncio.get_running_loop()), bridge, caller)
        task = _ringing.get(place)
        if (
            task is None or task.done()
        ):  # one that has ended leaves its place a turn later, and waiting for it yields none
            mine = True
            task = _ringing[place] = asyncio.ensure_future(_ring(bridge, caller, user, assistant, store))
            task.add_done_callback(partial(_forget, place))
        await asyncio.shield(task)


def is_doubtful(bridge: str, user: str) -> bool:
    """Return whether a ring may be refused: it has not been let in before, and there is nothing that vouches for it."""
    caller = "" if access_of(bridge).service else user
    return (bridge, caller) not in _covered and not (is_introduced(bridge) and not caller)


def _forget(place: tuple[int, str, str], ended: asyncio.Task[None]) -> None:
    if _ringing.get(place) is ended:
        del _ringing[place]


async def _ring(bridge: str, caller: str, user: str, assistant: str, store: Rows | None) -> None:
    access = access_of(bridge)
    client = access.client()
    if bridge not in _bridges:
        await _check(client, bridge)
        await check_search(client, bridge)
        access = access_of(bridge)  # the look may have made the server build the bridge, which makes itself known then
        client = access.client()
    started = time.monotonic()
    try:
        if assistant:
            await vouch(bridge, access, user, assistant)
        thread = await access.thread_of(bridge, store)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_is_transient),
            wait=wait_exponential_jitter(0.2, 2),
            stop=stop_after_attempt(4),
            reraise=True,
        ):
            with attempt:
                started = time.monotonic()
                await start_tick(access, thread, bridge, "bell", after=access.linger)
    except APIStatusError as error:
        if error.status_code == 422:  # noqa: PLR2004
            raise _unknown(bridge, str(error)) from error
        if error.status_code in _DENIED:
            raise _denied(bridge, caller, error) from error
        raise _failed(bridge, error) from error
    except httpx.HTTPError as error:
        raise _failed(bridge, error) from error
    # Clocks may be set while we wait: a share of the window is left unused.
    _cover(bridge, caller, started + max(access.linger * 0.9, 0.001))


def _cover(bridge: str, caller: str, until: float) -> None:
    if len(_covered) >= _MOST_COVERED:
        now = time.monotonic()
        for place in [place for place, end in _covered.items() if end <= now]:
            del _covered[place]
    _covered[bridge, caller] = until


async def start_tick(
    access: Access, thread: str, bridge: str, wake: str, *, after: int, commands: Mapping[str, Any] | None = None
) -> None:
    """Ask for a run of the bridge's graph on its thread, `after` seconds from now.

    Args:
        access: How the server is reached.
        thread: The bridge's.
        bridge: The graph's id.
        wake: What it is for, shown in the thread's state: `bell` or `timer`.
        after: Seconds, at least 0.
        commands: What else its input says.
    """
    run = await access.client().runs.create(
        thread,
        bridge,
        input={"wake": wake, **(commands or {})},
        metadata={"batch_bridge": wake, "due": _clock.now().timestamp() + after},
        config={"recursion_limit": 10_000},
        multitask_strategy="enqueue",
        if_not_exists="create",
        after_seconds=after or None,
        durability="exit",
    )
    access.learn(run)


async def _check(client: LangGraphClient, bridge: str) -> None:
    """Look once whether a graph is a bridge: any other would be run with an input that it does not know."""
    try:
        assistants: Any = await client.assistants.search(graph_id=bridge, limit=1)
        schemas: Any = await client.assistants.get_schemas(assistants[0]["assistant_id"]) if assistants else None
    except APIStatusError as error:
        if error.status_code == 404 and "not found" in str(error).lower() and bridge in str(error):  # noqa: PLR2004
            raise _unknown(bridge, str(error)) from error
        return  # this user may not look; the run itself will fail then
    if schemas is None:
        return
    if "wake" not in str(schemas.get("input_schema")) or "undelivered" not in str(schemas.get("output_schema")):
        raise _unknown(bridge, "the graph of that id is not a bridge")
    _bridges.add(bridge)


def _unknown(bridge: str, said: str) -> UnknownBatcherError:
    return UnknownBatcherError(
        f"wait(…, batcher={bridge!r}): this deployment has no bridge of that name ({said}). On a LangGraph server a "
        'bridge is named by its graph id; add it to "graphs" in langgraph.json, or name an existing one'
    )


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, APIStatusError):
        return error.status_code == 429 or error.status_code >= 500  # noqa: PLR2004
    return isinstance(error, httpx.HTTPError)


def _failed(bridge: str, error: Exception) -> BridgeUnreachableError:
    return BridgeUnreachableError(
        f"wait(…, batcher={bridge!r}): the server could not start the bridge's run, four times in a row "
        f"({type(error).__name__}: {error}); run this thread again once it can"
    )


def _denied(bridge: str, caller: str, error: APIStatusError) -> BridgeUnreachableError:
    who = f"the user {caller!r}" if caller else "the caller"
    return BridgeUnreachableError(
        f"wait(…, batcher={bridge!r}): the server does not let {who} start the bridge's runs "
        f"(HTTP {error.status_code}). Where threads belong to users, the bridge needs an identity of its own. "
        f"{how(bridge)}"
    )
