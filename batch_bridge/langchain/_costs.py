"""What was paid for a model's call: it comes with the outcome, and leaves in the message's `response_metadata`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import Final

from langchain_core.outputs import ChatResult

from batch_bridge._core.json.messages import with_cost

_costs: Final[ContextVar["list[Decimal | None] | None"]] = ContextVar("batch_bridge_costs", default=None)


@contextmanager
def collected() -> Iterator[list[Decimal | None]]:
    """Collect what is paid for the requests of the call that is made meanwhile."""
    costs: list[Decimal | None] = []
    token = _costs.set(costs)
    try:
        yield costs
    finally:
        _costs.reset(token)


def note(cost: Decimal | None) -> None:
    """Note what was paid for a request; `None` if that is not known."""
    if (costs := _costs.get()) is not None:
        costs.append(cost)


def with_costs(result: ChatResult, costs: list[Decimal | None]) -> ChatResult:
    """Return a call's result that tells what was paid for it, if that is known of all its requests."""
    known = [cost for cost in costs if cost is not None]
    if known and len(known) == len(costs) and len(result.generations) == 1:
        generation = result.generations[0]
        generation.message = with_cost(generation.message, sum(known, Decimal(0)))
    return result
