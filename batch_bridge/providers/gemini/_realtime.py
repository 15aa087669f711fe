"""One request as one call of `generateContent`, with the outcome that a batch would give it."""

from collections.abc import Callable, Mapping
from typing import Final, Literal

from batch_bridge._core.models import JSON, Errored, Request, Usage
from batch_bridge.providers._realtime.provider import FLEX_TIMEOUT
from batch_bridge.providers._shared.item import refuse
from batch_bridge.providers._shared.results.reply import Reply
from batch_bridge.providers.gemini import _failure as failure
from batch_bridge.providers.gemini._call import GeminiCall
from batch_bridge.providers.gemini._clients import GeminiClients
from batch_bridge.providers.gemini._result import GeminiUsageTotal, answered, read_error

_OK: Final = 200


_TIERS: Final = ("serviceTier", "service_tier")
_NO_TIER: Final = (None, "", "unspecified", "standard", "flex")


def body_of(call: GeminiCall, tier: str | None) -> Mapping[str, JSON]:
    """Return what is posted: the call's body, in a tier."""
    if tier is None:
        return call.body
    return {**{name: value for name, value in call.body.items() if name not in _TIERS}, "serviceTier": tier}


def check_flex(call: GeminiCall) -> None:
    """Pass if the flex tier takes a call.

    Raises:
        RequestRefused: It names another tier.
    """
    for name in _TIERS:
        if (tier := call.body.get(name)) not in _NO_TIER:
            refuse(f"its body has {name!r}: {tier!r}, and the bridge sends it to the flex tier", "leave it out")


class GeminiCaller:
    """Answers requests one by one.

    Args:
        clients: Where the client of the running loop comes from. It repeats nothing by itself.
        read: A request as a call.
        tier: The service tier that every call asks for; by default its own.
    """

    def __init__(
        self, clients: GeminiClients, read: Callable[[Request], GeminiCall], tier: Literal["flex"] | None = None
    ) -> None:
        self._tier = tier
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
        timeout = None if self._tier is None else FLEX_TIMEOUT
        try:
            body = await self._clients.read(
                "models.generate_content", path, body_of(call, self._tier), "answer", timeout
            )
        except ValueError as error:
            return Reply(Errored(f"calling {path}: {error}", code="unexpected_answer", status_code=_OK))
        except Exception as error:  # noqa: BLE001  # as in a batch, it is this request's outcome
            return Reply(failure.of_call(f"calling {path}", error, _failed))
        usage_total = GeminiUsageTotal(call.model)
        usage_total.add("", body)
        usage = usage_total.total()
        cost = usage and Usage(
            usage.model, usage.input_tokens, usage.output_tokens, usage.cached_tokens, realtime=self._tier is None
        )
        return Reply(answered(body, wants_message=call.wants_message), cost)

    async def aclose(self) -> None:
        """Close the client that was made for the running loop; never the user's own."""
        await self._clients.aclose()


def _failed(error: Exception, status: int) -> tuple[Errored, bool]:
    held = failure.said_by(error) or {}
    return read_error({**held, "message": failure.words_of(error), "code": status}), False
