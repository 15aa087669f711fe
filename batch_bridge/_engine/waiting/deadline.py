"""When a request must be answered, and what is done when it is not. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from batch_bridge._core.durations import LONGEST
from batch_bridge._core.models import Attempt, Intent, SubmittedBatch
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.policy.resubmission import DEADLINE
from batch_bridge._core.provider import Provider

OnDeadline: TypeAlias = Literal["wait_for_cancel", "pay_again"]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A bridge's deadline. A request may have one of its own, which counts instead.

    Attributes:
        after: How long a request may take, from when it was asked; `None` where only requests say so.
        policy: `"wait_for_cancel"` stops the batch and waits until the provider tells what was done; the rest goes to
            the fallback, and nothing is paid twice. `"pay_again"` sends all of it to the fallback at once, and counts
            what the batch has answered all the same.
        fallback: Who answers what is late; `None` if no provider can: what is late ends as expired.
        is_own: The fallback is the bridge's own provider, in realtime: equal requests share an answer there too.
    """

    after: timedelta | None
    policy: OnDeadline
    fallback: Provider | None
    is_own: bool = False

    def late_at(self, waiting: Waiting) -> datetime | None:
        """Return when a queued request is late; `None` if it never is."""
        after = self._after(waiting.deadline)
        return None if after is None else waiting.queued_at + after

    def of(self, batch: Intent | SubmittedBatch) -> datetime | None:
        """Return when a batch is late, by the oldest of its requests; `None` if it never is."""
        terms = batch.terms
        after = self._after(terms.deadline)
        is_left = isinstance(batch, SubmittedBatch) and batch.left != ""
        if after is None or terms.asked_at is None or terms.fallback or is_left:
            return None
        return terms.asked_at + after

    def asked_at(self, own: timedelta | None, tries: Sequence[Attempt], asked_at: datetime, now: datetime) -> datetime:
        """Return since when a request waits that may have been late before, in a process that is gone."""
        after = self._after(own)
        if after is None or all(each.code != DEADLINE for each in tries):
            return asked_at
        return min(asked_at, now - after)

    def _after(self, own: timedelta | None) -> timedelta | None:
        """Return the deadline that counts; a stored one may be any number."""
        after = own or self.after
        return None if after is None else min(after, LONGEST)
