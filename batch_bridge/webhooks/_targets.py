"""The targets that a delivery wakes, and how."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from batch_bridge._status.wake import wake_owner
from batch_bridge.batcher import Batcher
from batch_bridge.bridge import Bridge
from batch_bridge.runner import Runner

Target: TypeAlias = "Runner[Any, Any] | Batcher[Any, Any] | Bridge | str | os.PathLike[str]"
"""A Runner or a Batcher of this process, a bridge of this LangGraph server, or the file of a Runner or a Batcher."""
Names: TypeAlias = Sequence[str] | None
"""The provider's ids of batches that have ended; `None`: too many to name."""
Wake: TypeAlias = Callable[[Names], Awaitable[None]]


def wake_of(target: Target) -> Wake:
    """Return what wakes a target; it may be called again at any time, for names that the target does not know too.

    Raises:
        TypeError: It is not a target.
    """
    if isinstance(target, Runner | Batcher):
        return partial(_wake_host, target)
    if isinstance(target, Bridge):
        return partial(_wake_served, target)
    if isinstance(target, str | os.PathLike):
        return partial(_wake_file, target)
    raise TypeError(
        f"webhooks.app({target!r}): pass a Runner, a Batcher, the Bridge of a LangGraph server, or the path of a file"
    )


async def _wake_host(host: "Runner[Any, Any] | Batcher[Any, Any]", names: Names) -> None:
    host.poll_now(*(names or ()))


async def _wake_served(bridge: Bridge, names: Names) -> None:
    """Start a run of the bridge's graph that hands the names on, and leaves no thread."""
    given: dict[str, Any] = {"wake": "webhook", "poll": "all" if names is None else list(names)}
    await bridge.access.client().runs.create(None, bridge.name, input=given, on_completion="delete")


async def _wake_file(path: str | os.PathLike[str], names: Names) -> None:
    await asyncio.to_thread(wake_owner, path, names)
