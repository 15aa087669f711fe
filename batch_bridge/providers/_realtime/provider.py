"""A provider that answers each request at once, by a call of its own: the twin of a batch provider."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, Literal, Protocol
from weakref import WeakKeyDictionary

from batch_bridge._core.closing import close_all
from batch_bridge._core.models import JSON, Ended, Errored, InProgress, Limits, Measure, Request
from batch_bridge._core.outcomes import nothing
from batch_bridge._core.policy.lanes import LANE, REALTIME
from batch_bridge._core.provider import Provider, has_realtime
from batch_bridge._money import Ask
from batch_bridge.errors import ProviderUnavailable
from batch_bridge.providers._realtime.job import INTERRUPTED, Lane, RealtimeBatch
from batch_bridge.providers._realtime.level import FindingLevel, FixedLevel, Level
from batch_bridge.providers._realtime.retry import Queueing, Repeats, Retry
from batch_bridge.providers._shared.results.reply import Reply, TryLater

__all__ = ["ATTEMPTS", "CONCURRENCY", "Realtime", "Reply", "TryLater", "is_realtime"]

CONCURRENCY: Final = 64
"""Calls at the same time, unless it is said otherwise; as many as threads that a Runner runs at the same time."""
ATTEMPTS: Final = 8
"""Tries of one request; the pauses between them are about a minute together."""
_AHEAD: Final = 2
"""Requests taken in for each call at a time, so that none of them waits for a write to the ledger."""
PATIENCE: Final = timedelta(hours=24)
"""How long a call of the flex tier is refused for want of capacity before its request fails."""
FLEX_TIMEOUT: Final = timedelta(minutes=15)
"""How long the answer to one call of the flex tier may take.

Source: developers.openai.com/api/docs/guides/flex-processing, "API request timeouts".
"""


class Caller(Protocol):
    """A vendor's ordinary endpoints."""

    async def answer(self, request: Request) -> Reply:
        """Make the call of a request, once.

        Raises:
            TryLater: It was not sent, or was refused for now (408, 409, 429, 5xx).
            RequestRefused: It is no request.
        """
        ...

    async def aclose(self) -> None:
        """Give back the connections of the running loop."""
        ...


class Realtime:
    """Answers each request by a call of its own, so many at a time, from tasks inside this process.

    A vendor writes one function, `answer`. What it raises or returns decides, as in a batch, what becomes of this
    request alone: `TryLater` is tried again, after a growing pause that is at least the one that was asked for; a
    reply's outcome stands, and so does any other exception, as an `Errored`.

    How the verbs map: `submit` takes the requests in and pays for nothing. The first `poll`, by when the batch is
    confirmed in the ledger, starts the calls; so a batch that was not confirmed has cost nothing, and `find` never
    finds one. Later polls tell the outcomes as they come. The calls of a process that has died cannot be found again:
    what they were to answer, and is not in the ledger, ends as a retryable `Errored` with the code
    `realtime_interrupted`, because a second call might be a second payment. `room` keeps what is taken in small, and
    so what a crash can leave in doubt.

    Calls and connections belong to the event loop that polls first; `aclose` ends those of the running loop. Another
    loop may continue polling, without news.

    Args:
        answer: Answers one request by one call, which is not repeated below.
        measure: As `Provider.measure`; the batch twin's.
        close: Gives back the connections of the running loop.
        limits: What one batch may hold; the batch twin's, so that both refuse the same requests.
        batch: The batch twin, which a bridge asks for batches that were sent before it was in realtime mode, and for
            what decides a request's answer (`identity`), so that both modes share a cache.
        concurrency: Calls at the same time, in one event loop.
        attempts: Tries of one request.
        sleep: Waits for so many seconds.
        tier: `"realtime"`, or `"flex"`: then `concurrency` is the most calls at a time, of which there are as many as
            the vendor has room for, and a refusal for want of room is no attempt.
        patience: How long a request of the flex tier is refused in all.

    Raises:
        ValueError: `concurrency` or `attempts` is no whole number from 1.
    """

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Reply]],
        *,
        measure: Callable[[Request], Measure],
        close: Callable[[], Awaitable[None]],
        limits: Limits = Limits(),  # noqa: B008  # frozen
        batch: Provider | None = None,
        concurrency: int = CONCURRENCY,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tier: Literal["realtime", "flex"] = "realtime",
        patience: timedelta = PATIENCE,
    ) -> None:
        for name, value in (("concurrency", concurrency), ("attempts", attempts)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{tier}({name}={value!r}) would call nothing; pass a whole number from 1")
        self.limits = limits
        self.measure = measure
        self.batch = batch
        self.identity: Callable[[Request], bytes] | None = getattr(batch, "identity", None)
        self.vendor: str | None = getattr(batch, "vendor", None)
        if (ask := getattr(batch, "ask", None)) is not None:
            self.ask: Callable[[Request], Ask] = ask
        self._answer = answer
        self._close = close
        self._concurrency = concurrency
        self.way = tier
        is_flex = tier == "flex"
        self._retry: Repeats = Queueing(attempts, patience, sleep) if is_flex else Retry(attempts, sleep)
        self._lanes: WeakKeyDictionary[asyncio.AbstractEventLoop, Lane] = WeakKeyDictionary()

    @classmethod
    def of(
        cls,
        batch: Provider,
        caller: Caller,
        *,
        concurrency: int,
        attempts: int,
        tier: Literal["realtime", "flex"] = "realtime",
        measure: Callable[[Request], Measure] | None = None,
    ) -> "Realtime":
        """Return the twin of a batch provider.

        Args:
            batch: Whose requests these are.
            caller: Answers them.
            concurrency: As above.
            attempts: As above.
            tier: As above.
            measure: As above, where the tier refuses more than a batch.
        """
        return cls(
            caller.answer,
            measure=measure or batch.measure,
            close=caller.aclose,
            limits=Limits(bytes=batch.limits.bytes),
            batch=batch,
            concurrency=concurrency,
            attempts=attempts,
            tier=tier,
        )

    def __repr__(self) -> str:
        answers = getattr(self._answer, "__qualname__", self._answer)
        return f"{self.way.title()}({answers}, concurrency={self._concurrency})"

    @property
    def room(self) -> int:
        """How many requests are taken now; asked in the event loop that sends them.

        It does not follow the places of a full tier: a few requests that are always refused would keep out all others.
        """
        return self._concurrency * _AHEAD - self._lane().open

    def realtime(self) -> Provider:
        """Return the provider that answers in realtime: itself, except in the flex tier."""
        if self.way == "flex" and self.batch is not None and has_realtime(self.batch):
            return self.batch.realtime()
        return self

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:  # noqa: ARG002
        """Nothing to prepare."""
        return {REALTIME: key, **self._named()}

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:  # noqa: ARG002
        """Take the requests in. Nothing is sent before the first `poll`."""
        job = RealtimeBatch(self._lane(), requests, self._answer, self._retry)
        return {REALTIME: job.id, **self._named()}

    async def poll(self, handle: JSON, requests: Sequence[str]) -> InProgress | Ended:  # noqa: ARG002
        """Start the calls, or return their state; calls of another process are lost.

        Raises:
            ProviderUnavailable: It is no batch of a `Realtime`.
        """
        if not is_realtime(handle):
            raise ProviderUnavailable(
                f"{handle!r} was sent through a batch API, but this bridge answers only in realtime; pass it the "
                'provider that sent it, optionally with mode="realtime"'
            )
        job = self._job(handle)
        if job is None:
            return Ended(nothing(), missing=Errored(INTERRUPTED, code="realtime_interrupted", retryable=True))
        return job.poll(self._lane())

    def refuses(self, handle: JSON) -> bool:
        """Return whether a call of the batch was refused for want of capacity, and has no answer yet."""
        job = self._job(handle)
        return job is not None and job.is_refused

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:  # noqa: ARG002
        """Nothing is sent before it is confirmed, so there is nothing to be found."""
        return []

    async def fence(self, prepared: JSON) -> None:
        """Nothing is on its way."""

    async def cancel(self, handle: JSON) -> None:
        """Make no more calls for the batch; those on their way are let finish, since they are paid for."""
        if (job := self._job(handle)) is not None:
            job.cancel()

    async def release(self, handle: JSON) -> None:
        """Release what is remembered of the batch."""
        if (job := self._job(handle)) is not None:
            await job.close()

    async def aclose(self) -> None:
        """End the calls of the running loop, and give back its connections."""
        lane = self._lanes.pop(asyncio.get_running_loop(), None)
        await close_all((self._close,) if lane is None else (lane.close, self._close))

    def _named(self) -> dict[str, JSON]:
        return {} if self.way == "realtime" else {LANE: self.way}

    def _level(self) -> Level:
        return FindingLevel(self._concurrency) if self.way == "flex" else FixedLevel(self._concurrency)

    def _lane(self) -> Lane:
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None:
            lane = self._lanes[loop] = Lane(self._level())
        return lane

    def _job(self, handle: JSON) -> RealtimeBatch | None:
        job_id = str(handle.get(REALTIME)) if isinstance(handle, dict) else ""
        lanes = [lane for loop, lane in list(self._lanes.items()) if not loop.is_closed()]
        return next((lane.jobs[job_id] for lane in lanes if job_id in lane.jobs), None)


def is_realtime(left: JSON) -> bool:
    """Return whether a `Realtime` has left this, as a handle or as what it has prepared."""
    return isinstance(left, dict) and REALTIME in left
