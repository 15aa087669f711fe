"""The report of a Runner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from batch_bridge._core.models import Closed, Usage
from batch_bridge._money import Cost


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of a Runner; those of the ledger survive restarts, those of the session do not.

    Attributes:
        threads: Threads that ended in this session, including failed ones.
        requests: Requests that were settled through batches, of all sessions on this ledger.
        batches: Batches that were settled, of all sessions on this ledger.
        outcomes: Requests by outcome, of all sessions on this ledger.
        usage: Tokens by model, of all sessions on this ledger, if the provider reports them; those of realtime calls
            are separate, because they cost more.
        langgraph_seconds: Wall time of this session in which at least one thread ran.
        bridge_seconds: Wall time in which no thread ran and a bridge was at work.
        waiting_seconds: Wall time in which nothing was to be done but wait.
        resubmitted: Requests that went into another batch after one, of all sessions on this ledger.
        paid_twice: Requests that were answered by a batch and, because it was late, elsewhere too, of all sessions.
        unclaimed: Answers that were paid for and that no wait takes any more, of all sessions on this ledger: what
            their node asks has changed meanwhile, or their thread was started again.
        problems: What is wrong now with batches in flight that cannot be looked at, one line for each.
        cost: What was paid for all of that, what it would have cost in realtime, and what was saved, of all sessions on
            this ledger. Batches count once they have ended.
    """

    threads: int
    requests: int
    batches: int
    outcomes: dict[str, int]
    usage: tuple[Usage, ...]
    langgraph_seconds: float
    bridge_seconds: float
    waiting_seconds: float
    resubmitted: int = 0
    paid_twice: int = 0
    unclaimed: int = 0
    problems: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)


def of_batches(
    closed: Sequence[Closed],
    cost: Cost,
    *,
    threads: int = 0,
    seconds: Mapping[str, float] | None = None,
    unclaimed: int = 0,
    problems: tuple[str, ...] = (),
) -> Report:
    """Return what settled batches come to."""
    outcomes: dict[str, int] = {}
    for batch in closed:
        for kind, count in batch.outcomes.items():
            outcomes[kind] = outcomes.get(kind, 0) + count
    spent = seconds or {}
    return Report(
        threads=threads,
        requests=sum(batch.requests for batch in closed),
        batches=sum(batch.handle is not None for batch in closed),
        outcomes=outcomes,
        usage=add_up([batch.usage for batch in closed if batch.usage is not None]),
        langgraph_seconds=spent.get("langgraph", 0.0),
        bridge_seconds=spent.get("bridge", 0.0),
        waiting_seconds=spent.get("waiting", 0.0),
        resubmitted=sum(batch.resubmitted for batch in closed),
        paid_twice=sum(batch.paid_twice for batch in closed),
        unclaimed=unclaimed,
        problems=problems,
        cost=cost,
    )


def add_up(usages: list[Usage]) -> tuple[Usage, ...]:
    """Return one `Usage` for each model, and another for its realtime calls."""
    totals: dict[tuple[str, bool], Usage] = {}
    for each in usages:
        price = (each.model, each.realtime)
        before = totals.get(price, Usage(each.model, 0, 0, 0))
        totals[price] = Usage(
            each.model,
            before.input_tokens + each.input_tokens,
            before.output_tokens + each.output_tokens,
            before.cached_tokens + each.cached_tokens,
            each.realtime,
        )
    return tuple(totals.values())
