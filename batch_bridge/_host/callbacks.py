"""Calls the user's callbacks in order, without blocking the run."""

import asyncio
import inspect
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias, TypedDict

from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of
from batch_bridge._engine import Engine
from batch_bridge._money import Cost
from batch_bridge.events import Event, Progress

logger = logger_of(__name__)

OnEvent: TypeAlias = Callable[[Event], Awaitable[object] | object]
OnProgress: TypeAlias = Callable[[Progress], Awaitable[object] | object]
OnItem: TypeAlias = Callable[..., Awaitable[object] | object]
"""Takes an index or item, and its result; one that has a parameter `cost` is given that too, by its name."""

_PATIENCE: Final = 10.0
"""Seconds that an end waits for callbacks that have not returned."""
_BREATH: Final = 50
"""Callbacks after which the event loop has its turn."""


_SIDE_BY_SIDE: Final = 1_000
"""Calls that are handed to the workers, and have not returned."""
_MOST: Final = 100_000
"""Calls that wait for a slow callback; beyond, the oldest are not made, and are counted."""


class CallbackOptions(TypedDict, total=False):
    """The keyword arguments of a host that make its `Callbacks`."""

    on_event: OnEvent | None
    on_progress: OnProgress | None
    on_item: OnItem | None
    on_complete: OnProgress | None
    callback_workers: int


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The user's callbacks, as they were given.

    Attributes:
        on_event: Called with each event.
        on_progress: Called with the newest `Progress` when that has changed; several changes may be one call.
        on_item: Called with each item's index (of a Batcher: the item), and its result or error; with `cost=` if it has
            such a parameter.
        on_complete: Called with the `Progress` when everything that was asked has ended.
        workers: Threads that they run in; `0` is on the event loop.
    """

    on_event: OnEvent | None = None
    on_progress: OnProgress | None = None
    on_item: OnItem | None = None
    on_complete: OnProgress | None = None
    workers: int = 0

    def check(self, what: str) -> None:
        """Refuse what cannot be called.

        Raises:
            TypeError: A callback is not callable, or the number of workers is invalid.
        """
        for name in ("on_event", "on_progress", "on_item", "on_complete"):
            given = getattr(self, name)
            if given is not None and not callable(given):
                raise TypeError(f"{what}({name}={given!r}) is not callable; pass a function, or None")
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 0:
            raise TypeError(f"{what}(callback_workers={self.workers!r}): pass a whole number from 0")

    def joined(self, bridge: "Callbacks", what: str) -> "Callbacks":
        """Return these, with the `on_event` of a bridge.

        Raises:
            TypeError: Both have one.
        """
        if bridge.on_event is None:
            return self
        if self.on_event is not None:
            raise TypeError(f"{what}(Bridge(on_event=…), on_event=…): give one of them")
        return replace(self, on_event=bridge.on_event, workers=self.workers or bridge.workers)

    @property
    def wants_item_cost(self) -> bool:
        """Whether `on_item` receives the cost of each item: it has a parameter `cost`."""
        if self.on_item is None:
            return False
        try:
            return "cost" in inspect.signature(self.on_item).parameters
        except (TypeError, ValueError):  # a function of C's that does not say
            return False

    @property
    def is_wanted(self) -> bool:
        """Whether any callback is set."""
        return any((self.on_event, self.on_progress, self.on_item, self.on_complete))


class Listeners:
    """Calls the user's callbacks from one event loop. What they raise is logged once for each, and goes no further.

    On the loop they are called one after the other, in order, between what the host does; a coroutine is awaited before
    the next call. In threads as many run side by side as there are workers, and their order is not promised.

    Args:
        callbacks: What is wanted.
        look: Returns how far the host is.

    Attributes:
        wants_item_cost: Whether `item` is to be given the cost.
    """

    def __init__(
        self, callbacks: Callbacks, look: Callable[[], Progress], *, most: int = _MOST, patience: float = _PATIENCE
    ) -> None:
        self._most = most
        self.patience = patience
        self._callbacks = callbacks
        self.wants_item_cost = callbacks.wants_item_cost
        self._look = look
        self._calls: deque[tuple[str, Callable[..., object], tuple[Any, ...]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(callbacks.workers, "batch_bridge callbacks") if callbacks.workers else None
        self._in_pool: set[asyncio.Future[None]] = set()
        self._dropped = 0
        self._is_progress_due = False
        self._told: Progress | None = None
        self._failed: set[str] = set()
        self._lock = threading.Lock()

    def tell(self, event: Event) -> None:
        """Report an event, and that something has changed."""
        if self._callbacks.on_event is not None:
            self._add("on_event", self._callbacks.on_event, (event,))
        self.changed()

    def item(self, what: object, result: object, cost: Cost | None = None) -> None:
        """Report what became of an item, and what it has cost if that is wanted, and that something has changed."""
        if (call := self._callbacks.on_item) is not None:
            self._add("on_item", partial(call, cost=cost) if self.wants_item_cost else call, (what, result))
        self.changed()

    def follow(self, engine: Engine) -> None:
        """Receive the events of an engine that has no other listener. Call it before the engine is opened."""
        engine.on_event = self.tell
        engine.tells_cost = self.hears_events
        engine.keeps_askers = self.wants_item_cost

    @property
    def hears_events(self) -> bool:
        """Whether a callback wants events."""
        return self._callbacks.on_event is not None

    def complete(self) -> None:
        """Report that all requests have ended."""
        self.changed()
        if self._callbacks.on_complete is not None:
            self._add("on_complete", self._callbacks.on_complete, (self._look(),))
            self._start()

    def changed(self) -> None:
        """Report the host's progress after all earlier callbacks have been called."""
        if self._callbacks.on_progress is not None and not self._is_progress_due:
            self._is_progress_due = True
            self._calls.append(("on_progress", self._tell_progress, ()))
        self._start()

    async def told(self) -> None:
        """Wait until all callbacks have been called; a callback that does not return is abandoned after a while."""
        try:
            async with asyncio.timeout(self.patience):
                while self._is_telling() or self._in_pool:
                    await asyncio.wait([*self._in_pool, *([self._task] if self._task else [])])
        except TimeoutError:
            left = len(self._calls) + len(self._in_pool)
            logger.warning("a callback has not returned for %d seconds; %d calls are not made", self.patience, left)
            self._calls.clear()
            self._is_progress_due = False
            self._in_pool.clear()
            if self._task is not None:
                self._task.cancel()

    async def close(self) -> None:
        """Do what `told` does, then end."""
        await self.told()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    # -- inside ----------------------------------------------------------------------------------------------

    def _add(self, name: str, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        while len(self._calls) + len(self._in_pool) >= self._most and self._calls:
            dropped, _, _ = self._calls.popleft()
            self._is_progress_due = self._is_progress_due and dropped != "on_progress"
            self._dropped += 1
            if not self._dropped & (self._dropped - 1):  # the 1st, 2nd, 4th, 8th… is logged
                logger.warning("callbacks are slower than the events; %d calls were dropped", self._dropped)
        self._calls.append((name, function, arguments))

    def _tell_progress(self) -> object:
        assert self._callbacks.on_progress is not None  # noqa: S101  # else it is never called
        self._is_progress_due = False
        progress = self._look()
        if progress == self._told:
            return None
        self._told = progress
        return self._callbacks.on_progress(progress)

    def _start(self) -> None:
        if self._calls and not self._is_telling():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="batch_bridge callbacks")

    def _is_telling(self) -> bool:
        if self._task is not None and self._task.get_loop() is not asyncio.get_running_loop():
            self._task = None  # a server may run each of its runs on a loop of its own, and that one is over
            self._in_pool.clear()
        return self._task is not None

    async def _run(self) -> None:
        calls = 0
        try:
            while self._calls:
                if self._pool is not None and len(self._in_pool) >= _SIDE_BY_SIDE:
                    await asyncio.wait(self._in_pool, return_when=asyncio.FIRST_COMPLETED)
                    continue
                name, function, arguments = self._calls.popleft()
                if self._pool is None:
                    await self._call(name, function, arguments)
                else:
                    self._hand_over(self._pool, name, function, arguments)
                calls += 1
                if calls % _BREATH == 0:
                    await asyncio.sleep(0)
        finally:
            self._task = None

    async def _call(self, name: str, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        try:
            returned = function(*arguments)
            if inspect.isawaitable(returned):
                await returned
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            self._note(name, error)  # the callback itself raised it: this task was not cancelled
        except Exception as error:  # noqa: BLE001  # the user's code, which must not harm the run
            self._note(name, error)

    def _hand_over(
        self, pool: ThreadPoolExecutor, name: str, function: Callable[..., object], arguments: tuple[Any, ...]
    ) -> None:
        if name == "on_progress":  # what it shows is read here, where it does not change meanwhile
            assert self._callbacks.on_progress is not None  # noqa: S101
            self._is_progress_due = False
            progress = self._look()
            if progress == self._told:
                return
            self._told = progress
            function, arguments = self._callbacks.on_progress, (progress,)
        handed = asyncio.get_running_loop().run_in_executor(pool, self._call_in_thread, name, function, arguments)
        self._in_pool.add(handed)
        handed.add_done_callback(self._in_pool.discard)

    def _call_in_thread(self, name: str, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        try:
            returned = function(*arguments)
            if inspect.isawaitable(returned):
                asyncio.run(_await(returned))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # as in `_call`
            self._note(name, error)

    def _note(self, name: str, error: BaseException) -> None:
        with self._lock:
            is_first = name not in self._failed
            self._failed.add(name)
        if not is_first:
            logger.debug("%s failed again", name, exc_info=_logged.trace(error))
            return
        logger.error("%s failed; this is logged once, and the run continues", name, exc_info=_logged.trace(error))


async def _await(returned: Awaitable[object]) -> None:
    await returned


def listen(callbacks: Callbacks, look: Callable[[], Progress]) -> Listeners | None:
    """Return the object that calls the callbacks; `None` if no callback is set, which saves its work."""
    return Listeners(callbacks, look) if callbacks.is_wanted else None
