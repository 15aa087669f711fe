"""What happens to requests and batches, told as it happens: one stream for logs, progress and metrics.

::

    def listen(event: Event) -> None:
        match event:
            case Submitted(batch=batch, requests=requests):
                print(f"{batch}: {len(requests)} requests sent")
            case Settled(outcomes=outcomes):
                print(dict(outcomes))

    Runner(graph, bridge, on_event=listen)

An event tells what has been made durable already. So a crash may take an event with it, and the next process may tell
one again: it is no ledger. Those of one bridge come in the order in which they happened.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from batch_bridge._models import JSON, Usage

__all__ = [
    "BatchProgress",
    "Cancelled",
    "Delivered",
    "Event",
    "PollFailed",
    "Polled",
    "Progress",
    "Queued",
    "Resubmitted",
    "Settled",
    "Stalled",
    "StoreFailed",
    "Submitted",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """Requests were taken in, and wait to be sent.

    Attributes:
        bridge: Whose they are.
        requests: Their ids.
    """

    bridge: str
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A batch was sent, and the provider has confirmed it.

    Attributes:
        bridge: Whose it is.
        batch: Our key of it.
        handle: The provider's name for it.
        requests: Ids of its requests, in the order sent.
    """

    bridge: str
    batch: str
    handle: JSON
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """A batch was looked at, and has not ended.

    Attributes:
        bridge: Whose it is.
        batch: Our key of it.
        done: Requests of it that have ended, as far as the provider tells.
        total: Requests of it, as far as the provider tells.
    """

    bridge: str
    batch: str
    done: int | None
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PollFailed:
    """A batch could not be looked at, or `poll` returned what makes no sense. It stays in flight, and is polled again.

    Attributes:
        bridge: Whose it is.
        batch: Our key of it.
        error: What failed.
        failures: Looks in a row that have failed.
    """

    bridge: str
    batch: str
    error: str
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Requests have their outcomes.

    Attributes:
        bridge: Whose they are.
        batch: The batch that they were in; `None` for those that no batch held: refused, or answered from a cache.
        requests: Their ids.
        outcomes: How many of them ended in which way: `succeeded`, `errored`, `expired`, `cancelled`.
        ended: Whether the batch has ended with this.
        usage: What the whole batch was billed, once it has ended and where the provider tells.
    """

    bridge: str
    batch: str | None
    requests: tuple[str, ...]
    outcomes: Mapping[str, int]
    ended: bool = False
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Outcomes have reached who waited for them: a thread was resumed with them, or a call has returned.

    Attributes:
        bridge: Whose they are.
        requests: Ids of their requests.
    """

    bridge: str
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resubmitted:
    """Requests were put back into the queue, and will be sent in another batch: see `Bridge(attempts=…, deadline=…)`.

    Attributes:
        bridge: Whose they are.
        batch: Our key of the batch that came to nothing for them.
        requests: Their ids.
    """

    bridge: str
    batch: str
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Requests were given up: nobody waits for them any more, or somebody has cancelled them.

    Those that somebody has cancelled are told of as `Settled` too: they have an outcome.

    Attributes:
        bridge: Whose they were.
        requests: Their ids.
    """

    bridge: str
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailed:
    """A call of the ledger's store, or of the checkpointer, has failed, and is made again. What asked for it waits.

    Attributes:
        what: `"ledger"` or `"checkpointer"`.
        error: What was raised.
        failures: How often in a row this call has failed.
        retry_in: Seconds until it is made again.
        bridge: Empty: it is no bridge's own.
    """

    what: str
    error: str
    failures: int
    retry_in: float
    bridge: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """Nothing has moved for long: every call of the providers has failed. Told after an hour, two, four, and so on.

    With `give_up_after=` it is told once more when that has passed, and the run ends with an error of this name.

    Attributes:
        bridge: Whose call has failed last.
        seconds: For how long nothing has moved in any bridge.
        problem: What failed last.
    """

    bridge: str
    seconds: float
    problem: str


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
    """How far a `Runner` or a `Batcher` is, since it was opened.

    Attributes:
        done: Threads that have ended, failed ones too; for a Batcher, items.
        total: How many there are in all, so far; `None` where the inputs are read lazily.
        queued: Requests that wait to be sent.
        in_flight: Requests at the providers.
        batches: Batches at the providers.
        ended_before: Threads among `done` that had ended before this Runner was opened: their results are read again.
        in_batches: How far each batch at a provider is.
    """

    done: int
    total: int | None
    queued: int
    in_flight: int
    batches: int
    ended_before: int = 0
    in_batches: tuple[BatchProgress, ...] = ()

    @property
    def answered(self) -> int:
        """Requests at the providers that have ended there, as far as the providers tell."""
        return sum(each.done or 0 for each in self.in_batches)

    @property
    def step(self) -> Literal["running", "queued", "waiting", "ended"]:
        """What is done now: threads run, requests wait for others, batches are waited for, or all has ended."""
        if self.in_flight:
            return "waiting"
        if self.queued:
            return "queued"
        return "ended" if self.total is not None and self.done >= self.total else "running"


Event: TypeAlias = (
    Queued | Submitted | Polled | PollFailed | Settled | Delivered | Resubmitted | Cancelled | StoreFailed | Stalled
)
