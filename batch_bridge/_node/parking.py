"""Parks a task until its waits are answered, and announces before that what it waits for."""

import asyncio
import time
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any

from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime, get_runtime

from batch_bridge._compat.langgraph import forget_answer, forget_answer_sync, has_answer
from batch_bridge._core.durations import Within
from batch_bridge._core.models import Outcome
from batch_bridge._node.execution import note_parked
from batch_bridge._node.link import Link, Named
from batch_bridge._node.opening import Asked, open_waits, waits_here
from batch_bridge._node.pending_waits import ParkedInterrupt, PendingWaits, taken_in
from batch_bridge._node.platform.announce import (
    announce,
    announce_sync,
    is_deployed,
    is_idle,
    keys_of,
    keys_of_sync,
)
from batch_bridge._node.quiet_loop import keep_quiet
from batch_bridge._node.running_loop import is_on_loop
from batch_bridge._node.step_limits import LINK

_QUIET = 2
"""Turns of the event loop in which no sibling opens a wait, before the task parks."""


def _run_id(runtime: Runtime[Any]) -> str:
    info = runtime.execution_info
    return str(info.run_id or "") if info is not None else ""


def consumed_here() -> set[str] | None:
    """Return the ids of the requests whose outcome a wait has returned or raised; `None` where no host reads them."""
    link: Link | None = get_config()["configurable"].get(LINK)
    if link is not None:
        return link.consumed
    runtime = get_runtime()
    return taken_in(_run_id(runtime)) if is_deployed(runtime) else None


async def open_or_park(
    items: Iterable[Any],
    batcher: str | Named | None,
    key: str | None,
    deadline: Within,
    label: str | None = None,
    *,
    is_priced: bool = False,
) -> tuple[PendingWaits, list[Asked]]:
    """Do what `open_waits` does; a task that has parked without these items ends when its other waits end."""
    try:
        return open_waits(items, batcher, key, deadline, label, is_priced=is_priced)
    except ParkedInterrupt:
        await _tell(waits_here())
        raise


def open_or_park_sync(
    items: Iterable[Any],
    batcher: str | Named | None,
    key: str | None,
    deadline: Within,
    label: str | None = None,
    *,
    is_priced: bool = False,
) -> tuple[PendingWaits, list[Asked]]:
    """Do what `open_or_park` does, in a node that is not async."""
    try:
        return open_waits(items, batcher, key, deadline, label, is_priced=is_priced)
    except ParkedInterrupt:
        _tell_sync(waits_here())
        raise


async def resolve(pending: PendingWaits, asked: Asked) -> tuple[str, Outcome]:
    """Return a request's id and outcome, or park the task."""
    request_id, outcome = pending.look_up(*asked)
    quiet = 0
    while outcome is None and quiet < _QUIET:  # siblings that start together open theirs
        version = pending.version
        await asyncio.sleep(0)
        quiet = quiet + 1 if pending.version == version else 0
        request_id, outcome = pending.look_up(*asked)
    while outcome is None:
        if pending.lacks_keys:
            pending.give_keys(await keys_of(get_runtime(), again=pending.lacks_new_keys))
            request_id, outcome = pending.look_up(*asked)
            continue
        try:
            pause = pending.advance()
        except GraphInterrupt:
            keep_quiet(asyncio.get_running_loop())
            await _tell(pending)
            note_parked()
            raise
        if pause:
            await asyncio.sleep(pause)
        request_id, outcome = pending.look_up(*asked)
    return request_id, outcome


def resolve_sync(pending: PendingWaits, asked: Asked) -> tuple[str, Outcome]:
    """Do what `resolve` does, in a node that is not async."""
    request_id, outcome = pending.look_up(*asked)
    while outcome is None:
        if pending.lacks_keys:
            pending.give_keys(keys_of_sync(get_runtime(), again=pending.lacks_new_keys))
            request_id, outcome = pending.look_up(*asked)
            continue
        try:
            pause = pending.advance()
        except GraphInterrupt:
            _tell_sync(pending)
            note_parked()
            raise
        if pause:
            time.sleep(pause)
        request_id, outcome = pending.look_up(*asked)
    return request_id, outcome


async def _tell(pending: PendingWaits) -> None:
    """Do what must be done before this task parks, once for all its waits: the first that raises ends the node.

    No later run may find the answer that this one was given, and the bridges of a LangGraph server are told.
    """
    if has_answer():
        async with pending.forgetting():
            if not pending.has_forgotten:
                await forget_answer()
                pending.has_forgotten = True
    if (telling := _to_tell(pending)) is not None:
        runtime, idle, told, mine = telling
        if mine:
            announcing = asyncio.ensure_future(
                announce(runtime, pending.asks, idle=idle, unclaimed=pending.unclaimed(foreign=True))
            )
            announcing.add_done_callback(partial(_copy, told))
        await asyncio.shield(asyncio.wrap_future(told))


def _tell_sync(pending: PendingWaits) -> None:
    if not is_on_loop():
        forget_answer_sync()
    if (telling := _to_tell(pending)) is not None:
        runtime, idle, told, mine = telling
        if mine:
            try:
                announce_sync(runtime, pending.asks, idle=idle, unclaimed=pending.unclaimed(foreign=True))
            except BaseException as error:
                told.set_exception(error)
                raise
            told.set_result(None)
        told.result()


def _to_tell(pending: PendingWaits) -> tuple[Runtime[Any], bool | None, Future[None], bool] | None:
    """Return what is announced on a server: by whom, whether nothing else runs, when it is done, and whether by us.

    A Runner is told here, and elsewhere there is no one to tell: `None`.
    """
    runtime, link = get_runtime(), get_config()["configurable"].get(LINK)
    if link is not None:
        _note_parked(link, runtime, pending)
        return None
    if not is_deployed(runtime):
        return None
    idle = is_idle(taken_in(_run_id(runtime)))
    return runtime, idle, *pending.tell()


def _note_parked(link: Link, runtime: Runtime[Any], pending: PendingWaits) -> None:
    info = runtime.execution_info
    namespace = info.checkpoint_ns if info is not None else ""
    link.parked.update({request_id: namespace for asked in pending.asks.values() for request_id in asked})


def _copy(told: Future[None], telling: "asyncio.Future[None]") -> None:
    if telling.cancelled():
        told.cancel()
    elif (error := telling.exception()) is not None:
        told.set_exception(error)
    else:
        told.set_result(None)
