"""The clients that a provider of any vendor calls an API with: the user's own, or one for each event loop."""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from copy import copy
from typing import Any, ClassVar, Final, Generic, Literal, Self, TypeVar
from weakref import WeakKeyDictionary, ref

from batch_bridge._core.wording.log import logger_of
from batch_bridge.providers._shared.http import response_guard as _guard
from batch_bridge.providers._shared.http.response_limits import USUAL, ResponseLimits

logger = logger_of(__name__)

C = TypeVar("C")
T = TypeVar("T")
Carries = Literal["state", "requests", "answer", "results"]
"""What a call is for: to ask how something is, to hand over requests, to get an answer or the results of a batch."""
_SIZES: Final[dict[Carries, str]] = {
    "state": "body_bytes",
    "requests": "body_bytes",
    "answer": "answer_bytes",
    "results": "download_bytes",
}

_CREDENTIALS: Final = ("authorization", "proxy-authorization", "api-key", "x-api-key", "cookie", "user-agent")
"""Headers and query parameters, in lower case, that do not change an answer or must not be in a key."""


class Clients(ABC, Generic[C]):
    """Gives out the client for the running event loop, which never repeats a call by itself.

    A client's connections belong to the loop that made them, and the user's may be at home in another one. So
    each loop gets a client of its own with the user's settings, made when it is needed. The engine repeats
    what failed: the SDK does not.

    Args:
        own: The user's client, which is never closed here. One that was given an HTTP client is used as it is.
        make: Makes a new client of the user's for each loop; these clients are closed here.
        limits: What is taken from the provider at most.

    Attributes:
        limits: The same.
        calls: How often each call of the API was made.
    """

    _instead: ClassVar[str | None] = None
    """The provider, with a function for a client, that a second loop needs which uses the user's HTTP client."""

    def __init__(self, own: C | None, make: Callable[[], C] | None = None, limits: ResponseLimits = USUAL) -> None:
        self.limits = limits
        self._guarded: C | None = None
        self._own = own
        self._make = make
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, C] = WeakKeyDictionary()
        self._home: ref[asyncio.AbstractEventLoop] | None = None
        self._has_warned = False
        self._place: tuple[str, ...] | None = None
        self.calls: Counter[str] = Counter()

    def client(self) -> C:
        """Return the client for the running event loop.

        Raises:
            NoCredentials: There is no API key.
        """
        return self._known() or self._keep(self._create())

    async def open(self) -> C:
        """Do what `client` does; a new one, which reads certificates from the disk, is made in a thread."""
        return self._known() or self._keep(await asyncio.to_thread(self._create))

    async def call(self, name: str, call: Callable[[C], Awaitable[T]], carries: Carries = "state") -> T:
        """Make one call of the API, counted under `name`.

        Args:
            name: What it is counted under.
            call: Makes it.
            carries: What for: the limits are those of such a call. For `"results"` they hold for what the returned
                stream yields, too, but for the time.

        Raises:
            TimeoutError: It has taken longer than is allowed.
        """
        client = await self.open()
        self.calls[name] += 1
        field = "call_time" if carries == "state" else "transfer_time"
        seconds = getattr(self.limits, field).total_seconds()
        size = _SIZES[carries]
        with _guard.at_most(getattr(self.limits, size), size):
            try:
                async with asyncio.timeout(seconds) as timer:
                    return await call(client)
            except TimeoutError as error:
                if not timer.expired():
                    raise
                raise TimeoutError(
                    f"it was not done within {seconds:g} seconds, which is ResponseLimits({field}=…)"
                ) from error

    def place(self) -> tuple[str, ...]:
        """Return where calls go, as far as that may change an answer: no secrets. No client is made for calls.

        Raises:
            NoCredentials: There is no API key.
        """
        if self._place is None:
            self._place = self._describe() if self._own is None else self._place_of(self._own)
        return self._place

    def twin(self) -> Self:
        """Return the same once more, with connections of its own; its calls are counted here too."""
        twin = copy(self)
        twin._made = WeakKeyDictionary()  # noqa: SLF001  # our own
        return twin

    async def aclose(self) -> None:
        """Close the client that was made for the running event loop; a new one is made when it is needed."""
        client = self._made.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await self._close(client)

    def _known(self) -> C | None:
        loop = asyncio.get_running_loop()
        own = self._own
        if own is not None and self._make is None and not self._is_plain(own):
            self._note(loop)
            return self._guard_own(own)
        return self._made.get(loop)

    def _create(self) -> C:
        if self._own is None:
            return self._new()
        return self._copy(self._own) if self._make is None else self._make()

    def _keep(self, client: C) -> C:
        loop = asyncio.get_running_loop()
        if self._own is None:
            self._place = self._place or self._place_of(client)
        elif self._http(client) is self._http(self._own):  # always the same one: the user's, then
            self._note(loop)
            return self._guard_own(client)
        if (http := self._http(client)) is not None:  # it was made here, or for us alone
            _guard.guard(http, self._base_url(client), self.limits)
        return self._made.setdefault(loop, client)

    def _guard_own(self, own: C) -> C:
        """Return the user's client with bounds; the user's own is not changed."""
        if self._guarded is None:
            http = self._http(own)
            is_known = getattr(http, "event_hooks", None) is not None
            bounded = _guard.guarded(http, self._base_url(own), self.limits) if is_known else None
            self._guarded = own if bounded is None else self._with_http(own, bounded)
        return self._guarded

    def _note(self, loop: asyncio.AbstractEventLoop) -> None:
        """Warn, once, of a second loop that uses the user's HTTP client."""
        if self._home is None:
            self._home = ref(loop)
        elif self._home() is not loop and not self._has_warned and self._instead is not None:
            self._has_warned = True
            logger.warning(
                "%s: a client with its own http_client is used in a second event loop, but its "
                "connections belong to one; pass a function that returns a new client and is called once for "
                "each loop: "
                "%s",
                self._instead.partition("(")[0],
                self._instead,
            )

    # -- what is the vendor's ------------------------------------------------------------------------------------

    @abstractmethod
    def _new(self) -> C:
        """Make a client from the environment; in a thread.

        Raises:
            NoCredentials: There is no API key.
        """

    @abstractmethod
    def _copy(self, own: C) -> C:
        """Make one with the settings of the user's, and connections of its own; in a thread."""

    @abstractmethod
    async def _close(self, client: C) -> None:
        """Close what `_new`, `_copy` or the user's function has made."""

    @abstractmethod
    def _http(self, client: C) -> object:
        """Return a client's HTTP client, or `None` if it has none that is known."""

    @abstractmethod
    def _with_http(self, client: C, http: Any) -> C:
        """Return the same client with another HTTP client, which is not closed with it."""

    @abstractmethod
    def _base_url(self, client: C) -> Any:
        """Return a client's address, of either HTTP library or of the standard library."""

    @abstractmethod
    def _is_plain(self, client: C) -> bool:
        """Return whether the SDK made a client's HTTP client, and not the user."""

    @abstractmethod
    def _place_of(self, client: C) -> tuple[str, ...]:
        """Return where a client's calls go."""

    @abstractmethod
    def _describe(self) -> tuple[str, ...]:
        """Return where the calls of `_new`'s would go; on an event loop, so nothing is read from the disk.

        Raises:
            NoCredentials: There is no API key.
        """


class _Nowhere:
    """A transport that reaches no server."""

    def close(self) -> None:
        """Nothing is open."""


def nowhere() -> Any:
    """Return the transport, of either HTTP library, for a client that makes no call and is asked for its settings.

    One of the library's own reads certificates from the disk when it is made.
    """
    return _Nowhere()


def read_own(own: C | Callable[[], C] | None, kind: type[C]) -> tuple[C | None, Callable[[], C] | None]:
    """Return the user's client, and the function that makes it if they gave one: it is called to see what it makes."""
    if own is None or isinstance(own, kind) or not callable(own):
        return own, None
    return own(), own


def certificates(http: object) -> ssl.SSLContext | Literal[True]:
    """Return what an HTTP client checks certificates with, so that another one need not read them from the disk again.

    `True`, the default of both HTTP libraries, where that cannot be told: they have no public way to it.
    """
    pool = getattr(getattr(http, "_transport", None), "_pool", None)
    context = getattr(pool, "_ssl_context", None)
    return context if isinstance(context, ssl.SSLContext) else True


def wrong(provider: str, given: object, hint: str) -> TypeError:
    """Return what is raised where a provider is given something that is no client of its vendor's."""
    return TypeError(f"{provider}({type(given).__module__}.{type(given).__qualname__} object): {hint}")


def address(url: Any) -> str:  # of either HTTP library
    """Return an address without the user's name and password in it."""
    return f"{url.scheme}://{url.host}:{url.port}{url.raw_path.decode()}"


def options(pairs: Iterable[tuple[str, object]]) -> list[str]:
    """Return those headers and query parameters, in order, that may change an answer and are no credentials."""
    return sorted(
        f"{name}={value}" for name, value in pairs if name.lower() not in _CREDENTIALS and isinstance(value, str)
    )
