"""Events of requests and batches, as they happen: one stream for logs, progress and metrics.

::

    def listen(event: Event) -> None:
        match event:
            case Submitted(batch=batch, requests=requests):
                print(f"{batch}: {len(requests)} requests sent")
            case Settled(outcomes=outcomes):
                print(dict(outcomes))

    Runner(graph, bridge, on_event=listen)

An event is reported after its change is durable. A crash may therefore lose an event, and the next process may repeat
one: events are not a ledger. The events of one bridge arrive in the order in which they happened.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias

from batch_bridge._core.models import JSON, Usage
from batch_bridge._core.wording.html_text import bar

__all__ = [
    "BatchCost",
    "BatchProgress",
    "Cancelled",
    "DeadlineTooShort",
    "Delivered",
    "Eta",
    "Event",
    "LaneChanged",
    "PollFailed",
    "Polled",
    "Progress",
    "Queued",
    "Resubmitted",
    "ResultsExpiring",
    "Settled",
    "Span",
    "Stalled",
    "StoreFailed",
    "Submitted",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """Requests were taken in, and wait to be sent.

    Attributes:
        bridge: The name of their bridge.
        requests: Their ids.
    """

    bridge: str
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A batch was sent, and the provider has confirmed it.

    Attributes:
        bridge: The name of its bridge.
        batch: Our key of it.
        handle: The provider's name for it.
        requests: Ids of its requests, in the order sent.
        lane: The lane that it was sent in.
    """

    bridge: str
    batch: str
    handle: JSON
    requests: tuple[str, ...]
    lane: str = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """A batch was polled, and has not ended.

    Attributes:
        bridge: The name of its bridge.
        batch: Our key of it.
        done: Requests of it that have ended, if the provider reports them.
        total: Requests of it, if the provider reports them.
    """

    bridge: str
    batch: str
    done: int | None
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PollFailed:
    """A batch could not be polled, or `poll` returned an invalid result. It stays in flight, and is polled again.

    Attributes:
        bridge: The name of its bridge.
        batch: Our key of it.
        error: The failure.
        failures: Failed polls in a row.
    """

    bridge: str
    batch: str
    error: str
    failures: int


@dataclass(frozen=True, slots=True)
class BatchCost:
    """What a batch has cost.

    Attributes:
        paid: What is paid for it; `None` if a price is not known.
        list_price: What it would have cost in realtime, at the standard tier; `None` as above.
        currency: Of the amounts.
    """

    paid: Decimal | None
    list_price: Decimal | None
    currency: str = "USD"

    @property
    def saved(self) -> Decimal | None:
        """What was saved; `None` if one of the two prices is not known."""
        return None if self.paid is None or self.list_price is None else self.list_price - self.paid


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Requests have their outcomes.

    Attributes:
        bridge: The name of their bridge.
        batch: Their batch; `None` for requests that were in no batch: refused, or answered from a cache.
        requests: Their ids.
        outcomes: The number of requests by outcome: `succeeded`, `errored`, `expired`, `cancelled`.
        ended: Whether the batch has now ended.
        usage: The billed usage of the whole batch, once it has ended and if the provider reports it.
        cost: What the whole batch has cost, once it has ended. The sum over all batches is the receipt. A batch that
            was late, and has answered what was asked elsewhere meanwhile, is told of with its cost and no requests.
    """

    bridge: str
    batch: str | None
    requests: tuple[str, ...]
    outcomes: Mapping[str, int]
    ended: bool = False
    usage: Usage | None = None
    cost: BatchCost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Outcomes were delivered: a thread was resumed with them, or a call has returned.

    Attributes:
        bridge: The name of their bridge.
        requests: Ids of their requests.
    """

    bridge: str
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Outcomes cannot be delivered: a LangGraph server's thread is gone, or cannot be resumed. They are kept.

    Told when the bridge gives up on the thread, once; and again if they are replayed and cannot be delivered then.

    Attributes:
        bridge: The name of their bridge.
        thread: The id of the thread that waited for them.
        requests: Ids of their requests.
        reason: Why, for a person to read.
    """

    bridge: str
    thread: str
    requests: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resubmitted:
    """Requests were put back into the queue, and will be sent in another batch: see `Bridge(attempts=…, deadline=…)`.

    Attributes:
        bridge: The name of their bridge.
        batch: Our key of the batch that did not answer them.
        requests: Their ids.
    """

    bridge: str
    batch: str
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneChanged:
    """Requests have left a lane because it was late or had no capacity, and wait for another: see `Bridge(ladder=…)`.

    Attributes:
        bridge: The name of their bridge.
        requests: Their ids.
        left: The lane that they were in.
        lane: The lane that they go to; `"fallback"` where that is the bridge's fallback.
    """

    bridge: str
    requests: tuple[str, ...]
    left: str
    lane: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineTooShort:
    """No lane of a ladder can answer requests before their deadline. They go to its last lane.

    Attributes:
        bridge: The name of their bridge.
        requests: Their ids.
        lane: The lane that they go to.
    """

    bridge: str
    requests: tuple[str, ...]
    lane: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Requests were cancelled, or no thread waits for them any more.

    Cancelled requests are also reported as `Settled`, because they have an outcome.

    Attributes:
        bridge: The name of their bridge.
        requests: Their ids.
    """

    bridge: str
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailed:
    """A call of the ledger's store or of the checkpointer has failed, and is repeated. Only its caller waits.

    Attributes:
        what: `"ledger"` or `"checkpointer"`.
        error: The exception's text.
        failures: How often in a row this call has failed.
        retry_in: Seconds until it is repeated.
        bridge: Empty, because the event belongs to no single bridge.
    """

    what: str
    error: str
    failures: int
    retry_in: float
    bridge: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """Something makes no progress. `advice` says what to do; `batch-bridge status` says the same.

    By its `cause`:

    - `"refused"`: the provider has refused every call of a bridge for ten minutes. Told once, until one succeeds.
    - `"past_window"`: a batch is past the window in which its provider works on it. Told once a batch.
    - `"slow"`: a batch has not moved for longer than all but the slowest hundredth of its like took in all, where
      there are twenty of them. Told once a batch.
    - `"standstill"`: every call of all bridges has failed for one hour, two, four, and so on. With `give_up_after=` it
      is told once more when that time has passed, and the run ends with an error of the same name.

    Attributes:
        bridge: The bridge; of a standstill the one whose call failed last.
        seconds: For how long.
        problem: The last failure; empty if no call has failed.
        cause: See above.
        batch: Our key of the batch; of a refused bridge the one refused for longest; `None` of a standstill.
        advice: What is wrong and what to do.
    """

    bridge: str
    seconds: float
    problem: str
    cause: Literal["refused", "past_window", "slow", "standstill"] = "standstill"
    batch: str | None = None
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsExpiring:
    """A batch cannot be collected, and its provider will delete its results. Told once a batch, well before that.

    Attributes:
        bridge: The name of its bridge.
        batch: Our key of it.
        handle: The provider's name for it.
        requests: How many requests it holds.
        seconds_left: Seconds until the provider deletes its results; negative if it may have done so.
        problem: Why it cannot be looked at.
    """

    bridge: str
    batch: str
    handle: JSON
    requests: int
    seconds_left: float
    problem: str


@dataclass(frozen=True, slots=True)
class Span:
    """A time that is not certain, in seconds since the epoch.

    Attributes:
        p50: It is as likely before as after.
        p90: Nine of ten are before.
    """

    p50: float
    p90: float


@dataclass(frozen=True, slots=True)
class Eta:
    """When something will be done, from how long ended batches took.

    Attributes:
        wave: When all that is in flight now is answered; `None` if nothing is.
        run: When the runs will be done; `None` while it is not known how many waves there are to be.
        waves_left: Waves after this one.
        batches: Ended batches that it is drawn from.
    """

    wave: Span | None
    run: Span | None
    waves_left: int | None
    batches: int


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch is, by the provider's own count.

    Attributes:
        bridge: Whose it is.
        batch: Our key of it.
        done: Requests of it that have ended; `None` while the provider does not tell.
        total: Requests of it; `None` while the provider does not tell.
    """

    bridge: str
    batch: str
    done: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a `Runner` or a `Batcher` since it was opened.

    Attributes:
        done: Threads that have ended, including failed ones; for a Batcher, items.
        total: All threads or items so far; `None` if the inputs are read lazily.
        queued: Requests that wait to be sent.
        in_flight: Requests at the providers.
        batches: Batches at the providers.
        ended_before: Threads among `done` that had ended before this Runner was opened: their results are read again.
        in_batches: How far each batch at a provider is.
        eta: When it will be done, as of a few seconds ago; `None` while there is no history of ended batches. Two that
            differ in nothing else are equal.
    """

    done: int
    total: int | None
    queued: int
    in_flight: int
    batches: int
    ended_before: int = 0
    in_batches: tuple[BatchProgress, ...] = ()
    eta: Eta | None = field(default=None, compare=False)

    @property
    def answered(self) -> int:
        """Requests at the providers that have ended there, as far as the providers report it."""
        return sum(each.done or 0 for each in self.in_batches)

    @property
    def step(self) -> Literal["running", "queued", "waiting", "ended"]:
        """What is done now: threads run, requests wait for others, batches are waited for, or all has ended."""
        if self.in_flight:
            return "waiting"
        if self.queued:
            return "queued"
        return "ended" if self.total is not None and self.done >= self.total else "running"

    def _repr_html_(self) -> str:
        """Return it for a notebook."""
        of = "" if self.total is None else f" of {self.total:,}"
        parts = [f"{self.done:,}{of} done"]
        if self.ended_before:
            parts.append(f"{self.ended_before:,} had ended before")
        if self.queued:
            parts.append(f"{self.queued:,} queued")
        if self.batches:
            told = any(each.done is not None for each in self.in_batches)
            parts.append(
                f"{self.in_flight:,} in {self.batches:,} batches" + (f", {self.answered:,} answered" if told else "")
            )
        return bar(self.done, self.total, "; ".join(parts))


Event: TypeAlias = (
    Queued
    | Submitted
    | Polled
    | PollFailed
    | Settled
    | Delivered
    | DeadLetter
    | Resubmitted
    | LaneChanged
    | DeadlineTooShort
    | Cancelled
    | StoreFailed
    | Stalled
    | ResultsExpiring
)
