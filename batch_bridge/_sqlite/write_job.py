"""One write that waits for its group."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from batch_bridge._sqlite.insertion import Insert, Row

Call = Callable[[sqlite3.Connection], Any]


class PendingWrite:
    """A caller that waits, on an event loop or in a thread of its own.

    Attributes:
        loop: The caller's event loop; `None` for a caller that blocks.
        future: Resolved on the caller's loop, or by the writer thread for a caller that blocks.
        value: What the future will return.
        error: What the future will raise, if anything.
    """

    __slots__ = ("error", "future", "loop", "value")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self.future: asyncio.Future[Any] | Future[Any] = Future() if loop is None else loop.create_future()
        self.value: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Hand the result to the caller, unless it has gone away meanwhile."""
        future = self.future
        if future.done():
            return
        if self.error is None:
            future.set_result(self.value)
        else:
            future.set_exception(self.error)


class WriteJob(PendingWrite):
    """One write, and its caller.

    Attributes:
        work: What to do: rows to insert, or a function of the writer's connection. The function may be run
            more than once, and must do nothing but work on the connection.
        rows: The rows, where `work` is an `Insert`.
    """

    __slots__ = ("rows", "work")

    def __init__(self, work: Insert | Call, rows: Sequence[Row], loop: asyncio.AbstractEventLoop | None) -> None:
        super().__init__(loop)
        self.work = work
        self.rows = rows


def settle(pending_writes: Iterable[PendingWrite]) -> None:
    """Wake the callers, with one call into each event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[PendingWrite]] = {}
    for pending in pending_writes:
        if pending.loop is None:
            pending.settle()
        else:
            loops.setdefault(pending.loop, []).append(pending)
    for loop, members in loops.items():
        try:
            loop.call_soon_threadsafe(_settle_here, members)
        except RuntimeError:
            if not loop.is_closed():  # no caller waits on a closed loop
                raise


def _settle_here(pending_writes: list[PendingWrite]) -> None:
    for pending in pending_writes:
        pending.settle()
