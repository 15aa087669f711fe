"""What is seen of a file. Plain, frozen data; times are seconds since the epoch, durations seconds."""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from batch_bridge.events import Eta

State: TypeAlias = Literal["done", "running", "parked", "failed", "stuck"]
Kind: TypeAlias = Literal["runner", "batcher", "jobs", "unknown"]
BatchState: TypeAlias = Literal["submitting", "in_flight", "stopping", "ended"]


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that has the file open, or had it last.

    Attributes:
        alive: Whether it has it open; `None` where that is not known from here.
        pid: Its process; `None` if the file does not name one.
        host: Its machine.
        since: When it opened the file.
        at: When it said last how it is.
        closed: Whether it ended by itself instead of being killed.
    """

    alive: bool | None = False
    pid: int | None = None
    host: str = ""
    since: float | None = None
    at: float | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Threads:
    """How many threads are where: of a Batcher items, of Jobs requests.

    Attributes:
        total: All of them; `None` where inputs are read lazily, or an old file does not tell.
        done: Ended well; `None` where an old file does not tell.
        running: Begun, and not waiting for a batch.
        parked: Waiting for a batch.
        failed: Ended with an error.
    """

    total: int | None = 0
    done: int | None = 0
    running: int = 0
    parked: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Wave:
    """Threads that wait for their n-th answers.

    Attributes:
        step: n, from 1.
        threads: How many there are.
        requests: What they wait for.
    """

    step: int
    threads: int
    requests: int


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run of a Runner, the items of a Batcher, or a job.

    Attributes:
        id: What it is known by; empty for all that were given no `run_id`, together.
        threads: Its threads.
        waves: Those that are parked, by how often they have.
        begun_at: When the last process began it.
        ended_at: When it ended, or was left; `None` while it runs.
        failures: Its threads that have failed, by code.
        rounds: The most that a thread which has ended had parked; `None` while none has.
    """

    id: str
    threads: Threads
    waves: tuple[Wave, ...] = ()
    begun_at: float | None = None
    ended_at: float | None = None
    failures: dict[str, int] = field(default_factory=dict)
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch.

    Attributes:
        key: Our own name for it.
        bridge: Its bridge.
        state: Where it is.
        handle: The provider's name for it.
        group: What the provider does not mix: endpoint and model.
        total: Its requests.
        done: How many have ended, as far as the provider tells.
        submitted_at: When it was sent.
        ended_at: When it was settled.
        asked_at: Since when the oldest of its requests waits.
        window_until: When the provider gives it up; `None` where there is no window.
        failures: Looks in a row that have failed.
        problem: What the last one has failed with.
        since: Since when it is as far as it is.
        bad_since: Since when all looks at it have failed.
        outcomes: How many of its requests have ended in which way.
        resubmitted: Those that went into another batch.
        paid_twice: Those that were answered elsewhere, too.
        expires_at: When the provider deletes its results, if they are not collected.
        lane: The lane that it was sent in.
    """

    key: str
    bridge: str
    state: BatchState
    handle: Any
    group: str
    total: int
    done: int | None = None
    submitted_at: float | None = None
    ended_at: float | None = None
    asked_at: float | None = None
    window_until: float | None = None
    failures: int = 0
    problem: str = ""
    since: float | None = None
    bad_since: float | None = None
    outcomes: dict[str, int] = field(default_factory=dict)
    resubmitted: int = 0
    paid_twice: int = 0
    expires_at: float | None = None
    lane: str = "batch"

    @property
    def kind(self) -> tuple[str, str]:
        """What batches have in common that take about as long: their lane and group."""
        return self.lane, self.group


@dataclass(frozen=True, slots=True)
class Facts:
    """What it is judged by whether all gets on, and when it will be done.

    Attributes:
        kind: The kind of the file's owner. No process drives Jobs between two calls.
        owner: The process that has it open.
        threads: All in it.
        waves: Those that are parked.
        rounds: The most that a thread which has ended had parked; `None` while none has.
        queued: Requests that wait to be sent.
        open_batches: Batches that have not ended.
        history: Batches that have ended, by asker.
        now: Seconds since the epoch.
        unfinished: Something is left to do.
    """

    kind: Kind
    owner: Owner
    threads: Threads
    waves: tuple[Wave, ...]
    rounds: int | None
    queued: int
    open_batches: tuple[Batch, ...]
    history: tuple[Batch, ...]
    now: float
    unfinished: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """Failures of one cause.

    Attributes:
        of: `"request"`: at a provider; `"thread"`: one that has ended with it.
        code: The cause.
        kind: `errored`, `expired`, `cancelled`; of a thread its error.
        status_code: HTTP's, where there was one.
        count: How many there are.
        rule: What happens to such a one now, and what to do.
        threads: Some of the threads.
    """

    of: Literal["request", "thread"]
    code: str
    kind: str
    status_code: int | None
    count: int
    rule: str
    threads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """All that is seen of a file.

    Attributes:
        file: Its path.
        kind: The kind of its owner.
        state: All of it in a word.
        at: When it was looked at.
        as_of: When the owner said last how it is; `None` where an old file does not tell.
        owner: The process that has it open.
        runs: Oldest first.
        threads: Those of all runs.
        waves: Those of all runs.
        batches: Open ones first, then ended ones, the newest first.
        batches_ended: How many have ended; `batches` holds the newest of them.
        queued: Requests that wait to be sent.
        in_flight: Requests at the providers.
        oldest_waiter: Seconds that the oldest request without an outcome waits.
        outcomes: Requests that were settled through batches, by kind.
        failures: Grouped by cause.
        cost: What was paid; `None` where it is not known.
        eta: When it will be done; `None` where there is no history yet.
        paused: Whether a command has paused sending.
        stuck: What makes no progress, and what to do; a line for each.
        warnings: What is to be known soon; a line for each.
    """

    file: str
    kind: Kind
    state: State
    at: float
    as_of: float | None
    owner: Owner
    runs: tuple[RunStatus, ...]
    threads: Threads
    waves: tuple[Wave, ...]
    batches: tuple[Batch, ...]
    batches_ended: int
    queued: int
    in_flight: int
    oldest_waiter: float | None
    outcomes: dict[str, int]
    failures: tuple[Failure, ...]
    cost: Any = None
    eta: Eta | None = None
    paused: bool = False
    stuck: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
