"""When a request must be answered, and what is done when it is not. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from batch_bridge._models import Attempt, Intent, Submitted
from batch_bridge._plan import Waiting
from batch_bridge._provider import Provider
from batch_bridge._resubmit import DEADLINE

OnDeadline: TypeAlias = Literal["wait_for_cancel", "pay_again"]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A bridge's deadline.

    Attributes:
        after: How long a request may take, from when it was asked.
        policy: `"wait_for_cancel"` stops the batch and waits until the provider tells what was done; the rest goes to
            the fallback, and nothing is paid twice. `"pay_again"` sends all of it to the fallback at once, and counts
            what the batch has answered all the same.
        fallback: Who answers what is late.
    """

    after: timedelta
    policy: OnDeadline
    fallback: Provider

    def is_past(self, waiting: Waiting, now: datetime) -> bool:
        """Tell whether a queued request is late."""
        return waiting.queued_at + self.after <= now

    def of(self, batch: Intent | Submitted) -> datetime | None:
        """Return when a batch is late, by the oldest of its requests; `None` if it never is."""
        asked_at = batch.terms.asked_at
        if asked_at is None or batch.terms.fallback or (isinstance(batch, Submitted) and batch.left):
            return None
        return asked_at + self.after

    def asked_at(self, tries: Sequence[Attempt], asked_at: datetime, now: datetime) -> datetime:
        """Return since when a request waits that may have been late before, in a process that is gone."""
        return min(asked_at, now - self.after) if any(each.code == DEADLINE for each in tries) else asked_at
