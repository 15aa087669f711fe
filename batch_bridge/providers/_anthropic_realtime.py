"""One request as one call of the Messages API, with the outcome that a batch would give it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from batch_bridge._models import Errored, Request, Usage
from batch_bridge.providers import _anthropic_failure as failure
from batch_bridge.providers._anthropic_call import Call
from batch_bridge.providers._anthropic_clients import Clients
from batch_bridge.providers._anthropic_download import Bill
from batch_bridge.providers._anthropic_result import answered, failed, loads
from batch_bridge.providers._failure import retry_after, status_of
from batch_bridge.providers._realtime_reply import Reply, TryLater

_PATH: Final = "/v1/messages"


class Caller:
    """Answers requests one by one.

    Args:
        clients: Where the client of the running loop comes from. It repeats nothing by itself.
        read: A request as a call.
        headers: Beside the client's own.
    """

    def __init__(self, clients: Clients, read: Callable[[Request], Call], headers: Mapping[str, str]) -> None:
        self._clients = clients
        self._read = read
        self._options: Any = {"headers": headers} if headers else {}

    async def answer(self, request: Request) -> Reply:
        """Make the call, once.

        Raises:
            TryLater: It was not sent, or was refused for now (408, 409, 429, 5xx).
            RequestRefused: It is no request.
        """
        call = self._read(request)
        doing = f"calling {_PATH}"
        try:
            content = await self._clients.call(
                f"POST {_PATH}",
                lambda client: client.post(_PATH, cast_to=bytes, body=dict(call.body), options=self._options),
            )
        except Exception as error:  # noqa: BLE001  # each becomes an outcome, or is tried again
            return Reply(_judge(doing, error))
        try:
            body = loads(content)
        except ValueError:
            return Reply(Errored(f"{doing} was answered with no JSON", code="unexpected_answer", status_code=200))
        return Reply(answered(body, wants_message=call.wants_message), _usage(body, call.model))

    async def aclose(self) -> None:
        """Close the client that was made for the running loop; never the user's own."""
        await self._clients.aclose()


def _judge(doing: str, error: Exception) -> Errored:
    """Return what a failed call's request ends with.

    Raises:
        TryLater: It may end otherwise if it is called again, and was not billed.
    """
    status = status_of(error)
    if status is None:
        errored = failure.of_call(doing, error)
        if errored.code == failure.UNREACHABLE:
            raise TryLater(errored) from error
        return errored
    response: Any = getattr(error, "response", None)
    headers: Mapping[str, str] = getattr(response, "headers", {})
    try:
        body = loads(response.content)
    except (ValueError, AttributeError):
        body = None
    errored = failed(body, status)
    if errored.retryable and headers.get("x-should-retry") != "false":
        raise TryLater(errored, retry_after(error)) from error
    return errored


def _usage(body: object, model: str) -> Usage | None:
    bill = Bill(model)
    bill.add({"result": {"message": body}})
    usage = bill.usage()
    return usage and Usage(usage.model, usage.input_tokens, usage.output_tokens, usage.cached_tokens, realtime=True)
