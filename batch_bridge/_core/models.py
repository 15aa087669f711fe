"""The nouns: requests, outcomes, batches, and a provider's facts about them. Plain data."""

import asyncio
from collections.abc import AsyncIterable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypeAlias

import orjson

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a provider.

    Attributes:
        id: Known by content within its task (see `_identity`); the provider's `custom_id`. 32 hex digits.
        thread: The LangGraph thread, or other caller, that waits.
        item: What the user asked for, as JSON. Owned by the request: no code changes it.
        tenant: Its tenant, where there are several that must not share answers; else empty.
        sample: What tells it from equal requests whose author wants an answer for each; empty for the first.
        deadline: How long it may take; `None` leaves that to the bridge.
        label: What its asker calls it, on receipts; a node's name by default.
        run: The run that its thread belongs to, where it has one.
        trace: Where it was asked, as a `traceparent`; empty without tracing.
        is_priced: Its answer is to tell what it has cost.
    """

    id: str
    thread: str
    item: JSON
    tenant: str = ""
    sample: str = ""
    deadline: timedelta | None = None
    label: str = ""
    run: str = ""
    trace: str = ""
    is_priced: bool = False

    def __hash__(self) -> int:
        return hash(self.id)  # an item has no hash


class LineFrame:
    """What stands around the items of requests in a batch's input; the same for many.

    Args:
        owner: The provider that sends it; no other one may.
        before: Stands before a request's id.
        between: Stands between the id and the item.
        after: Stands behind the item, with the line's end.
        start: Bytes of the item that are left out at its beginning.
        end: Bytes that are left out at its end.

    Attributes:
        fixed: How much longer a line is than its request's id and item, in bytes.
    """

    __slots__ = ("_after", "_before", "_between", "_end", "_start", "fixed", "owner")

    def __init__(
        self, owner: object, before: bytes, between: bytes, after: bytes, *, start: int = 0, end: int = 0
    ) -> None:
        self.owner = owner
        self._before = before
        self._between = between
        self._after = after
        self._start = start
        self._end = -end if end else None
        self.fixed = len(before) + len(between) + len(after) - start - end

    def size(self, request: "Serialized") -> int:
        """Return the length of a request's line in bytes."""
        return self.fixed + len(request.id) + len(request.data)

    def write(self, requests: Iterable["Serialized"]) -> bytes:
        """Return the lines of requests."""
        before, between, after, start, end = self._before, self._between, self._after, self._start, self._end
        return b"".join(
            [piece for each in requests for piece in (before, each.id.encode(), between, each.data[start:end], after)]
        )


class Serialized(Request):
    """A request whose item is kept as bytes. `item` reads them each time, and is the reader's own.

    Attributes:
        data: The item as JSON.
        is_conversation: Whether the item is a list of dicts, one at least, without a LangChain message, as far as that
            is known.
        line: Its line at the provider that measured it, if that has made one.
        kind: The same for items that differ in nothing but what a provider passes on unread, so that one that has
            measured one of them knows the others' group and line; `None`: it must read the item.
    """

    __slots__ = ("data", "is_conversation", "kind", "line")
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__  # with the other one, it lets Python set attributes without a call

    def __init__(  # noqa: PLR0917  # the fields of `Request`, in its order
        self,
        id: str,  # noqa: A002
        thread: str,
        data: bytes | None = None,
        tenant: str = "",
        sample: str = "",
        deadline: timedelta | None = None,
        label: str = "",
        run: str = "",
        trace: str = "",
        is_priced: bool = False,  # noqa: FBT001, FBT002  # as it is in `Request`
        is_conversation: bool = False,  # noqa: FBT001, FBT002  # by its place, which takes less time
        *,
        item: JSON = None,
    ) -> None:
        self.id = id  # type: ignore[misc]
        self.thread = thread  # type: ignore[misc]
        self.data = orjson.dumps(item) if data is None else data  # `dataclasses.replace` gives the item
        self.tenant = tenant  # type: ignore[misc]
        self.sample = sample  # type: ignore[misc]
        self.deadline = deadline  # type: ignore[misc]
        self.label = label  # type: ignore[misc]
        self.run = run  # type: ignore[misc]
        self.trace = trace  # type: ignore[misc]
        self.is_priced = is_priced  # type: ignore[misc]
        self.is_conversation = is_conversation
        self.line: LineFrame | None = None
        self.kind: Hashable = None

    @property
    def item(self) -> JSON:
        """What the user asked for, as JSON, parsed at each call."""
        item: JSON = orjson.loads(self.data)
        return item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Request) and _fields(self) == _fields(other)

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return Request, _fields(self)


def _fields(request: Request) -> tuple[Any, ...]:
    return tuple(getattr(request, each.name) for each in fields(Request))


def item_bytes(request: Request) -> bytes:
    """Return a request's item as JSON, which is not written a second time if it was before."""
    return request.data if type(request) is Serialized else orjson.dumps(request.item)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed attempt of a request, after which it was sent again.

    Attributes:
        batch: Our key of its batch.
        kind: How the attempt ended: `errored`, `expired`, `cancelled`, or `overdue` if its batch was abandoned.
        code: The provider's code, if it gave one.
        at: When this was known, aware UTC.
        lane: The lane that the request has left because it was late there; else empty.
        asked_at: Since when it waits, if it was late; else `None`.
    """

    batch: str
    kind: str
    code: str
    at: datetime
    lane: str = ""
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True, init=False)
class Succeeded:
    """The provider answered.

    `answer` is JSON; `is_plain` if `orjson` has read it, and it is known to hold no LangChain message. `cost` is what
    was paid for it, if the request asked for it.
    """

    answer: JSON
    cost: Decimal | None = field(default=None, compare=False)
    is_plain: bool = field(default=False, compare=False, repr=False)

    def __init__(self, answer: JSON, cost: Decimal | None = None, is_plain: bool = False) -> None:  # noqa: FBT001, FBT002
        _set_answer(self, answer)
        _set_cost(self, cost)
        _set_plain(self, is_plain)


# There are as many of these as answers; a frozen dataclass's own `__init__` takes several times as long.
_set_answer, _set_cost, _set_plain = [vars(Succeeded)[each.name].__set__ for each in fields(Succeeded)]


@dataclass(frozen=True, slots=True)
class Errored:
    """The request failed at the provider, or on the way to it. `status_code` is the HTTP status, if there was one.

    `body` is the provider's response, and `provider_request_id` its own name for the call, if it gave them.
    `attempts` are the earlier attempts, oldest first.
    """

    message: str
    code: str = "error"
    status_code: int | None = None
    retryable: bool = False
    body: JSON = None
    provider_request_id: str | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class Expired:
    """The completion window closed before the request ran; it was not billed. `attempts` as in `Errored`."""

    message: str
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The request was cancelled before it ran; it was not billed. `attempts` as in `Errored`."""

    message: str
    attempts: tuple[Attempt, ...] = ()


Outcome: TypeAlias = Succeeded | Errored | Expired | Cancelled

FailureKind: TypeAlias = tuple[str, str, int | None, bool]
"""What failures are grouped by: kind, code, HTTP status, and whether the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a provider. They split batches or hold requests back, and never trigger a flush.

    Attributes:
        requests: Requests in a batch.
        bytes: Bytes of a batch's input, and so of any single request.
        enqueued_tokens: Input tokens of one group (a model) that may be at the provider at a time, estimated from
            bytes. Also learned from the provider, once it has refused a batch for it.
        batches: Batches at the provider at a time.
        creations_per_hour: Batches that may be created within an hour.

    Raises:
        ValueError: A limit is neither a positive integer nor `None`, which is no limit.
    """

    requests: int | None = None
    bytes: int | None = None
    enqueued_tokens: int | None = None
    batches: int | None = None
    creations_per_hour: int | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(
                    f"Limits({each.name}={value!r}) would never send anything; pass a whole number from 1, or None"
                )


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """How some prompts begin, which their provider keeps in a cache.

    Attributes:
        key: The same for equal beginnings, and for no others.
        lasts: How long the provider keeps it after it was written.
    """

    key: str
    lasts: timedelta


class Measure(NamedTuple):
    """The group and the size of a request, before it is sent.

    Attributes:
        group: What one batch may not mix: endpoint, model, tenant.
        bytes: The request's share of the batch's input, exact if the provider has a byte limit.
        line: Finishes the line of a request whose item is kept as bytes, for a provider that sends those as they are.
        prefix: How its prompt begins, where one request is to write that into the provider's cache before the others
            that begin so are sent; `None`: it waits for no other.
    """

    group: str
    bytes: int
    line: LineFrame | None = None
    prefix: CachedPrefix | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The billed tokens, and their model.

    `realtime` tokens have the full price, others that of a batch, of the flex tier or of a window.
    """

    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    realtime: bool = False


@dataclass(frozen=True, slots=True)
class InProgress:
    """The batch has not ended. `done` of `total` requests have, if the provider reports it.

    Attributes:
        outcomes: (request id, outcome) pairs that are already known; they are delivered now. A later poll need not
            repeat them; `Ended` contains all of them again.
        looking: Nothing is known yet: the poll continues in the background, and a later poll returns its result.
        news: Done once another poll would return more. A provider without it is polled at growing intervals.
        again_in: Seconds after which this batch is to be polled again, instead of its growing interval.
    """

    done: int | None = None
    total: int | None = None
    outcomes: tuple[tuple[str, Outcome], ...] = ()
    looking: bool = field(default=False, kw_only=True)
    news: "asyncio.Future[None] | None" = field(default=None, compare=False)
    again_in: float | None = field(default=None, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """The batch has ended, and will not change.

    Attributes:
        outcomes: (request id, outcome) pairs in any order, read once, as they arrive. Unknown ids, and second
            outcomes of a request, are set aside.
        missing: The outcome of each request that `outcomes` does not contain.
        usage: The billed usage, if the provider reports it; a function if it is summed while `outcomes` are read,
            which is called afterwards.
    """

    outcomes: AsyncIterable[tuple[str, Outcome]]
    missing: Outcome
    usage: Usage | Callable[[], Usage | None] | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What is written down of a batch with its requests, and never changes.

    Attributes:
        asked_at: Since when the first of its requests waits, aware UTC; `None` in rows of an earlier version.
        bytes: The size of its input, as the provider measures it.
        lane: In which lane it was sent, if not in the bridge's own; `"fallback"` where that is another provider.
        deadline: How long its requests may take, where they said so themselves.
        prefixes: Keys of the prefixes that it writes into the provider's cache, while others wait for that.
        barred: Lanes that its requests do not go to: they refuse them, or were left.
    """

    asked_at: datetime | None = None
    bytes: int = 0
    lane: str = ""
    deadline: timedelta | None = None
    prefixes: tuple[str, ...] = ()
    barred: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Blind:
    """How long a batch could not be looked at, without one good look in between.

    Attributes:
        since: The first look that failed, aware UTC.
        at: The last one.
        spent: How long looks have failed. While no process runs, or its machine sleeps, no look is made: such a pause
            counts for no more than one between two looks.
    """

    since: datetime
    at: datetime
    spent: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Intent:
    """A batch whose submission was begun.

    Attributes:
        key: Our own name for it, derived from its requests and when they were queued; kept where the provider shows it.
        requests: Request ids in the order sent. Immutable: written before anything is sent.
        group: The provider's group.
        begun_at: When the intent was written, aware UTC.
        prepared: What `Provider.prepare` returned (an uploaded file's id), or `None`.
        keys: What each request's answer is known by, in their order (see `_engine/deduplication.py`); or nothing.
        shared: Members with the same key are sent as one line, under the id of the first.
        terms: What else was known when it was begun.
        elsewhere: Its requests that a batch has answered meanwhile which they had left.
    """

    key: str
    requests: tuple[str, ...]
    group: str
    begun_at: datetime
    prepared: JSON = None
    keys: tuple[str, ...] = ()
    shared: bool = False
    terms: Terms = Terms()
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SubmittedBatch:
    """A batch that the provider has confirmed; what is not named here is as in `Intent`.

    Attributes:
        handle: The provider's name for it, as JSON.
        left: Why no request waits for it any more, so that it is stopped: `"cancelled"`, its requests were cancelled;
            `"overdue"`, they are answered elsewhere and are no longer its requests. Answers that it gives all the same
            are counted.
        blind: How long it could not be looked at; `None` if it could the last time.
        kept: Requests that it has answered, though they had left it and waited to be sent again.
        moved: Requests that it had not answered when it was left, and that are answered elsewhere.
        gave: Those of them that it has answered first, though they were in another batch by then.
        elsewhere: Its requests that another batch has answered so, which they had left.
        leaves_at: When its requests move on whether it has stopped or not; `None`: it was not asked to stop.
    """

    key: str
    requests: tuple[str, ...]
    group: str
    submitted_at: datetime
    handle: JSON
    keys: tuple[str, ...] = ()
    shared: bool = False
    terms: Terms = Terms()
    left: Literal["", "overdue", "cancelled"] = ""
    blind: Blind | None = None
    kept: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    gave: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    leaves_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """A batch that has been settled: what is left of it for reports.

    Attributes:
        requests: Those that have their outcome from it.
        outcomes: How many of each kind.
        resubmitted: Requests that were sent again after it.
        paid_twice: Requests that it has answered though they were sent elsewhere, because it was late.
        group: The provider's group; empty in rows of an earlier version.
        failures: How many requests failed in which way: (kind, code, HTTP status, whether it may pass) -> count.
        lane: How it was answered: `batch`, or by single calls, `realtime`.
    """

    key: str
    handle: JSON
    requests: int
    submitted_at: datetime
    ended_at: datetime
    outcomes: Mapping[str, int] = field(default_factory=dict)
    usage: Usage | None = None
    resubmitted: int = 0
    paid_twice: int = 0
    group: str = ""
    failures: Mapping[FailureKind, int] = field(default_factory=dict)
    lane: str = "batch"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a provider reads of a request before it is sent.

    Attributes:
        model: The model that it asks.
        body: What is posted.
        has_output: Whether tokens are answered; an embedding has none.
        tokens: How many input tokens a tokenizer counts in its texts; `None` without one.
    """

    model: str
    body: Mapping[str, JSON]
    has_output: bool = True
    tokens: int | None = None
