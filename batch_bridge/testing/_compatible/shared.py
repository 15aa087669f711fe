"""What the servers that are like OpenAI's have in common here."""

from datetime import UTC, datetime

from starlette.responses import Response

from batch_bridge.testing._batches.batch import ServedBatch
from batch_bridge.testing._batches.batch_calls import known
from batch_bridge.testing._openai.realtime_routes import answer_in_tier
from batch_bridge.testing._server.errors import WireError
from batch_bridge.testing._server.gate import HTTPCall, fault


async def ask(call: HTTPCall) -> Response:
    """`POST` to an endpoint, with the same answers as in batches."""
    context = call.core.context
    body = await call.json()
    if context.draws.strikes("realtime_error"):
        raise fault(context.settings.faults.realtime_error_status, "this request failed")
    return await answer_in_tier(call, body, f"/v1/{call.id('rest')}")


async def cancelled(call: HTTPCall) -> ServedBatch:
    """The batch that the call cancels.

    Raises:
        WireError: It has ended, or is not known.
    """
    after = await call.core.cancel(known(call, call.id("batch_id")))
    if after.ended:
        raise WireError(400, f"Cannot cancel a batch with status '{after.status}'.")
    return after


def iso(moment: float) -> str:
    """A moment as text."""
    return datetime.fromtimestamp(moment, UTC).isoformat()
