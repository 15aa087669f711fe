"""One request as one call of the Messages API, with the outcome that a batch would give it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from batch_bridge._core.models import Errored, Request, Usage
from batch_bridge.providers._shared.clean_text import without_secrets
from batch_bridge.providers._shared.failures.failure import answer_of
from batch_bridge.providers._shared.results.reply import Reply
from batch_bridge.providers._shared.results.result import loads
from batch_bridge.providers.anthropic import _failure as failure
from batch_bridge.providers.anthropic._call import AnthropicCall
from batch_bridge.providers.anthropic._clients import AnthropicClients
from batch_bridge.providers.anthropic._download import AnthropicUsageTotal
from batch_bridge.providers.anthropic._result import answered, failed

_PATH: Final = "/v1/messages"


class AnthropicCaller:
    """Answers requests one by one.

    Args:
        clients: Where the client of the running loop comes from. It repeats nothing by itself.
        read: A request as a call.
        headers: Beside the client's own.
    """

    def __init__(
        self, clients: AnthropicClients, read: Callable[[Request], AnthropicCall], headers: Mapping[str, str]
    ) -> None:
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
                "answer",
            )
        except Exception as error:  # noqa: BLE001  # each becomes an outcome, or is tried again
            return Reply(failure.of_call(doing, error, _failed))
        try:
            body = loads(without_secrets(content))
        except ValueError:
            return Reply(Errored(f"{doing} was answered with no JSON", code="unexpected_answer", status_code=200))
        return Reply(answered(body, wants_message=call.wants_message), _usage(body, call.model))

    async def aclose(self) -> None:
        """Close the client that was made for the running loop; never the user's own."""
        await self._clients.aclose()


def _failed(error: Exception, status: int) -> tuple[Errored, bool]:
    headers, body = answer_of(error)
    return failed(body, status), headers.get("x-should-retry") == "false"


def _usage(body: object, model: str) -> Usage | None:
    usage_total = AnthropicUsageTotal(model)
    usage_total.add({"result": {"message": body}})
    usage = usage_total.usage()
    return usage and Usage(usage.model, usage.input_tokens, usage.output_tokens, usage.cached_tokens, realtime=True)
