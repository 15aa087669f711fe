"""What is told of a job."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from batch_bridge import _messages, _outcome
from batch_bridge._models import JSON, Outcome, Succeeded, Usage
from batch_bridge.errors import RequestError


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """One batch of a job.

    Attributes:
        key: Our own name for it, kept where the provider shows it.
        state: `submitting`: begun, and not confirmed by the provider; `in_flight`; or `ended`.
        handle: The provider's name for it, once there is one.
        requests: How many it holds.
        done: How many of them have ended, as far as the provider told in this look.
        outcomes: How many ended in which way, once it has ended.
        usage: What it was billed, once it has ended and where the provider tells.
    """

    key: str
    state: Literal["submitting", "in_flight", "ended"]
    handle: JSON
    requests: int
    done: int | None = None
    outcomes: Mapping[str, int] | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Where a job is.

    Attributes:
        handle: The job.
        state: `queued`: nothing of it has reached the provider; `in_flight`; `cancelling`: its cancel was asked for,
            and not everything has ended; or `ended`: every request has its outcome.
        requests: How many it holds.
        queued: How many have not reached the provider.
        in_flight: How many are in batches that have not ended.
        outcomes: How many have ended in which way: `succeeded`, `errored`, `expired`, `cancelled`.
        batches: Its batches, oldest first.
        submitted_at: When it was submitted, aware UTC.
        last_error: What failed last in this look, for a person to read; empty if nothing has. It is tried again.
    """

    handle: str
    state: Literal["queued", "in_flight", "cancelling", "ended"]
    requests: int
    queued: int
    in_flight: int
    outcomes: Mapping[str, int]
    batches: tuple[BatchStatus, ...]
    submitted_at: datetime
    last_error: str = ""

    @property
    def ended(self) -> bool:
        """Whether every request has its outcome."""
        return self.state == "ended"


@dataclass(frozen=True, slots=True)
class JobResult:
    """What became of one item.

    Attributes:
        index: Its place among the items, from 0.
        name: Its key, if the items were a mapping.
        request_id: Its request, as the provider's `custom_id` names it.
        outcome: How it ended.
    """

    index: int
    name: str | None
    request_id: str
    outcome: Outcome

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return isinstance(self.outcome, Succeeded)

    @property
    def answer(self) -> Any:
        """The answer: JSON, or LangChain messages where the provider gives them.

        Raises:
            RequestFailed, RequestExpired, RequestCancelled: There is none.
        """
        if isinstance(self.outcome, Succeeded):
            return _messages.decode_owned(self.outcome.answer)
        raise _outcome.to_error(self.request_id, self.outcome)

    @property
    def error(self) -> RequestError | None:
        """Why there is no answer; `None` where there is one."""
        return None if isinstance(self.outcome, Succeeded) else _outcome.to_error(self.request_id, self.outcome)
