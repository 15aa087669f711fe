"""Records which bridges tick outside of runs, as on Aegra: processes that may tick write so in the store.

A row for each bridge, below `("batch_bridge", "tickers")`, rewritten every half minute::

    bridge -> at     seconds since 1970
              acts   whether the bridge has an identity that can resume threads of users
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from langgraph.store.base import PutOp, SearchOp

from batch_bridge._core import clock as _clock
from batch_bridge._core.payload.interrupt_payload import is_uuid
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._ledger.rows import Rows
from batch_bridge.errors import BridgeUnreachableError, UnknownBatcherError

logger = logger_of(__name__)

SAID_EVERY: Final = 30.0
"""Seconds between two signs of life of a process that may tick."""
_QUIET: Final = 120.0
"""Seconds without a sign of life after which a warning says that no process ticks."""
_PATIENCE: Final = 10.0
"""Seconds that the first wait of a process gives them to begin: they may start together."""
_LOOK: Final = 0.5
_GOOD_FOR: Final = 60.0
"""Seconds for which what was found counts."""
_NAMESPACE: Final = ("batch_bridge", "tickers")
_found: dict[tuple[str, bool], float] = {}
"""Until when, on the monotonic clock, a (bridge, whether for users) need not be looked up."""


async def say_ticks(store: Rows, bridge: str, *, acts: bool) -> None:
    """Record that a process ticks for a bridge, or will when it is its turn.

    Args:
        store: The deployment's.
        bridge: Its name.
        acts: Whether it can resume threads of users.
    """
    value = {"at": _clock.now().timestamp(), "acts": acts}
    await store.abatch([PutOp(_NAMESPACE, bridge, value, index=False)])


def ticks_apart(server: object) -> bool:
    """Return whether a server is one on which bridges are ticked for outside of runs: it names no graph of a run."""
    return server is not None and not getattr(server, "graph_id", None)


async def check_ticked(
    store: Rows,
    bridges: Sequence[str],
    user: str,
    thread: str,
    *,
    patience: float = _PATIENCE,
    look: float = _LOOK,
    quiet_after: float = _QUIET,
) -> None:
    """Check that what a thread is about to wait for will come. Costs one read a minute and process.

    Args:
        store: The deployment's.
        bridges: What it waits for.
        user: Its user; empty where the deployment knows no users.
        thread: Its id.
        patience: Seconds within which something is said of a bridge.
        look: Seconds between two looks.
        quiet_after: Seconds of silence that are warned of.

    Raises:
        UnknownBatcherError: No process ticks for a bridge of that name.
        BridgeUnreachableError: Who ticks for it cannot resume a thread of this user, or one of such an id.
    """
    if not is_uuid(thread):
        raise BridgeUnreachableError(
            f"wait(…) in thread {thread!r}: a bridge serves threads whose ids are UUIDs. Leave thread_id= out, or give "
            "str(uuid4())"
        )
    for bridge in bridges:
        if time.monotonic() < _found.get((bridge, bool(user)), 0.0):
            continue
        told = await _look(store, bridge, patience, look)
        if user and not told.get("acts"):
            raise BridgeUnreachableError(
                f"wait(…, batcher={bridge!r}): threads belong to users on this server, which hides them from everyone "
                f"else, and the bridge has no identity that could resume a thread of {user!r}. {how(bridge)}"
            )
        quiet = _clock.now().timestamp() - float(told.get("at") or 0.0)
        if quiet > quiet_after:
            logger.warning(
                "%s: no process has said for %d s that it ticks for this bridge; its threads wait until one does",
                bridge,
                quiet,
                extra=about(bridge=bridge),
            )
        _found[bridge, bool(user)] = time.monotonic() + _GOOD_FOR


async def _look(store: Rows, bridge: str, patience: float, look: float) -> dict[str, Any]:
    """Return what is said of a bridge, once something is."""
    until = time.monotonic() + patience
    while True:
        (rows,) = await store.abatch([SearchOp(_NAMESPACE, limit=1000)])
        said: dict[str, dict[str, Any]] = {row.key: row.value for row in rows if tuple(row.namespace) == _NAMESPACE}
        if bridge in said:
            return said[bridge]
        if time.monotonic() > until:
            known = ", ".join(sorted(map(repr, said))) or "none"
            raise UnknownBatcherError(
                f"wait(…, batcher={bridge!r}): no process ticks for a bridge of that name on this server (known: "
                f"{known}), so its answer would never come; nothing was sent. A server that does not say which graph "
                f"runs, as Aegra, needs FastAPI(lifespan=bridge.lifespan()) as its http.app, or a process of its own: "
                "batch-bridge tick app:bridge. See docs/aegra.md"
            )
        await asyncio.sleep(look)


def how(bridge: str) -> str:
    """Return what to configure where threads belong to users."""
    return (
        f"Configure Bridge(…, name={bridge!r}, client=lambda user: get_client(url=…, headers=…)), with the token of a "
        "service that your auth handler lets act for that user. See docs/aegra.md"
    )
