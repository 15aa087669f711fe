"""The Responses API's routes for responses in the background."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from batch_bridge.testing._batches.batch_calls import creating
from batch_bridge.testing._server.errors import WireError, invalid, missing
from batch_bridge.testing._server.gate import HTTPCall, answer_json, fault

WINDOWS: Final = ("soonest", "2h", "8h")
"""Source: developers.openai.com/api/docs/guides/background."""
_OPTIONS: Final = ("completion_window", "continuation_id")
_LONGEST_ID: Final = 64


async def create(call: HTTPCall, body: Mapping[str, Any]) -> Response:
    """`POST /v1/responses` with `background`."""
    check(body)

    async def make() -> Response:
        return answer_json(await call.core.background.create(call.tenant, body))

    return await creating(call, make)


async def retrieve(call: HTTPCall) -> Response:
    """`GET /v1/responses/{response_id}`."""
    context = call.core.context
    if context.draws.strikes("poll_error"):
        raise fault(context.settings.faults.poll_error_status, "this retrieval failed")
    return answer_json(call.core.background.get(call.tenant, call.id("response_id")))


async def cancel(call: HTTPCall) -> Response:
    """`POST /v1/responses/{response_id}/cancel`; idempotent."""
    return answer_json(await call.core.background.cancel(call.tenant, call.id("response_id")))


def check(body: Mapping[str, Any]) -> None:
    """Pass if a response can be made in the background.

    Raises:
        WireError: 400; says why not.
    """
    for param in ("model", "input"):
        if body.get(param) is None:
            raise missing(param)
    if body.get("stream"):
        raise WireError(
            400, "This server does not stream responses in the background; leave 'stream' out.", param="stream"
        )
    options = body.get("background_options")
    if options is None:
        return
    if not isinstance(options, dict) or set(options) - set(_OPTIONS):
        raise invalid("background_options", f"an object of {', '.join(_OPTIONS)} is expected.", code="invalid_type")
    window = options.get("completion_window", "soonest")
    if window not in WINDOWS:
        raise invalid("background_options.completion_window", f"the windows are {', '.join(WINDOWS)}.")
    name = options.get("continuation_id")
    if name is not None and (not isinstance(name, str) or not 0 < len(name) <= _LONGEST_ID):
        raise invalid("background_options.continuation_id", f"a string of up to {_LONGEST_ID} characters is expected.")
    if window != "soonest" and body.get("service_tier") not in (None, "auto", "default"):
        raise invalid("service_tier", "a completion window is of the standard tier only.")
