"""What a Runner can tell of its work."""

from dataclasses import dataclass

from batch_bridge._models import Usage


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of a Runner; those of the ledger survive restarts, those of the session do not.

    Attributes:
        threads: Threads that ended in this session, failed ones too.
        requests: Requests that were settled through batches, of all sessions on this ledger.
        batches: Batches that were settled, of all sessions on this ledger.
        outcomes: Requests by outcome, of all sessions on this ledger.
        usage: Tokens by model, of all sessions on this ledger, as far as the provider tells; those of realtime calls
            apart, since they cost more.
        langgraph_seconds: Wall time of this session in which at least one thread ran.
        bridge_seconds: Wall time in which no thread ran and a bridge was at work.
        waiting_seconds: Wall time in which nothing was to be done but wait.
        resubmitted: Requests that went into another batch after one, of all sessions on this ledger.
        paid_twice: Requests that were answered by a batch and, because it was late, elsewhere too, of all sessions.
        unclaimed: Answers that were paid for and that no wait takes any more, of all sessions on this ledger: what
            their node asks has changed meanwhile, or their thread was started again.
        problems: What is wrong now with batches in flight that cannot be looked at, one line for each.
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
