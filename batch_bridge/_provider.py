"""The port between the engine and whoever answers batches."""

from collections.abc import Sequence
from typing import Protocol, TypeGuard

from batch_bridge._models import JSON, Ended, InProgress, Limits, Measure, Request
from batch_bridge._money import Ask


class Provider(Protocol):
    """Answers batches of requests.

    Two verbs do the work, `submit` and `poll`. The others exist because no provider's create call is idempotent:
    they let the engine find out what became of a submission that it did not see the end of.

    A call that failed is told by type: `ProviderUnavailable` (nothing happened, later), `SubmissionUnknown`
    (look for it first), `SubmissionRefused` (never). Any other exception fails the requests of the batch with its
    message. Items and handles are JSON; a handle is stored and may be polled by another process.

    A provider may have a property `room`: how many requests it takes now, where it takes only so many at a time. The
    rest waits in the queue; `None` is no limit. It may have the methods of `HasRealtime`, `HasIdentity`, `HasTokens`
    and `HasPrice`; a wrapper's may come by `__getattr__`.
    """

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        ...

    def measure(self, request: Request) -> Measure:
        """Tell the group and the size of a request, before it is queued. Pure.

        Raises:
            RequestRefused: This request can never be sent.
        """
        ...

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:
        """Do what must be done before `submit` and costs nothing, such as an upload; stored before `submit` runs."""
        ...

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:
        """Create the batch, once; never retried by the provider itself. Returns its handle."""
        ...

    async def poll(self, handle: JSON, members: Sequence[str]) -> InProgress | Ended:
        """Tell whether the batch has ended, and with what. `members` are its request ids in the order sent."""
        ...

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:
        """Return the handles of all batches that were created for `key`, oldest first.

        Raises:
            SubmissionUnknown: This provider cannot be asked.
        """
        ...

    async def fence(self, prepared: JSON) -> None:
        """Make sure that a create call still on its way comes to nothing, e.g. by deleting its input file."""
        ...

    async def cancel(self, handle: JSON) -> None:
        """Ask that the batch be stopped. Idempotent; an ended batch is no error."""
        ...

    async def release(self, handle: JSON) -> None:
        """Called once the batch is settled and durable; what the provider stored for it may go. Idempotent."""
        ...

    async def aclose(self) -> None:
        """Give back connections. The provider may be used again afterwards."""
        ...


class HasIdentity(Provider, Protocol):
    """A provider that can say which requests are equal; a response cache needs it."""

    def identity(self, request: Request) -> bytes:
        """Return all that decides a request's answer: the whole of what is sent, and where. No secrets. Pure.

        Bytes that are equal promise equal answers. Where in doubt, they differ.
        """
        ...


class HasTokens(Provider, Protocol):
    """A provider that can count a request's tokens before it is sent."""

    def tokens(self, request: Request) -> int | None:
        """Return about how many input tokens a request has; `None` where that cannot be told, or not yet.

        Asked for a few requests of each group, where tokens are limited. Does not block for long.
        """
        ...


class HasPrice(Provider, Protocol):
    """A provider whose requests can be priced before they are sent."""

    @property
    def vendor(self) -> str | None:
        """Whose prices they are, as `genai-prices` names the provider; `None` if that is not known."""
        ...

    def ask(self, request: Request) -> Ask:
        """Return whom a request asks, and what is posted. Pure.

        Raises:
            RequestRefused: It is no request.
        """
        ...


class HasRealtime(Provider, Protocol):
    """A provider that can also answer at once, for the full price."""

    def realtime(self) -> Provider:
        """Return a provider that takes the same items and gives the same outcomes, by a call for each request."""
        ...


# `isinstance` of a runtime-checkable protocol does not see what `__getattr__` gives, from Python 3.12 on: so these ask.


def has_identity(provider: Provider) -> TypeGuard[HasIdentity]:
    """Tell whether a provider can say which requests are equal, by itself or by whom it delegates to."""
    return callable(getattr(provider, "identity", None))


def has_tokens(provider: Provider) -> TypeGuard[HasTokens]:
    """Tell whether a provider can count a request's tokens, by itself or by whom it delegates to."""
    return callable(getattr(provider, "tokens", None))


def has_price(provider: Provider) -> TypeGuard[HasPrice]:
    """Tell whether a provider's requests can be priced before they are sent, by itself or by whom it delegates to."""
    return callable(getattr(provider, "ask", None))


def has_realtime(provider: Provider) -> TypeGuard[HasRealtime]:
    """Tell whether a provider can also answer at once, by itself or by whom it delegates to."""
    return callable(getattr(provider, "realtime", None))
