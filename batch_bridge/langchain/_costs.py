"""What was paid for a model's call: it comes with the outcome, and leaves in the message's `response_metadata`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from langchain_core.outputs import ChatResult

from batch_bridge._core.json.messages import with_cost


@dataclass(slots=True)
class Collected:
    """The answers that a call was given.

    Attributes:
        costs: What was paid for each; `None` where that is not known.
        replays: How many of them its node was given before.
    """

    costs: list[Decimal | None] = field(default_factory=list)
    replays: int = 0

    @property
    def paid(self) -> Decimal | None:
        """What was paid for all of them; `None` if that is not known of each."""
        known = [cost for cost in self.costs if cost is not None]
        return sum(known, Decimal(0)) if known and len(known) == len(self.costs) else None

    @property
    def is_replay(self) -> bool:
        """Whether its node was given all of them before."""
        return 0 < self.replays == len(self.costs)


_collected: Final[ContextVar[Collected | None]] = ContextVar("batch_bridge_costs", default=None)


@contextmanager
def collected() -> Iterator[Collected]:
    """Collect the answers of the call that is made in this block; enclosing blocks collect them as well."""
    outer, inner = _collected.get(), Collected()
    token = _collected.set(inner)
    try:
        yield inner
    finally:
        _collected.reset(token)
        if outer is not None:
            outer.costs += inner.costs
            outer.replays += inner.replays


def note(cost: Decimal | None, *, is_replay: bool) -> None:
    """Note an answer.

    Args:
        cost: What was paid for it; `None` if that is not known.
        is_replay: Its node was given it before.
    """
    if (collected := _collected.get()) is not None:
        collected.costs.append(cost)
        collected.replays += is_replay


def with_costs(result: ChatResult, answers: Collected) -> ChatResult:
    """Return a call's result with its cost, if the cost of all its requests is known."""
    if answers.paid is not None and len(result.generations) == 1:
        generation = result.generations[0]
        generation.message = with_cost(generation.message, answers.paid)
    return result
