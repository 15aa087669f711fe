"""When a queue is sent: pure decisions over a summary of the queue."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from batch_bridge._core.durations import Within, required

QUIET: Final = timedelta(seconds=1)
"""How long a Runner waits for other calls after a single call, by default."""


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """A summary of a bridge's queue, without its items.

    Attributes:
        requests: The number of queued requests.
        bytes: Their total size, as the provider measures it.
        oldest: When the first of them was queued, aware UTC; `None` if the queue is empty.
        last_flushed: When the queue was last flushed, or the bridge opened, aware UTC.
        now: The current time, aware UTC.
        newest: When the last of them was queued, aware UTC; `None` if the queue is empty.
    """

    requests: int
    bytes: int
    oldest: datetime | None
    last_flushed: datetime
    now: datetime
    newest: datetime | None = None


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """Decides when a bridge sends its queue: as soon as one limit is reached.

    Attributes:
        max_requests: So many waiting requests are sent at once; also the most that one batch holds.
        max_bytes: So many waiting bytes are sent at once; also the most that one batch holds. `None`: no limit.
        max_age: No request waits longer than this for others, though no other ever comes (a duration). `None`: age does
            not flush.
        when: Your own predicate over a `QueueSummary`; asked when a request arrives and at every poll interval.
            A plain function. What it raises is logged once, with its traceback, and is taken as "no".
        max_idle: What waits is sent once no other request has come for so long (a duration). `None`:
            quiet does not flush, but for single calls of a `Runner`: see `when_idle`.
        when_idle: In a `Runner`: whether what waits is sent as soon as every thread that lives is waiting. `None`: yes
            for `abatch` and its like, whose inputs are read to the end, so that nothing more can come. A single call
            (`ainvoke`, `submit`) says nothing about what comes next: it waits for `max_idle`, which is one second then
            unless you say otherwise. `True`: at once for single calls too. `False`: size, age, quiet and `when` decide
            alone.

    Raises:
        ValueError: A limit is not positive.
        TypeError: `max_age` or `max_idle` is no duration, or `when_idle` is neither a boolean nor `None`.
    """

    max_requests: int = 50_000
    max_bytes: int | None = None
    max_age: Within = timedelta(minutes=30)
    when: Callable[[QueueSummary], bool] | None = None
    max_idle: Within = None
    when_idle: bool | None = None

    def __post_init__(self) -> None:
        for name in ("max_age", "max_idle"):
            self._check_duration(name)
        if isinstance(self.max_requests, bool) or not isinstance(self.max_requests, int) or self.max_requests < 1:
            raise ValueError(
                f"FlushPolicy(max_requests={self.max_requests!r}) would never send anything; pass a whole number from 1"
            )
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError(
                f"FlushPolicy(max_bytes={self.max_bytes!r}) would never send anything; pass at least 1, or None"
            )
        if self.when is not None and not callable(self.when):
            raise ValueError(
                f"FlushPolicy(when={self.when!r}) is not callable; pass a function of a QueueSummary, or None"
            )

        if not isinstance(self.when_idle, bool | None):
            raise TypeError(f"FlushPolicy(when_idle={self.when_idle!r}): give True, False, or None")

    def _check_duration(self, name: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        parsed = required(value, f"FlushPolicy({name}={{given}})")
        object.__setattr__(self, name, parsed)
        if parsed < timedelta(0):
            raise ValueError(f"FlushPolicy({name}={value!r}) is in the past; give a positive duration, or None")

    def is_full(self, queue: QueueSummary) -> bool:
        """Whether the queue has reached a size limit."""
        return queue.requests >= self.max_requests or (self.max_bytes is not None and queue.bytes >= self.max_bytes)

    def due_at(self, queue: QueueSummary) -> datetime | None:
        """Return when to send the queue: now if it is full, otherwise when it is too old or has been idle for too long.

        A predicate has no due time: with `None`, `when` may still decide to send.
        """
        if queue.oldest is None:
            return None
        if self.is_full(queue):
            return queue.now
        return self._ripe_at(queue)

    def take(self, queue: QueueSummary, *, drain: bool = False) -> int:
        """Return how many of the oldest requests to send now.

        A queue that is full by count sends whole batches and keeps the rest for the next one; every other reason
        (bytes, age, idle time, predicate, `drain`) sends all.
        """
        if queue.oldest is None:
            return 0
        due = self.due_at(queue)
        ripe_at = self._ripe_at(queue)
        ripe = ripe_at is not None and queue.now >= ripe_at
        if drain or ripe or (self.when is not None and self.when(queue)):
            return queue.requests
        if due is None or due > queue.now:
            return 0
        if self.max_bytes is not None and queue.bytes >= self.max_bytes:
            return queue.requests
        return queue.requests - queue.requests % self.max_requests

    def _ripe_at(self, queue: QueueSummary) -> datetime | None:
        """Return when time alone sends the queue: the age of its oldest request, or the pause since its newest."""
        times = [
            since + limit
            for since, limit in ((queue.oldest, self.max_age), (queue.newest, self.max_idle))
            if since is not None and isinstance(limit, timedelta)
        ]
        return min(times, default=None)
