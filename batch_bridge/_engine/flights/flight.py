"""A batch on its way: what the engine remembers of it between two ticks, besides what the ledger holds."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from batch_bridge._core.models import Blind, Errored, Expired, FailureKind, Intent, SubmittedBatch
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._money import Account
from batch_bridge.errors import BadPollResultError

LONGEST_PAUSE = timedelta(hours=1)
"""The longest that a provider's wish to be left alone is granted."""
_FIRST_DELAY = 1 / 64
"""The first pause between two polls, as a share of the poll interval; each pause doubles the one before."""


@dataclass(slots=True, eq=False)
class Flight:
    """A batch that has been begun and not closed.

    Attributes:
        batch: The intent, or the batch once the provider has confirmed it.
        due: When to look after it next, unless it is late before.
        late_at: When it is decided whether its requests leave its lane; `None` if that is not to be decided.
        leaves_at: When requests that it has not answered go to the next lane, though it was not told to have stopped.
        pause: How long to leave it alone after that.
        doubtful: `submit` may have taken effect though we did not see it: look before sending again.
        inherited: A process before this one began it, so some of its outcomes may be written already.
        caught_up: Whether these were looked up, and are settled here too.
        is_held: Somebody looks after it at this moment.
        waiting: Its requests that a caller in this process waits for; queued again if the intent is withdrawn.
        wanted: Its requests that a caller in this process waits for, once it is submitted: they may be sent again.
        refused: Requests that a caller waits for, and that cannot be sent any more if the intent is withdrawn.
        failures: Calls in a row that the provider was not available for.
        blind: How long it could not be looked at, for what its provider has not explained; `None` after a good look.
        problem: Why the last look told nothing, for a person to read; empty after a good one.
        logged: The same for the log, without what the error quotes.
        since: Since when it has been as far as it is, as far as this process has seen; `None` until it is sent.
        bad_since: Since when every call for it has failed; `None` after a good one.
        bad: The error of a `poll` that returned what makes no sense; `None` after any other look.
        done: How many of its requests have ended, as the last good look told.
        total: How many there are of them, as it told.
        refusals: Times in a row that it was not created, because the provider was full.
        stopping: The provider is to be told that it should stop.
        is_late: Its requests leave its lane, and what follows from that has been begun.
        look: Done once a look in the background has ended.
        is_looking: The last look has not ended.
        is_put_off: Its requests leave its lane a little later, because a look had not ended.
        rings: Whether the provider notifies us of its news.
        told_at: When a webhook has named it last.
        asked: Whether a webhook or a person has asked for a look since the last good one.
        settled: Requests that have an outcome though the batch has not ended, with its kind.
        forgotten: Those of them that no caller will ask for again. They go with the batch, which is judged by them.
        failed: In which ways those that are settled early have failed.
        answered_elsewhere: Its requests that were answered by a batch that they had left.
        paid_twice: Those of them that it has answered, too.
        account: What its answers have used, as far as they were read.
        lines: Where equal requests share a line: the request that is sent, by key; `None` until they are looked up.
    """

    batch: Intent | SubmittedBatch
    due: datetime
    pause: timedelta
    late_at: datetime | None = None
    leaves_at: datetime | None = None
    doubtful: bool = False
    inherited: bool = False
    caught_up: bool = False
    is_held: bool = False
    waiting: dict[str, Waiting] = field(default_factory=dict)
    wanted: set[str] = field(default_factory=set)
    refused: dict[str, Errored | Expired] = field(default_factory=dict)
    failures: int = 0
    blind: Blind | None = None
    problem: str = ""
    logged: str = ""
    since: datetime | None = None
    bad_since: datetime | None = None
    bad: BadPollResultError | None = None
    done: int | None = None
    total: int | None = None
    refusals: int = 0
    stopping: bool = False
    is_late: bool = False
    look: "asyncio.Future[None] | None" = None
    is_looking: bool = False
    is_put_off: bool = False
    rings: bool = False
    told_at: datetime | None = None
    asked: bool = False
    settled: dict[str, str] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    failed: Counter[FailureKind] = field(default_factory=Counter)
    answered_elsewhere: set[str] = field(default_factory=set)
    paid_twice: set[str] = field(default_factory=set)
    account: Account | None = None
    lines: dict[str, str] | None = None

    @property
    def next_at(self) -> datetime:
        """When to do something about it next."""
        return min(each for each in (self.due, self.late_at, self.leaves_at) if each is not None)

    @property
    def is_stopped(self) -> bool:
        """Whether the bridge has told the provider to stop it, or is about to."""
        return self.stopping or self.is_late or (isinstance(self.batch, SubmittedBatch) and self.batch.left != "")

    def seen(self) -> None:
        """Note a look that showed the batch's state."""
        self.failures, self.blind, self.problem, self.logged, self.bad = 0, None, "", "", None
        self.bad_since = None

    def unanswered(self, now: datetime) -> None:
        """Note a call for it that has failed."""
        self.failures += 1
        self.bad_since = self.bad_since or now

    def wait(self, now: datetime, interval: timedelta, at_least: float | None = None) -> None:
        """Set the next due time, and double the pause up to `interval`; `at_least` is in seconds, an hour at most."""
        wished = at_least if at_least is not None and at_least > 0 else 0.0  # not a number is no wish
        self.due = now + max(self.pause, timedelta(seconds=min(wished, LONGEST_PAUSE.total_seconds())))
        self.pause = min(self.pause * 2, interval)


def first_pause(interval: timedelta) -> timedelta:
    """Return the pause after the first look at a new batch."""
    return interval * _FIRST_DELAY
