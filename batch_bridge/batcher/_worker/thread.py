"""The thread of a Batcher's worker, and how others call it."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from batch_bridge._host.loop_thread import Ended, LoopThread, Main, Work

_GLANCE = 1.0
"""Seconds after which a caller that waits for the worker's thread checks whether it is alive."""

T = TypeVar("T")


class WorkerThread:
    """The thread on which a worker answers, with its event loop. In a forked process it does not exist.

    Args:
        place: Where the loop runs, which others may share.
        patience: Seconds that a caller waits for a function on the loop.

    Attributes:
        loop: Its event loop, as soon as that runs.
        opened: Set once the worker takes calls, and when it could not be opened.
        stop: Set on the loop when the worker is to end.
        is_closed: Nothing is handed in any more.
        process: The process that has it.
        work: What runs on it, once it is started.
    """

    def __init__(self, place: LoopThread, patience: float) -> None:
        self._place = place
        self._patience = patience
        self.loop: asyncio.AbstractEventLoop | None = None
        self.opened = threading.Event()
        self.stop = asyncio.Event()
        self.is_closed = False
        self.process = os.getpid()
        self.work: Work | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is a process that was forked off the one whose thread answers."""
        return os.getpid() != self.process

    @property
    def is_here(self) -> bool:
        """Whether this is the thread that answers."""
        return self.work is not None and self.work.is_here

    @property
    def is_alive(self) -> bool:
        """Whether it was started, and has not ended yet."""
        return self.work is not None and self.work.is_alive()

    @property
    def _can_call(self) -> bool:
        return self.loop is not None and not self.is_closed and not self.is_elsewhere and not self.is_here

    def start(self, main: Main, ended: Ended) -> None:
        """Run a worker on it; see `LoopThread.start`."""
        self.work = self._place.start(main, ended)

    def wait_opened(self) -> None:
        """Wait until the worker takes calls, or has ended."""
        if not self.is_elsewhere:
            self.opened.wait()

    def end_soon(self) -> None:
        """Have the worker end, without waiting for it."""
        self.is_closed = True
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                self.loop.call_soon_threadsafe(self.stop.set)

    def join(self, timeout: float | None) -> bool:
        """Wait until the worker has ended, so many seconds at most; return whether it has."""
        assert self.work is not None  # noqa: S101  # it is open
        self.work.join(timeout)
        return not self.work.is_alive()

    def on_loop(self, function: Callable[[], T]) -> T:
        """Call a function on the worker's own event loop, and return what it returns; what it raises passes."""
        self.wait_opened()
        if not self._can_call:
            return function()
        return self._call_there(function).result(self._patience)

    async def aon_loop(self, function: Callable[[], T]) -> T:
        """Do what `on_loop` does, without blocking."""
        if not self.opened.is_set() and not self.is_elsewhere:
            await asyncio.to_thread(self.opened.wait)
        if not self._can_call:
            return function()
        return await asyncio.wrap_future(self._call_there(function))

    def _call_there(self, function: Callable[[], T]) -> "concurrent.futures.Future[T]":
        async def call() -> T:
            return function()

        assert self.loop is not None  # noqa: S101  # `_can_call`
        return asyncio.run_coroutine_threadsafe(call(), self.loop)

    def ask(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """Run a coroutine on the loop, and return what it returns; `None` where the worker has ended meanwhile."""
        assert self.loop is not None  # noqa: S101  # it is open
        asked = work()
        try:
            asking = asyncio.run_coroutine_threadsafe(asked, self.loop)
        except RuntimeError:  # the loop has ended meanwhile
            asked.close()
            return None
        while not asking.done() and self.is_alive:
            concurrent.futures.wait((asking,), timeout=_GLANCE)
        return asking.result(0) if asking.done() and not asking.cancelled() else None
