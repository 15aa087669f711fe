"""The far end of an SDK's HTTP client: a request that reaches it is asked of a batch, and its outcome is the response.

So building the request, parsing the response, structured output and errors stay the SDK's own.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.headers import deciding
from batch_bridge._core.json import text as _text
from batch_bridge._core.models import JSON, Cancelled, Errored, Expired, Outcome, Succeeded
from batch_bridge._dropin.asker import Asker
from batch_bridge._node.replayed import Replayed
from batch_bridge.errors import UsageError
from batch_bridge.langchain import _costs
from batch_bridge.langchain import _sibling_barrier as _barrier
from batch_bridge.langchain._exception_tunnel import ExceptionTunnel

_CREDENTIALS = frozenset({"api-key", "authorization", "x-api-key", "x-goog-api-key"})
"""Headers that every SDK sets for the account. A call's own are refused before: see `refuse_credentials`."""
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as an SDK sent it.

    Attributes:
        path: The URL's path.
        query: The URL's parameters.
        headers: Those of this one call, by their names in lower case.
        body: The JSON body.
    """

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: dict[str, JSON]


class HTTPRequest(Protocol):
    """A request of httpx, or of httpx2."""

    @property
    def url(self) -> Any:
        """Where it goes."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers."""
        ...

    @property
    def content(self) -> bytes:
        """Its body."""
        ...


class BatchTransport:
    """A transport for clients of httpx and of httpx2, synchronous and asynchronous. It holds no connection.

    What is raised while a request is asked leaves as a `ExceptionTunnel`, so that no SDK calls again or wraps it.

    Args:
        asker: Sends the requests.
        read: Makes an item of a request.
        usual: Headers of the client, which go with each of its calls.
    """

    def __init__(self, asker: Asker, read: Callable[[Sent], JSON], usual: Mapping[str, object] | None = None) -> None:
        self._asker = asker
        self._read = read
        self._usual = {name.lower(): value for name, value in (usual or {}).items()}

    def handle_request(self, request: HTTPRequest) -> Any:
        """Answer a request of a synchronous client.

        Raises:
            ExceptionTunnel: With what `Asker.ask_sync` raises, or the error of a request that never ran.
        """
        try:
            item = self._item(request)
            _barrier.come_sync()
            return _respond(request, *self._asker.ask_sync(item))
        except Exception as error:  # noqa: BLE001  # raised again where no SDK can catch it, interrupts too
            raise ExceptionTunnel(error) from None

    async def handle_async_request(self, request: HTTPRequest) -> Any:
        """Answer a request of an asynchronous client.

        Raises:
            ExceptionTunnel: With what `Asker.ask` raises, or the error of a request that never ran.
        """
        try:
            item = self._item(request)
            await _barrier.come()
            return _respond(request, *await self._asker.ask(item))
        except Exception as error:  # noqa: BLE001  # raised again where no SDK can catch it, interrupts too
            raise ExceptionTunnel(error) from None

    def close(self) -> None:
        """Do nothing: there is no connection."""

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""

    def _item(self, request: HTTPRequest) -> JSON:
        own = {
            name: value
            for name, value in deciding(request.headers, self._usual).items()
            if name not in _CREDENTIALS and (name, value) != ("content-type", _JSON)
        }
        return self._read(Sent(request.url.path, dict(request.url.params), own, _text.read(request.content)))


def refuse(sent: Sent, *, query: frozenset[str] = frozenset()) -> None:
    """Refuse what a line of a batch has no place for; nothing of a call is dropped silently.

    Args:
        sent: The request.
        query: Parameters of the URL that do no harm.

    Raises:
        UsageError: The call has headers or parameters of its own.
    """
    for what, names in (("header", sent.headers.keys()), ("query parameter", sent.query.keys() - query)):
        if names:
            raise UsageError(
                f"this call of a batched model has the {what} {min(names)!r}, and a line of a batch has no place for "
                f"it; leave it out, set it on the provider's client, or call the model that was given to batched()"
            )


def refuse_credentials(headers: Mapping[str, object], client: Any) -> None:
    """Refuse a call that names another account than its client: a batch is of one account.

    Args:
        headers: Those that the call was given.
        client: The SDK's client of the model.

    Raises:
        UsageError: One of them is a credential, and not the client's own.
    """
    key = getattr(client, "api_key", None)
    own = {f"Bearer {key}", key, *(getattr(client, "default_headers", None) or {}).values()}
    for name, value in headers.items():
        if name.lower() in _CREDENTIALS and value not in own:
            raise UsageError(
                f"this call of a batched model has the header {name.lower()!r} with its own credential, but a "
                "batch is sent with the credentials of one account; omit it, and use a batched model for each account"
            )


def _respond(request: HTTPRequest, request_id: str, outcome: Outcome) -> Any:
    match outcome:
        case Succeeded(answer, cost):
            _costs.note(cost, is_replay=isinstance(outcome, Replayed))
            return _response(request, 200, answer, {})
        case Errored(message, code, int(status), _, body, name) if status >= 400:  # noqa: PLR2004
            said: JSON = {"message": message, "type": code, "code": code, "status": code}
            headers = {"x-should-retry": "false", "x-request-id": name or request_id}
            return _response(request, status, body or {"type": "error", "error": said}, headers)
        case Errored() | Expired() | Cancelled():
            raise _outcome.to_error(request_id, outcome)
        case _:
            assert_never(outcome)


def _response(request: HTTPRequest, status: int, body: JSON, headers: Mapping[str, str]) -> Any:
    http = sys.modules[type(request).__module__.partition(".")[0]]  # httpx or httpx2, whichever asks
    return http.Response(
        status, headers={"content-type": "application/json", **headers}, content=_text.write(body), request=request
    )
