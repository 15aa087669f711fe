"""The clients that Anthropic's API is called with: the user's own, or one for each event loop."""

import os
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

from anthropic import Anthropic, AnthropicError, AsyncAnthropic, DefaultAsyncHttpxClient, DefaultHttpxClient

from batch_bridge._core.headers import deciding
from batch_bridge.providers._shared.failures.failure import NoCredentials
from batch_bridge.providers._shared.http import clients as _clients
from batch_bridge.providers._shared.http.response_limits import USUAL, ResponseLimits

Own: TypeAlias = AsyncAnthropic | Callable[[], AsyncAnthropic]
"""What users may give: a client, or a function that makes a new one each time."""
Made = TypeVar("Made", Anthropic, AsyncAnthropic)

_MISSING: Final = (
    "there is no Anthropic API key; set the environment variable ANTHROPIC_API_KEY, or pass "
    "AnthropicBatch(AsyncAnthropic(api_key=…))"
)


class AnthropicClients(_clients.Clients[AsyncAnthropic]):
    """Gives out the client for the running event loop.

    Args:
        own: The user's client, which is never closed here. One that was given an HTTP client is used as it is, and a
            second loop that uses it is warned of. Or a function that makes one, called for each loop (and once to
            learn where calls go); what it makes is closed here.
        limits: What is taken from the provider at most.
    """

    _instead = "AnthropicBatch(lambda: AsyncAnthropic(http_client=…))"

    def __init__(self, own: Own | None, limits: ResponseLimits = USUAL) -> None:
        client, make = _clients.read_own(own, AsyncAnthropic)
        if client is not None and not isinstance(client, AsyncAnthropic):
            hint = (
                "an Anthropic client is synchronous; pass AsyncAnthropic(…) with the same arguments"
                if type(client).__name__ == "Anthropic"
                else "pass an anthropic.AsyncAnthropic, a function that returns one, or nothing to create one from "
                "ANTHROPIC_API_KEY; the clients of other clouds do not support Message Batches"
            )
            raise _clients.wrong("AnthropicBatch", client, hint)
        super().__init__(
            client and client.with_options(max_retries=0),
            make and (lambda: make().with_options(max_retries=0)),
            limits,
        )

    def _new(self) -> AsyncAnthropic:
        return _from_environment(lambda: AsyncAnthropic(max_retries=0))

    def _copy(self, own: AsyncAnthropic) -> AsyncAnthropic:
        return own.with_options(
            http_client=DefaultAsyncHttpxClient(timeout=own.timeout, verify=_clients.certificates(self._http(own)))
        )

    async def _close(self, client: AsyncAnthropic) -> None:
        await client.close()

    def _http(self, client: AsyncAnthropic) -> object:
        return client._client  # noqa: SLF001  # there is no public way to it

    def _with_http(self, client: AsyncAnthropic, http: Any) -> AsyncAnthropic:
        return client.with_options(http_client=http)

    def _base_url(self, client: AsyncAnthropic) -> Any:
        return client.base_url

    def _is_plain(self, client: AsyncAnthropic) -> bool:
        return type(self._http(client)).__module__ == "anthropic._base_client"

    def _place_of(self, client: AsyncAnthropic) -> tuple[str, ...]:
        return _place(client)

    def _describe(self) -> tuple[str, ...]:
        """Return where the calls of `_new`'s would go.

        Without a key in the environment the SDK looks for a profile, which is read from the disk: on a loop where
        that is refused, this is not known before a client was made.
        """
        key, token = (os.environ.get(name) or None for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"))
        http = DefaultHttpxClient(transport=_clients.nowhere())
        # A key that is given is not warned of: to do so, the SDK would look for a profile even now.
        with _from_environment(
            lambda: Anthropic(api_key=key, auth_token=None if key else token, http_client=http)
        ) as it:
            return _place(it)


def _from_environment(make: Callable[[], Made]) -> Made:
    try:
        client = make()
    except AnthropicError as error:
        raise NoCredentials(_MISSING) from error
    if client.api_key is None and client.auth_token is None and getattr(client, "credentials", None) is None:
        raise NoCredentials(_MISSING)
    return client


def _place(client: Anthropic | AsyncAnthropic) -> tuple[str, ...]:
    told = [*client._custom_query.items(), *deciding(client._custom_headers).items()]  # noqa: SLF001  # no public way to them
    return _clients.address(client.base_url), *_clients.options(told)
