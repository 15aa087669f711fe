"""The ledgers that hosts ask for: each is a `Ledger`, composed."""

from functools import partial

from batch_bridge._ledger.fresh_outcomes import FreshOutcomes
from batch_bridge._ledger.in_memory import MemoryOutcomes, MemoryRequests, MemoryRows
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.memory_budget import BUDGET, MemoryBudget
from batch_bridge._ledger.queue import LeftQueue, StoredQueue
from batch_bridge._ledger.rows import CHUNK, Rows


def ledger_in(rows: Rows, bridge: str, *, most_closed: int | None = None) -> Ledger:
    """Return the ledger of a host whose callers wait, over what keeps it.

    Args:
        rows: Where its rows are.
        bridge: The bridge's name.
        most_closed: Of a ledger in memory, the summaries of ended batches that are kept.
    """
    return in_memory(rows, bridge, most_closed=most_closed) if isinstance(rows, MemoryRows) else budgeted(rows, bridge)


def in_memory(rows: MemoryRows, bridge: str, *, most_closed: int | None = None) -> Ledger:
    """Return a ledger whose requests and outcomes are objects; its few batches are rows."""
    return Ledger(rows, bridge, requests=MemoryRequests, outcomes=MemoryOutcomes, most_closed=most_closed)


def budgeted(rows: Rows, bridge: str, *, budget: int = BUDGET, chunk: int = CHUNK) -> Ledger:
    """Return a ledger with the first requests in memory; outcomes and batches are always in the store, too."""
    requests = partial(MemoryBudget, budget=budget)
    return Ledger(rows, bridge, queue=LeftQueue, requests=requests, outcomes=FreshOutcomes, chunk=chunk)


def durable(rows: Rows, bridge: str, *, chunk: int = CHUNK) -> Ledger:
    """Return a ledger that keeps the queue too: it is sent by the next process if this one does not live to."""
    return Ledger(rows, bridge, queue=StoredQueue, chunk=chunk)
