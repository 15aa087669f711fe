"""The interface between the engine and the providers that answer batches."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeGuard, TypeVar

from batch_bridge._core.models import JSON, Ask, Ended, InProgress, Limits, LineFrame, Measure, Request

Measuring = TypeVar("Measuring", bound=Callable[..., Measure])


class Provider(Protocol):
    """Answers batches of requests.

    `submit` and `poll` do the work. The other methods exist because no provider's create call is idempotent:
    with them the engine finds out the result of a create call whose response was lost.

    A failed call raises `ProviderUnavailable` (no effect, try again later), `SubmissionUnknown`
    (look for the batch first) or `SubmissionRefused` (permanent). Any other exception fails the requests of the batch
    with its message. Items and handles are JSON; a handle is stored and may be polled by another process.

    A provider may have a property `room`: how many requests it takes now, where it takes only so many at a time. The
    rest waits in the queue; `None` is no limit. It may have a method `hurry(handle)`: the next `poll` of this batch
    looks at once, where it would not for a pace of its own. `look_at_once(handle)` says the same of the last `poll`
    before requests are paid for again, which no limit may hold up. `refuses(handle)` returns whether there is no
    capacity for a batch, which may then go to another lane. Its `finds(prepared)` returns false where `find` cannot
    look a batch up. It may have the methods of `HasRealtime`, `HasIdentity`, `HasTokens` and `HasPrice`; a
    wrapper's may come by `__getattr__`.
    """

    @property
    def limits(self) -> Limits:
        """The limits of one batch."""
        ...

    def measure(self, request: Request) -> Measure:
        """Return the group and the size of a request, before it is queued. Pure.

        Raises:
            RequestRefused: This request can never be sent.
        """
        ...

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:
        """Do free preparation, such as an upload. The result is stored before `submit` runs."""
        ...

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:
        """Create the batch, once, and return its handle. The provider itself never retries this."""
        ...

    async def poll(self, handle: JSON, requests: Sequence[str], /) -> InProgress | Ended:
        """Return the state of the batch, with its results if it has ended. `requests` are its request ids, in order."""
        ...

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:
        """Return the handles of all batches that were created for `key`, oldest first.

        Raises:
            SubmissionUnknown: This provider cannot look batches up.
        """
        ...

    async def fence(self, prepared: JSON) -> None:
        """Make sure that a create call still under way has no effect, for example by deleting its input file."""
        ...

    async def cancel(self, handle: JSON) -> None:
        """Cancel the batch. Idempotent; an ended batch is not an error."""
        ...

    async def release(self, handle: JSON) -> None:
        """Delete what the provider stored for the batch, which is settled and durable. Idempotent."""
        ...

    async def aclose(self) -> None:
        """Close connections. The provider may be used again afterwards."""
        ...


class HasIdentity(Provider, Protocol):
    """A provider that can say which requests are equal; a response cache needs it."""

    def identity(self, request: Request) -> bytes:
        """Return everything that decides a request's answer: its content and its destination. No secrets. Pure.

        Equal bytes promise equal answers. In doubt, they differ.
        """
        ...


class HasTokens(Provider, Protocol):
    """A provider that can count a request's tokens before it is sent."""

    def tokens(self, request: Request) -> int | None:
        """Return the approximate number of input tokens of a request; `None` if it is unknown, or not known yet.

        Called for a few requests of each group if tokens are limited. Does not block for long.
        """
        ...


class HasPrice(Provider, Protocol):
    """A provider whose requests can be priced before they are sent."""

    @property
    def vendor(self) -> str | None:
        """Whose prices they are, as `genai-prices` names the provider; `None` if that is not known."""
        ...

    def ask(self, request: Request) -> Ask:
        """Return a request's model, and the body that is posted. Pure.

        Raises:
            RequestRefused: It is no request.
        """
        ...


class HasRealtime(Provider, Protocol):
    """A provider that also supports realtime, at full price."""

    def realtime(self) -> Provider:
        """Return a provider for the same items and outcomes that makes one call for each request."""
        ...


# `isinstance` of a runtime-checkable protocol does not see what `__getattr__` gives, from Python 3.12 on: so these ask.


def has_identity(provider: Provider) -> TypeGuard[HasIdentity]:
    """Return whether a provider can say which requests are equal, itself or by delegation."""
    return callable(getattr(provider, "identity", None))


def has_tokens(provider: Provider) -> TypeGuard[HasTokens]:
    """Return whether a provider can count a request's tokens, itself or by delegation."""
    return callable(getattr(provider, "tokens", None))


def has_price(provider: Provider) -> TypeGuard[HasPrice]:
    """Return whether a provider's requests can be priced before they are sent, by itself or by its delegate."""
    return callable(getattr(provider, "ask", None))


def has_realtime(provider: Provider) -> TypeGuard[HasRealtime]:
    """Return whether a provider supports realtime, itself or by delegation."""
    return callable(getattr(provider, "realtime", None))


def knows_conversations(measure: Measuring) -> Measuring:
    """Say of a provider's `measure` that its method `conversations` knows what it returns for every conversation.

    It is said of the function, so that it is not true of a `measure` that takes this one's place, or wraps it.
    """
    measure.knows_conversations = measure  # type: ignore[attr-defined]  # names itself: `functools.wraps` copies it
    return measure


def conversations_of(provider: Provider) -> tuple[LineFrame, str] | None:
    """Return the line and the group of every conversation whose item is kept as bytes, if a provider knows them."""
    function = getattr(provider.measure, "__func__", provider.measure)
    if getattr(function, "knows_conversations", None) is not function:
        return None
    asked: Any = getattr(provider.measure, "__self__", provider)  # a lane may measure by another provider's function
    known: tuple[LineFrame, str] | None = asked.conversations()
    return known
