"""The report of a Runner."""

from dataclasses import dataclass

from batch_bridge._models import Usage


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
        waiting_seconds: Wall time in which the Runner only waited.
        resubmitted: Requests that were sent again in another batch, of all sessions on this ledger.
        paid_twice: Requests that were answered by a batch and also elsewhere, because it was late, of all sessions.
        unclaimed: Paid answers that no wait requests any more, of all sessions on this ledger: the requests of
            their node have changed, or their thread was restarted.
        problems: The current problems of the store and of batches that cannot be polled, one line for each.
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
