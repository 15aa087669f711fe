"""The calls of one batch in this process, and the lane that they share with the other batches of an event loop."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from batch_bridge._core.closing import raise_first
from batch_bridge._core.models import Cancelled, Ended, Errored, InProgress, Outcome, Request, Usage
from batch_bridge.providers._realtime.level import Level, is_refusal
from batch_bridge.providers._realtime.retry import Repeats
from batch_bridge.providers._shared.results.reply import Reply, TryLater

INTERRUPTED: Final = (
    "the process that made this call ended, or lost the connection, before there was an answer; it may have been "
    "answered and billed all the same, so it was not sent again"
)
CANCELLED: Final = "the request was cancelled before it was sent; it was not billed, and can be sent again"
_LINGER: Final = 0.01
"""Seconds in which answers gather before they are reported together."""


class Lane:
    """What the batches of one event loop share: so many calls at a time, and a pause when the vendor asks for one.

    Attributes:
        jobs: The batches that have not been released, by id.
        open: Their requests that have no outcome yet.
    """

    def __init__(self, level: Level) -> None:
        self.jobs: dict[str, RealtimeBatch] = {}
        self.open = 0
        self._level = level
        self._shut_until = 0.0

    async def call(self, answer: Callable[[], Awaitable[Reply]], sleep: Callable[[float], Awaitable[None]]) -> Reply:
        """Make a call when there is a slot, and the vendor does not want to be left alone.

        A pause between two tries of one request holds no slot. A pause that was asked for holds all back: the next
        caller would be told the same.
        """
        async with self._level as level:
            while (left := self._shut_until - asyncio.get_running_loop().time()) > 0:
                await sleep(left)
            era = level.era
            try:
                reply = await answer()
            except TryLater as error:
                if (pause := level.refused(error, era)) is not None:
                    until = asyncio.get_running_loop().time() + pause
                    self._shut_until = max(self._shut_until, until)
                raise
            level.answered()
            return reply

    async def close(self) -> None:
        """End all calls."""
        closed = await asyncio.gather(*(job.close() for job in list(self.jobs.values())), return_exceptions=True)
        raise_first(each for each in closed if isinstance(each, BaseException))


class RealtimeBatch:
    """The requests of one batch, each of which ends with one outcome. Bound to the event loop that polls it first.

    Attributes:
        id: Its name in the handle.
    """

    def __init__(
        self,
        lane: Lane,
        requests: Sequence[Request],
        answer: Callable[[Request], Awaitable[Reply]],
        retry: Repeats,
    ) -> None:
        self.id = uuid.uuid4().hex
        self._requests = tuple(requests)
        self._total = len(requests)
        self._answer = answer
        self._retry = retry
        self._tasks: dict[asyncio.Task[Reply], Request] = {}
        self._on_its_way: set[str] = set()
        self._refused: set[str] = set()
        self._outcomes: list[tuple[str, Outcome]] = []
        self._told = 0
        self._usage: Usage | None = None
        self._news: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._is_started = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._enter(lane)

    @property
    def is_refused(self) -> bool:
        """Whether one of its calls was refused for want of capacity when it was made last."""
        return bool(self._refused)

    def poll(self, lane: Lane) -> InProgress | Ended:
        """Start the calls, unless they run already; return the new outcomes, or all of them at the end.

        Args:
            lane: That of the running loop. There are no news for another loop than the one that started the calls.
        """
        if not self._is_started:
            self._start(lane)
        if len(self._outcomes) == self._total:
            return Ended(self._all(), missing=_interrupted(), usage=self._usage)
        fresh = tuple(self._outcomes[self._told :])
        self._told += len(fresh)
        if lane is not self._lane:
            return InProgress(self._told, self._total, outcomes=fresh)
        self._news = asyncio.get_running_loop().create_future()
        return InProgress(self._told, self._total, outcomes=fresh, news=self._news)

    def cancel(self) -> None:
        """Make no more calls, and let those on their way finish. Idempotent."""
        if not self._is_started:
            self._is_started = True
            for request in self._requests:
                self._end(request, Reply(Cancelled(CANCELLED)))
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel_unsent)  # it may be another one than the running loop

    async def close(self) -> None:
        """End the calls, and leave the lane. Idempotent."""
        if self._lane.jobs.pop(self.id, None) is None:
            return
        self._lane.open -= self._total - len(self._outcomes)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if self._alarm is not None:
            self._alarm.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _enter(self, lane: Lane) -> None:
        self._lane = lane
        lane.jobs[self.id] = self
        lane.open += self._total

    def _cancel_unsent(self) -> None:
        for task, request in self._tasks.items():
            if request.id not in self._on_its_way:
                task.cancel()

    def _start(self, lane: Lane) -> None:
        self._is_started = True
        if lane is not self._lane:
            del self._lane.jobs[self.id]
            self._lane.open -= self._total
            self._enter(lane)
        self._loop = loop = asyncio.get_running_loop()
        for request in self._requests:
            task = loop.create_task(self._run(request))
            self._tasks[task] = request
            task.add_done_callback(self._ended)
        self._requests = ()

    async def _run(self, request: Request) -> Reply:
        async def call() -> Reply:
            return await self._lane.call(lambda: self._call(request), self._retry.sleep)

        return await self._retry(call)

    async def _call(self, request: Request) -> Reply:
        self._on_its_way.add(request.id)
        try:
            return await self._answer(request)
        except TryLater as error:
            self._on_its_way.discard(request.id)
            if is_refusal(error):
                self._refused.add(request.id)
            raise

    def _ended(self, task: asyncio.Task[Reply]) -> None:
        request = self._tasks.pop(task)
        if task.cancelled():
            sent = request.id in self._on_its_way
            reply = Reply(_interrupted() if sent else Cancelled(CANCELLED))
        elif (error := task.exception()) is not None:  # a bug in the vendor's function fails its own request
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            reply = Reply(Errored(said, code="realtime_failed"))
        else:
            reply = task.result()
        self._end(request, reply)

    def _end(self, request: Request, reply: Reply) -> None:
        self._on_its_way.discard(request.id)
        self._refused.discard(request.id)
        self._outcomes.append((request.id, reply.outcome))
        if reply.usage is not None:
            self._usage = _sum(self._usage, reply.usage)
        if self.id not in self._lane.jobs:
            return
        self._lane.open -= 1
        if len(self._outcomes) == self._total:
            self._tell()
        elif self._alarm is None and self._news is not None:
            self._alarm = asyncio.get_running_loop().call_later(_LINGER, self._tell)

    def _tell(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _all(self) -> AsyncIterator[tuple[str, Outcome]]:
        for pair in self._outcomes:
            yield pair


def _interrupted() -> Errored:
    return Errored(INTERRUPTED, code="realtime_interrupted", retryable=True)


def _sum(before: Usage | None, more: Usage) -> Usage:
    if before is None:
        return more
    return Usage(
        before.model,
        before.input_tokens + more.input_tokens,
        before.output_tokens + more.output_tokens,
        before.cached_tokens + more.cached_tokens,
        before.realtime,
    )
