"""The flex tier of realtime calls: slow answers, and refusals that cost nothing when it is full.

Source: developers.openai.com/api/docs/guides/flex-processing, and ai.google.dev/gemini-api/docs/flex-inference.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from batch_bridge.testing._server.errors import WireError
from batch_bridge.testing._server.gate import HTTPCall

FLEX: Final = "flex"
_FIELDS: Final = ("service_tier", "serviceTier")


def wants_flex(body: Mapping[str, Any]) -> bool:
    """Return whether a call asks for the flex tier; Gemini's SDK writes the field in its own way."""
    return any(body.get(field) == FLEX for field in _FIELDS)


@asynccontextmanager
async def flexible(call: HTTPCall, body: Mapping[str, Any]) -> AsyncIterator[bool]:
    """Hold a place of the tier while a call is answered, if it asks for one; yields whether it does.

    Raises:
        WireError: 429; the tier is full, and nothing is billed.
    """
    if not wants_flex(body):
        yield False
        return
    context = call.core.context
    settings = context.settings
    capacity = settings.limits.flex_capacity
    if context.draws.strikes("flex_refusal") or (capacity is not None and context.flexible >= capacity):
        await call.core.count(flex_refused=1)
        raise WireError(
            429,
            "Resource Unavailable: there is no flex capacity right now; you were not charged.",
            type="rate_limit_error",
            code="resource_unavailable",
        )
    context.flexible += 1
    try:
        await asyncio.sleep(settings.flex_seconds)
        yield True
    finally:
        context.flexible -= 1
