"""Which requests are sent again, because the same request may succeed later. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import Attempt, Cancelled, Errored, Expired, Outcome, Succeeded

DEADLINE: Final = "deadline"
"""The code of a try that was given up because its deadline had passed."""
TOKEN_LIMIT: Final = "token_limit_exceeded"  # noqa: S105  # tokens of a model
"""The code of requests that a provider did not even queue, since too much was queued before them.

Source: OpenAI, Batch API guide, "Rate limits", https://platform.openai.com/docs/guides/batch.
"""
ALONE: Final = f"{TOKEN_LIMIT}_alone"
"""The code of a try that a provider did not queue though the request was alone in its batch."""
MOST_REFUSALS: Final = 14
"""Times that a request is refused for want of room while it is alone in its batch, until it ends with that error."""
_DOUBTFUL: Final = frozenset(
    {
        "missing_result",
        "unreadable_answer",
        "unmatched_result",
        "realtime_interrupted",
        "response_not_found",
        "submission_unknown",
        "ledger_row_lost",
    }
)
"""Codes of requests that may have been paid for, or that cannot be sent: only their waiter may ask for them again."""


@dataclass(slots=True)
class Resubmission:
    """Judges the outcomes of one batch, and gathers the requests that are sent again.

    Attributes:
        batch: The batch's key.
        limit: How often a request is sent in all.
        late: The deadline has passed: whatever is not answered goes to the next lane.
        requeues: Requests that the provider did not queue for want of room are sent again, without counting.
        may_fit: Returns by the provider's refusal whether a request that was alone may find room.
        alone: The batch held one request.
        now: When the batch has ended, aware UTC.
        lane: The lane that is left, if it is late.
        asked_at: Since when its requests wait.
        outcomes: What the requests that are sent again have ended with this time.
        refusal: Why the provider did not queue requests, if it did not for want of room.
    """

    batch: str
    limit: int
    late: bool
    requeues: bool
    may_fit: Callable[[str], bool]
    now: datetime
    lane: str = ""
    asked_at: datetime | None = None
    alone: bool = False
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    refusal: Errored | None = None

    def judge(self, request_id: str, outcome: Outcome, attempts: Sequence[Attempt]) -> Attempt | None:
        """Return the try to note if the request is sent again, else nothing: the outcome stands."""
        if isinstance(outcome, Errored) and outcome.code == TOKEN_LIMIT:
            self.refusal = outcome
        before = attempts_before(attempts, self.batch)  # it may have been read before, without an answer
        is_refused = code_of(outcome) == TOKEN_LIMIT
        requeues = is_refused and self.requeues and (not self.alone or self.may_fit(getattr(outcome, "message", "")))
        if not is_sent_again(outcome, before, limit=self.limit, late=self.late, requeues=requeues):
            return None
        self.outcomes[request_id] = outcome
        code = DEADLINE if self.late else ALONE if is_refused and self.alone else code_of(outcome)
        left = (self.lane, self.asked_at) if self.late else ()
        return Attempt(self.batch, _outcome.kind(outcome), code, self.now, *left)


def final(outcome: Outcome, attempts: Sequence[Attempt], batch: str) -> Outcome:
    """Return an outcome that stands, with the attempts before the one in this batch."""
    return _outcome.with_attempts(outcome, attempts_before(attempts, batch))


def attempts_before(attempts: Sequence[Attempt], batch: str) -> tuple[Attempt, ...]:
    """Return the attempts in other batches than this one."""
    return tuple(each for each in attempts if each.batch != batch)


def is_sent_again(
    outcome: Outcome, attempts: Sequence[Attempt], *, limit: int, late: bool = False, requeues: bool = False
) -> bool:
    """Return whether a request is sent again, after an outcome and the attempts before it.

    Args:
        outcome: What it has ended with.
        attempts: What it ended with before.
        limit: How often it may be sent in all. A try that was not queued, or not waited for, does not count.
        late: What was stopped for its deadline is sent again as well, and the limit does not count.
        requeues: Whether what was refused for want of room may find some; it comes back then, without counting, but
            not forever if it was refused alone.
    """
    if late:
        return isinstance(outcome, Cancelled) or is_transient(outcome)
    if not is_transient(outcome) or limit <= 1:
        return False
    if code_of(outcome) == TOKEN_LIMIT:
        return requeues and sum(each.code == ALONE for each in attempts) + 1 < MOST_REFUSALS
    return counted(attempts) + 1 < limit


def is_transient(outcome: Outcome) -> bool:
    """Return whether the same request may succeed later, and that it be sent again is safe.

    What was cancelled was so on purpose, unless a deadline did it. What may have been paid for, with its answer lost on
    the way, is its waiter's to decide: a line that is missing from a completed batch, say.
    """
    match outcome:
        case Expired():
            return True
        case Errored():
            return outcome.retryable and outcome.code not in _DOUBTFUL
        case Succeeded() | Cancelled():
            return False


def counted(attempts: Sequence[Attempt]) -> int:
    """Return how many attempts count towards the limit."""
    return sum(each.code not in (TOKEN_LIMIT, ALONE, DEADLINE) for each in attempts)


def code_of(outcome: Outcome) -> str:
    """Return an outcome's code, or its kind."""
    return outcome.code if isinstance(outcome, Errored) else _outcome.kind(outcome)
