"""One request as one call of `generateContent`, with the outcome that a batch would give it."""

from collections.abc import Callable
from typing import Final

from batch_bridge._core.models import Errored, Request, Usage
from batch_bridge.providers._shared.reply import Reply
from batch_bridge.providers.gemini import _failure as failure
from batch_bridge.providers.gemini._call import GeminiCall
from batch_bridge.providers.gemini._clients import GeminiClients
from batch_bridge.providers.gemini._result import GeminiUsageTotal, answered, read_error

_OK: Final = 200


class GeminiCaller:
    """Answers requests one by one.

    Args:
        clients: Where the client of the running loop comes from. It repeats nothing by itself.
        read: A request as a call.
    """

    def __init__(self, clients: GeminiClients, read: Callable[[Request], GeminiCall]) -> None:
        self._clients = clients
        self._read = read

    async def answer(self, request: Request) -> Reply:
        """Make the call, once.

        Raises:
            TryLater: It was not sent, or was refused for now (408, 409, 429, 5xx).
            RequestRefused: It is no request.
        """
        call = self._read(request)
        path = f"models/{call.model}:generateContent"
        try:
            body = await self._clients.read("models.generate_content", path, call.body, "answer")
        except ValueError as error:
            return Reply(Errored(f"calling {path}: {error}", code="unexpected_answer", status_code=_OK))
        except Exception as error:  # noqa: BLE001  # as in a batch, it is this request's outcome
            return Reply(failure.of_call(f"calling {path}", error, _failed))
        usage_total = GeminiUsageTotal(call.model)
        usage_total.add("", body)
        usage = usage_total.total()
        cost = usage and Usage(usage.model, usage.input_tokens, usage.output_tokens, usage.cached_tokens, realtime=True)
        return Reply(answered(body, wants_message=call.wants_message), cost)

    async def aclose(self) -> None:
        """Close the client that was made for the running loop; never the user's own."""
        await self._clients.aclose()


def _failed(error: Exception, status: int) -> tuple[Errored, bool]:
    held = failure.said_by(error) or {}
    return read_error({**held, "message": failure.words_of(error), "code": status}), False
