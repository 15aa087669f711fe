"""One request as one call of an ordinary endpoint of OpenAI's API, with the outcome that a batch would give it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from openai import Timeout

from batch_bridge._core.models import JSON, Errored, Request, Usage
from batch_bridge.providers._realtime.provider import FLEX_TIMEOUT
from batch_bridge.providers._shared.clean_text import without_secrets
from batch_bridge.providers._shared.failures.failure import answer_of
from batch_bridge.providers._shared.item import refuse
from batch_bridge.providers._shared.results.reply import Reply
from batch_bridge.providers._shared.results.result import loads
from batch_bridge.providers.openai import _failure as failure
from batch_bridge.providers.openai._call import OpenAICall
from batch_bridge.providers.openai._clients import OpenAIClients
from batch_bridge.providers.openai._endpoint import CHAT, RESPONSES
from batch_bridge.providers.openai._result import answered, failed

_OK: Final = 200
_SPENT: Final = "insufficient_quota"
"""The code of a 429 that no pause helps.

Source: platform.openai.com/docs/guides/error-codes, "You exceeded your current quota".
"""
_TOO_MANY: Final = 429
_TOO_LARGE: Final = re.compile(r"(?i)\brequest too large for\b")
"""The message of a 429 to a request of more tokens than the limit of a minute: "Request too large for gpt-5 … on tokens
per min (TPM): Limit 30000, Requested 36055". Its code, `rate_limit_exceeded`, is that of a refusal that passes.
"""


_FLEX_TIMEOUT: Final = Timeout(FLEX_TIMEOUT.total_seconds(), connect=5.0)
_FLEX_ENDPOINTS: Final = (CHAT, RESPONSES)
"""Source: developers.openai.com/api/docs/guides/flex-processing."""
_NO_TIER: Final = (None, "auto", "default", "flex")


def body_of(call: OpenAICall, tier: str | None) -> Mapping[str, JSON]:
    """Return what is posted: the call's body, in a tier."""
    return call.body if tier is None else {**call.body, "service_tier": tier}


def check_flex(call: OpenAICall) -> None:
    """Pass if the flex tier takes a call.

    Raises:
        RequestRefused: It does not.
    """
    if call.endpoint not in _FLEX_ENDPOINTS:
        refuse(f"the flex tier does not take {call.endpoint}", f"it takes {' and '.join(_FLEX_ENDPOINTS)}")
    if (tier := call.body.get("service_tier")) not in _NO_TIER:
        refuse(f'its body has "service_tier": {tier!r}, and the bridge sends it to the flex tier', "leave it out")


class OpenAICaller:
    """Answers requests one by one.

    Args:
        clients: Where the client of the running loop comes from. It repeats nothing by itself.
        read: A request as a call.
        tier: The service tier that every call asks for; by default its own.
    """

    def __init__(
        self, clients: OpenAIClients, read: Callable[[Request], OpenAICall], tier: Literal["flex"] | None = None
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
        path, doing = call.endpoint.removeprefix("/v1"), f"calling {call.endpoint}"
        options: Any = {} if self._tier is None else {"timeout": _FLEX_TIMEOUT}
        try:
            content = await self._clients.call(
                f"POST {call.endpoint}",
                lambda client: client.post(path, cast_to=bytes, body=body_of(call, self._tier), options=options),
                "answer",
            )
        except Exception as error:  # noqa: BLE001  # as in a batch, it is this request's outcome
            return Reply(failure.of_call(doing, error, _failed))
        try:
            body = loads(without_secrets(content))
        except ValueError:
            return Reply(Errored(f"{doing} was answered with no JSON", code="unexpected_answer", status_code=_OK))
        outcome = answered(body, _OK, wants_message=call.wants_message)
        usage = usage_of(body, call.model)
        return Reply(outcome, usage and replace(usage, realtime=self._tier is None))

    async def aclose(self) -> None:
        """Close the client that was made for the running loop; never the user's own."""
        await self._clients.aclose()


def _failed(error: Exception, status: int) -> tuple[Errored, bool]:
    headers, body = answer_of(error)
    errored = failed(status, body, None, headers.get("x-request-id"))
    if status == _TOO_MANY and _TOO_LARGE.search(errored.message):
        return replace(errored, retryable=False), True
    return errored, errored.code == _SPENT or headers.get("x-should-retry") == "false"


def usage_of(body: object, model: str) -> Usage | None:
    """Return the usage in a body: chat completions and embeddings use other field names than responses."""
    told = body.get("usage") if isinstance(body, Mapping) else None
    if not isinstance(body, Mapping) or not isinstance(told, Mapping):
        return None
    given = _whole(told, "input_tokens", "prompt_tokens")
    made = _whole(told, "output_tokens", "completion_tokens")
    if given is None:
        return None
    details = next((told[name] for name in ("input_tokens_details", "prompt_tokens_details") if name in told), None)
    cached = _whole(details, "cached_tokens") if isinstance(details, Mapping) else None
    named = body.get("model")
    return Usage(named if isinstance(named, str) else model, given, made or 0, cached or 0)


def _whole(told: Mapping[str, Any], *names: str) -> int | None:
    return next((told[name] for name in names if type(told.get(name)) is int), None)
