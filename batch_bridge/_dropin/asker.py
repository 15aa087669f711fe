"""The seam of the drop-in clients: it sends one request to a bridge in a node, and to a `Batcher` elsewhere."""

import asyncio
import sys
import threading
import weakref
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from batch_bridge._core.durations import Within
from batch_bridge._core.json.json_values import Written
from batch_bridge._core.models import Outcome
from batch_bridge._core.wording.log import logger_of
from batch_bridge._node import wait as _wait
from batch_bridge._node.link import Named
from batch_bridge._node.running_loop import is_on_loop
from batch_bridge.batcher import Batcher
from batch_bridge.errors import OutsideGraphError
from batch_bridge.runner._session import session as _session

logger = logger_of(__name__)
_has_warned = threading.Event()


class Asker:
    """Asks one request at a time, from any thread and any event loop, in a graph's node or outside of graphs.

    - In a node or task of a LangGraph graph it waits for the bridge that `batcher` names: the thread parks.
    - Elsewhere it asks a shared `Batcher`, made by `make` for the first such request. Its flush policy should have a
      `max_idle`: no code calls `flush`.
    - A `Batcher` given as `batcher` is asked always, in nodes too, and stays the caller's to close.

    Each wrapped model or client owns one Asker; the shared Batcher ends with it (see `close`).

    Args:
        batcher: A bridge's name, a `Bridge`, or a `Batcher`; `None` as for `wait`.
        make: Makes the shared Batcher; called once, on the thread of the first request.
        deadline: How long each answer may take; `None` leaves that to who answers.
        is_priced: Answers are to tell what was paid for them, where that is known.
    """

    def __init__(
        self,
        batcher: str | Named | Batcher | None,
        make: Callable[[], Batcher],
        deadline: Within = None,
        *,
        is_priced: bool = False,
    ) -> None:
        self._is_priced = is_priced
        self._batcher = batcher
        self._make = make
        self._deadline = deadline
        self._shared: Batcher | None = None
        self._end: weakref.finalize[[], Asker] | None = None
        self._asking = 0
        self._openings: dict[asyncio.AbstractEventLoop, _Opening] = {}
        self._lock = threading.Lock()

    def waits(self) -> bool:
        """Return whether a request asked here and now would park a thread of a graph."""
        return not isinstance(self._batcher, Batcher) and _wait.in_node()

    @property
    def is_open(self) -> bool:
        """Whether there is a shared Batcher now."""
        return self._shared is not None

    async def ask(self, item: Any, *, key: str | None = None) -> tuple[str, Outcome]:
        """Return the request's id and its outcome, whatever it is. LangChain messages in the answer are left as JSON.

        Args:
            item: As for `wait`, or a `Written` one.
            key: As for `wait`; without meaning outside of nodes.

        Raises:
            JSONError: The item holds something that JSON cannot carry.
            UnknownBatcherError, NoCheckpointerError, NondeterministicNodeError: As `wait`.
            GraphInterrupt: LangGraph's way to park. Let it pass.
        """
        batcher = self._batcher
        if not isinstance(batcher, Batcher):
            if _wait.in_node():
                item = item.read() if isinstance(item, Written) else item
                return await _wait.wait_outcome(
                    item, batcher=batcher, key=key, deadline=self._deadline, is_priced=self._is_priced
                )
            _note_thread()
            if self._shared is None:
                await self._open_aside()
            shared = self._taken()
            try:
                return await shared.aoutcome(item, deadline=self._deadline, is_priced=self._is_priced)
            finally:
                self._put_back()
        return await batcher.aoutcome(item, deadline=self._deadline, is_priced=self._is_priced)

    def ask_sync(self, item: Any, *, key: str | None = None) -> tuple[str, Outcome]:
        """Do what `ask` does, blocking. In an async node it parks the thread as `ask` does.

        Raises:
            As `ask`, and
            OutsideGraphError: Outside of nodes, an event loop runs on this thread, and would stand still until the
                batch has ended.
        """
        batcher = self._batcher
        if not isinstance(batcher, Batcher):
            if _wait.in_node():
                item = item.read() if isinstance(item, Written) else item
                return _wait.wait_outcome_sync(
                    item, batcher=batcher, key=key, deadline=self._deadline, is_priced=self._is_priced
                )
            _note_thread()
            shared = self._taken()
            try:
                _check_thread()
                return shared.outcome(item, deadline=self._deadline, is_priced=self._is_priced)
            finally:
                self._put_back()
        _check_thread()
        return batcher.outcome(item, deadline=self._deadline, is_priced=self._is_priced)

    def close(self) -> None:
        """End the shared Batcher, if there is one. Idempotent.

        Callers that still wait get `BatcherClosedError`; without a waiting caller, queued requests are sent first. With
        a file its answers are forgotten, as `Batcher.close` does, if all were delivered and no exception is under way.
        """
        self._close(is_well=sys.exc_info()[1] is None)

    def _close(self, *, is_well: bool) -> None:
        with self._lock:
            shared, self._shared = self._shared, None
            if self._end is not None:
                self._end.detach()
        if shared is not None:
            shared.close(wait=shared.sends_all or (is_well and shared.is_idle))

    async def aclose(self) -> None:
        """Do what `close` does, without blocking."""
        await asyncio.to_thread(self._close, is_well=sys.exc_info()[1] is None)

    def end_if_idle(self) -> bool:
        """End the shared Batcher if no caller waits for it, without blocking; the next request opens another one.

        Returns:
            Whether there is no shared Batcher now.
        """
        if not self._lock.acquire(blocking=False):  # it is being opened, or used
            return False
        try:
            if self._shared is not None:
                if self._asking:
                    return False
                if self._end is not None:
                    self._end()  # ends the Batcher
                self._shared = None
            return True
        finally:
            self._lock.release()

    async def _open_aside(self) -> None:
        """Open the shared Batcher in a thread: it opens a file, and starts a thread.

        Callers on one event loop share that, and continue in the order in which they came.
        """
        loop = asyncio.get_running_loop()
        opening = self._openings.get(loop)
        if opening is None:
            opening = self._openings[loop] = _Opening(loop.create_task(asyncio.to_thread(self._open)))
            opening.task.add_done_callback(lambda _: self._openings.pop(loop, None))
        await opening.wait()

    def _open(self) -> None:
        with self._lock:
            self._opened()

    def _opened(self) -> Batcher:
        """Return the shared Batcher, or make it. The caller holds the lock."""
        if self._shared is None:
            self._shared = self._make()
            self._end = weakref.finalize(self, self._shared.end_soon)
            self._end.atexit = False
        return self._shared

    def _taken(self) -> Batcher:
        """Return the shared Batcher for one request; it is not ended as idle until `_put_back` is called."""
        with self._lock:
            shared = self._opened()
            self._asking += 1
        return shared

    def _put_back(self) -> None:
        with self._lock:
            self._asking -= 1


class _Opening:
    """Waits for a task in many others; one that is cancelled leaves it alone, and costs less than with a shield.

    Args:
        task: What is waited for.
    """

    def __init__(self, task: "asyncio.Task[None]") -> None:
        self.task = task
        self._is_over = asyncio.Event()
        task.add_done_callback(lambda _: self._is_over.set())

    async def wait(self) -> None:
        """Return once it has ended; what it raises is raised."""
        await self._is_over.wait()
        self.task.result()


def check_batcher(batcher: object, *, what: str) -> None:
    """Refuse what is neither a bridge's name, nor a bridge, nor a Batcher.

    Raises:
        TypeError, ValueError: It is not one of these.
    """
    if batcher is None:
        return
    name = batcher if isinstance(batcher, str | Batcher) else getattr(batcher, "name", None)
    if not isinstance(name, str | Batcher):
        raise TypeError(f"{what}(batcher={batcher!r}): pass a bridge's name, a Bridge, or a Batcher")
    if not name and isinstance(name, str):
        raise ValueError(f"{what}(batcher={batcher!r}) is empty; pass the name of a bridge, such as 'bridge'")


def _note_thread() -> None:
    """Warn, once in a process, of what may be a node's own thread, which does not know its node."""
    if _has_warned.is_set() or threading.current_thread() is threading.main_thread() or len(copy_context()):
        return
    if _session.is_any_open() or "langgraph_api" in sys.modules:
        _has_warned.set()
        logger.warning(
            "a batched call was made in a thread without a node's context, while graphs run in this process: it goes "
            "to its own Batcher and parks nothing. If a node started the thread, pass its context on: "
            "asyncio.to_thread, or executor.submit(contextvars.copy_context().run, function). This is logged once"
        )


def _check_thread() -> None:
    if is_on_loop():
        raise OutsideGraphError(
            "a synchronous call was made on a thread that runs an event loop, which would stand still until "
            "the batch has ended; use the asynchronous client, or asyncio.to_thread"
        )
