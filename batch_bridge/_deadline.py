"""When a request must be answered, and what is done when it is not. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from batch_bridge._duration import LONGEST
from batch_bridge._models import Attempt, Intent, Submitted
from batch_bridge._plan import Waiting
from batch_bridge._provider import Provider
from batch_bridge._resubmit import DEADLINE

OnDeadline: TypeAlias = Literal["wait_for_cancel", "pay_again"]
Within: TypeAlias = timedelta | float | None
"""A deadline as users give it: a duration, or seconds."""


def duration(given: object, what: str = "deadline") -> timedelta | None:
    """Return a duration as it was given: a `timedelta`, seconds, or nothing.

    Args:
        given: The duration.
        what: The argument that it was given as.

    Raises:
        TypeError: It is not a duration.
        ValueError: It is not positive, or longer than ten years.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, timedelta | int | float) or given != given:  # noqa: PLR0124  # NaN
        raise TypeError(f"{what}={given!r} is not a duration; pass a timedelta, or seconds")
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if seconds <= 0:
        instead = ', or mode="realtime"' if what == "deadline" else ""
        raise ValueError(f"{what}={given!r} would expire immediately; pass a positive one{instead}")
    if seconds > LONGEST.total_seconds():
        raise ValueError(f"{what}={given!r} is longer than ten years; omit it")
    return timedelta(seconds=seconds)


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

    def of(self, batch: Intent | Submitted) -> datetime | None:
        """Return when a batch is late, by the oldest of its requests; `None` if it never is."""
        terms = batch.terms
        after = self._after(terms.deadline)
        is_left = isinstance(batch, Submitted) and batch.left != ""
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
