"""Keeps together the calls that a node makes together: an SDK may be slow to send one, and its siblings wait for it.

A task parks once no call has opened a wait for a moment. A call that has begun, and is still inside its SDK (which asks
a thread for the platform's name, or a server for a token), would miss that moment, and cost the task another round.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary

from langgraph.runtime import get_runtime

from batch_bridge._node.running_loop import is_on_loop, running_loop

_LONGEST: Final = 1.0
"""Seconds that a call waits for its siblings, at most."""
_PAUSE: Final = 0.001


class _SiblingBarrier:
    """The calls of one execution that have not reached their transport yet, and the calls that wait for them."""

    def __init__(self) -> None:
        self._coming = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether no call is on its way."""
        return self._coming == 0

    def add(self) -> None:
        """Count one more that is coming."""
        with self._lock:
            self._coming += 1

    def remove(self) -> None:
        """Count one less; the last lets all that wait go, in one turn of their event loop."""
        with self._lock:
            self._coming -= 1
            going = self._waiting if self.is_open else []
            if going:
                self._waiting = []
        for future in going:
            loop = future.get_loop()
            if loop is running_loop():
                _let_go(future)
            else:
                with suppress(RuntimeError):  # that loop has ended
                    loop.call_soon_threadsafe(_let_go, future)

    async def wait(self) -> None:
        """Return once no call is on its way, or after `_LONGEST`."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self.is_open:
                return
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.append(future)
        timer = loop.call_later(_LONGEST, _let_go, future)
        try:
            await future
        finally:
            timer.cancel()


class _Call:
    """One call, which counts as coming until it has come."""

    def __init__(self, barrier: _SiblingBarrier) -> None:
        self.barrier = barrier
        self._has_come = False
        barrier.add()

    def has_come(self) -> None:
        """Count as come. Idempotent."""
        if not self._has_come:
            self._has_come = True
            self.barrier.remove()


_barriers: WeakKeyDictionary[Any, dict[str, _SiblingBarrier]] = WeakKeyDictionary()
_barriers_lock = threading.Lock()
_call: ContextVar[_Call | None] = ContextVar("batch_bridge_call", default=None)


@contextmanager
def begin() -> Iterator[None]:
    """Announce a call of the node that runs here, from its beginning to its end; outside of nodes, do nothing."""
    try:
        runtime = get_runtime()
        info, run = runtime.execution_info, runtime.stream_writer
    except (RuntimeError, KeyError, AttributeError):
        info = None
    if info is None:
        yield
        return
    with _barriers_lock:
        barrier = _barriers.setdefault(run, {}).setdefault(info.checkpoint_ns, _SiblingBarrier())
    call = _Call(barrier)
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)
        call.has_come()


async def come() -> None:
    """Note that the call of this context has reached its transport, and wait for its siblings."""
    call = _call.get()
    if call is not None:
        call.has_come()
        await call.barrier.wait()


def come_sync() -> None:
    """Do what `come` does, blocking; on the thread of an event loop it does not wait."""
    call = _call.get()
    if call is None:
        return
    call.has_come()
    until = time.monotonic() + _LONGEST
    while not call.barrier.is_open and not is_on_loop() and time.monotonic() < until:
        time.sleep(_PAUSE)


def _let_go(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
