"""The nouns: requests, outcomes, batches and what a provider tells about them. Plain data, no behaviour."""

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a provider.

    Attributes:
        id: Known by content within its task (see `_identity`); the provider's `custom_id`. 32 hex digits.
        thread: The LangGraph thread that waits, or whoever else does.
        item: What the user asked for, as JSON. Owned by the request: nobody changes it.
    """

    id: str
    thread: str
    item: JSON


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The provider answered. `answer` is JSON."""

    answer: JSON


@dataclass(frozen=True, slots=True)
class Errored:
    """The provider, or the way to it, refused this request. `status_code` is HTTP's, where there was one."""

    message: str
    code: str = "error"
    status_code: int | None = None
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Expired:
    """The completion window closed before the request ran; it was not billed."""

    message: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The request was cancelled before it ran; it was not billed."""

    message: str


Outcome: TypeAlias = Succeeded | Errored | Expired | Cancelled


@dataclass(frozen=True, slots=True)
class Limits:
    """What one batch of a provider may hold. They split batches and never trigger a flush.

    Attributes:
        requests: Requests in a batch.
        bytes: Bytes of a batch's input, and so of any one request.
    """

    requests: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """What a provider knows of one request before it is sent.

    Attributes:
        group: What one batch may not mix: endpoint, model, tenant.
        bytes: The request's share of the batch's input, exact where the provider has a byte limit.
    """

    group: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a batch was billed for, and the model that they were billed at."""

    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class InProgress:
    """The batch has not ended. `done` of `total` requests are, as far as the provider tells."""

    done: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The batch will not change any more.

    Attributes:
        outcomes: (request id, outcome) pairs in any order, read once, as they arrive. Ids that the batch does not
            hold and second outcomes of one request are put aside.
        missing: The outcome of each request that `outcomes` does not name.
        usage: What was billed, where the provider tells.
    """

    outcomes: AsyncIterable[tuple[str, Outcome]]
    missing: Outcome
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """A batch whose submission was begun.

    Attributes:
        key: Our own name for it, derived from its members; kept where the provider shows it.
        members: Request ids in the order sent. Immutable: written before anything is sent.
        group: The provider's group.
        begun_at: When the intent was written, aware UTC.
        prepared: What `Provider.prepare` returned (an uploaded file's id), or `None`.
    """

    key: str
    members: tuple[str, ...]
    group: str
    begun_at: datetime
    prepared: JSON = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """A batch that the provider has confirmed. `handle` is the provider's name for it, as JSON."""

    key: str
    members: tuple[str, ...]
    group: str
    submitted_at: datetime
    handle: JSON


@dataclass(frozen=True, slots=True)
class Closed:
    """A batch that has been settled: what is left of it for reports. `outcomes` counts them by kind."""

    key: str
    handle: JSON
    requests: int
    submitted_at: datetime
    ended_at: datetime
    outcomes: Mapping[str, int] = field(default_factory=dict)
    usage: Usage | None = None
