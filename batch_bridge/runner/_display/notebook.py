"""The progress of a call in a notebook: one output that is replaced, and whose last state stays in the file."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any, Final

from batch_bridge.events import Progress
from batch_bridge.runner._run import Run
from batch_bridge.runner._session.session import Session

_INTERVAL: Final = 0.5
"""Seconds between two looks; only a change is shown."""


def in_notebook() -> bool:
    """Return whether this code runs in a kernel whose front end shows HTML. IPython is not imported for that."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


@contextlib.asynccontextmanager
async def notebook_bar(session: Session, call: Run, total: int | None) -> AsyncIterator[None]:
    """Show a call's `Progress` while the block runs, and its last state after it."""
    display: Any = import_module("IPython.display").display

    def look() -> Progress:
        return Progress(
            call.done,
            total,
            session.traffic.queued,
            session.traffic.in_flight,
            session.traffic.batches,
            call.ended_before,
            session.traffic.in_batches,
        )

    seen = look()
    shown = display(seen, display_id=True)

    def show() -> None:
        nonlocal seen
        if (now := look()) != seen:
            seen = now
            shown.update(now)

    async def keep_showing() -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            show()

    showing = asyncio.get_running_loop().create_task(keep_showing())
    try:
        yield
    finally:
        showing.cancel()
        show()
