"""The state and the results of a job."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.json import messages as _messages
from batch_bridge._core.models import JSON, Outcome, Succeeded, Usage
from batch_bridge.errors import RequestError


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """One batch of a job.

    Attributes:
        key: Our own name of it, which is sent along to the provider.
        state: `submitting`: not confirmed by the provider yet; `in_flight`; or `ended`.
        handle: The provider's name of it, once it has one.
        requests: The number of its requests.
        done: The number of requests that have ended, if this poll of the provider reported it.
        outcomes: The number of requests by outcome, once it has ended.
        usage: Its billed usage, once it has ended and if the provider reports it.
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
    """The state of a job.

    Attributes:
        handle: The job.
        state: `queued`: none of it has reached the provider; `in_flight`; `cancelling`: it was cancelled,
            and not every request has ended; or `ended`: every request has its outcome.
        requests: The number of its requests.
        queued: Requests that have not reached the provider.
        in_flight: Requests in batches that have not ended.
        outcomes: The number of ended requests by outcome: `succeeded`, `errored`, `expired`, `cancelled`.
        batches: Its batches, oldest first.
        submitted_at: When it was submitted, aware UTC.
        last_error: The last failure in this call, for a person to read; empty without one. It is retried.
        key: What it was named when it was submitted; empty if it was not, or by an earlier version.
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
    key: str = ""

    @property
    def ended(self) -> bool:
        """Whether every request has its outcome."""
        return self.state == "ended"


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of one item.

    Attributes:
        index: Its position among the items, from 0.
        name: Its key, if the items were a mapping, or its `custom_id`.
        request_id: The id of its request, which is also the provider's `custom_id`.
        outcome: How it ended.
    """

    index: int
    name: str | None
    request_id: str
    outcome: Outcome

    @property
    def ok(self) -> bool:
        """Whether the request succeeded."""
        return isinstance(self.outcome, Succeeded)

    @property
    def answer(self) -> Any:
        """The answer: JSON, or LangChain messages if the provider returns them.

        Raises:
            RequestFailed, RequestExpired, RequestCancelled: The request did not succeed.
        """
        if isinstance(self.outcome, Succeeded):
            return _messages.with_cost(_messages.decode_owned(self.outcome.answer), self.outcome.cost)
        raise _outcome.to_error(self.request_id, self.outcome)

    @property
    def cost(self) -> Decimal | None:
        """What was paid for the answer; zero where a cache or an equal request has answered.

        `None` if no price of it is known, the request did not succeed, or an earlier version has asked it.
        """
        return self.outcome.cost if isinstance(self.outcome, Succeeded) else None

    @property
    def error(self) -> RequestError | None:
        """The error of a request that did not succeed; otherwise `None`."""
        return None if isinstance(self.outcome, Succeeded) else _outcome.to_error(self.request_id, self.outcome)
