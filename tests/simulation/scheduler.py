"""An event loop with a clock of its own and one seed: time costs nothing, and what runs next is drawn.

What is ready at the same moment because of the world (a timer that is due, an answer of the network) runs in an order
that the seed draws. What one callback has scheduled behind another keeps its order: asyncio promises that.
"""

import asyncio
import contextlib
import heapq
import itertools
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

from langgraph.checkpoint.base import id as langgraph_id

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)
process_of: ContextVar[Any] = ContextVar("simulated_process", default=None)
"""Which simulated process runs."""


class Hung(AssertionError):
    """Nothing runs and nothing is due, or it goes on for ever."""


class SimTask(asyncio.Task):
    """A task of a simulated process; its place in a set does not depend on where it is in memory."""

    _numbers = itertools.count()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.number = next(SimTask._numbers)
        self.process = process_of.get()
        super().__init__(*arguments, **named)
        if self.process is not None:
            self.process.tasks.add(self)

    def __hash__(self) -> int:
        return self.number

    @property
    def is_own_write(self) -> bool:
        """Whether it is nothing but a write of a checkpointer, as LangGraph begins them."""
        return getattr(self.get_coro(), "__name__", "") == "aput_writes"


class SimLoop(asyncio.BaseEventLoop):
    """See above.

    Args:
        seed: Draws the order.
        most: Steps after which a history hangs.
        longest: Seconds after which it does.
    """

    def __init__(self, seed: str, *, most: int = 150_000, longest: float = 90 * 86400.0) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._now = 0.0
        self._most = most
        self._longest = longest
        self.steps = 0
        self.frozen = 0
        """Processes that are paused: what they would do waits until they go on."""
        self.on_step: Callable[[int], None] | None = None
        self.set_task_factory(lambda loop, work, **named: SimTask(work, loop=loop, **named))

    def time(self) -> float:
        return self._now

    def wall(self) -> datetime:
        return BEGINNING + timedelta(seconds=self._now)

    def _run_once(self) -> None:
        """Run what is ready; asyncio calls this again until it is stopped."""
        ready, timers = self._ready, self._scheduled
        while True:
            while timers and timers[0]._cancelled:
                self._timer_cancelled_count -= 1
                heapq.heappop(timers)._scheduled = False
            if not ready:
                self._let_time_pass()
            self.steps += 1
            if self.steps > self._most:
                raise Hung(f"it still runs after {self._most} steps")
            if self.on_step is not None:
                self.on_step(self.steps)
            handle = ready.popleft()
            if not handle._cancelled:
                if self.frozen and (process := handle._context.get(process_of)) is not None and process.is_paused:
                    process.shelf.append(handle)
                else:
                    handle._run()
            if self._stopping:
                return

    def _let_time_pass(self) -> None:
        timers = self._scheduled
        if not timers:
            raise Hung("nothing runs, and nothing is due")
        self._now = max(self._now, timers[0]._when)
        if self._now > self._longest:
            raise Hung(f"it still runs after {self._longest} seconds")
        due = []
        while timers and timers[0]._when <= self._now:
            handle = heapq.heappop(timers)
            handle._scheduled = False
            due.append(handle)
        if len(due) > 1:
            self._random.shuffle(due)
        self._ready.extend(due)

    def thaw(self, handles: list[asyncio.Handle]) -> None:
        """Have a process go on with what it would have done meanwhile."""
        self._ready.extend(handles)

    def _process_events(self, event_list: Any) -> None:
        """There are none: everything is simulated."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Call it here and now; that it takes a thread costs one turn."""
        future = self.create_future()
        try:
            result = func(*args)
        except BaseException as error:
            self.call_soon(_settle, future, error, None)
        else:
            self.call_soon(_settle, future, None, result)
        return future


def _settle(future: asyncio.Future, error: BaseException | None, result: object) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


@contextlib.contextmanager
def seeded(loop: SimLoop, seed: str) -> Iterator[None]:
    """Let nothing that a history sees depend on chance: `time`'s clocks, random bytes, process and LangGraph's ids."""
    draws = random.Random(f"{seed} bytes")
    ticks = itertools.count(1)
    kept = (time.time, time.time_ns, time.monotonic, os.urandom, os.getpid, langgraph_id._last_v6_timestamp)
    state = random.getstate()
    start = BEGINNING.timestamp()

    def now() -> float:
        return start + loop.time() + next(ticks) * 1e-6  # no two looks at it are the same

    time.time, time.time_ns, time.monotonic = now, (lambda: int(now() * 1e9)), now
    os.urandom, os.getpid = draws.randbytes, lambda: getattr(process_of.get(), "pid", 1)
    random.seed(seed)
    langgraph_id._last_v6_timestamp = None
    SimTask._numbers = itertools.count()
    try:
        yield
    finally:
        time.time, time.time_ns, time.monotonic, os.urandom, os.getpid, langgraph_id._last_v6_timestamp = kept
        random.setstate(state)


assert uuid.os is os  # what `uuid4` asks for its bytes
