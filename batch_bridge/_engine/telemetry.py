"""What an engine reports to telemetry: each ended batch, from the ledger, and figures. See `batch_bridge.otel`.

A batch's row of the ledger (`traces`) is written before the batch is begun, and deleted once its span was handed over.
A process that finds one of an ended batch hands that over again, with the same content: a crash loses no span, and a
second one of the same id is the same.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final, Protocol

from batch_bridge._core.models import Closed, Request
from batch_bridge._core.payload.trace_context import is_context
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._money import Account, Prices


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """A request of a batch that was asked for where something is traced.

    Attributes:
        id: The request.
        context: Where it was asked, as a `traceparent`.
        asked_at: When, in seconds since the epoch.
    """

    id: str
    context: str
    asked_at: float


@dataclass(frozen=True, slots=True)
class BatchTrace:
    """An ended batch.

    Attributes:
        bridge: The name of its bridge.
        batch: Its summary.
        vendor: Who has answered, as far as the provider says.
        requests: Those that were asked for where something is traced, in the order sent.
    """

    bridge: str
    batch: Closed
    vendor: str | None
    requests: tuple[TracedRequest, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """How a bridge is.

    Attributes:
        queued: Requests that wait to be sent.
        oldest_at: Since when the oldest of them does, in seconds since the epoch.
        in_flight: Requests at the provider.
        batches: Batches that have been begun and have not ended.
    """

    queued: int
    oldest_at: float | None
    in_flight: int
    batches: int


@dataclass(slots=True)
class Totals:
    """What a bridge has done, by its ledger: of all processes, and so the same after a crash.

    Attributes:
        batches: Ended batches.
        outcomes: Requests that were settled through batches, by kind.
        resubmitted: Requests that were sent again.
        paid: What was paid, where a price is known.
        list_price: What that would have cost in realtime.
    """

    batches: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    resubmitted: int = 0
    paid: Decimal = Decimal(0)
    list_price: Decimal = Decimal(0)

    def add(self, batch: Closed) -> None:
        """Count a batch that has ended."""
        self.batches += batch.handle is not None
        self.outcomes.update(batch.outcomes)
        self.resubmitted += batch.resubmitted

    def spend(self, accounts: Iterable[Account], prices: Prices) -> None:
        """Count what was paid."""
        for line in (line for account in accounts for line in account.each() if line.kind != "cache_hit"):
            charge = line.charge(prices)
            if charge.paid is not None and charge.list_price is not None:
                self.paid += charge.paid
                self.list_price += charge.list_price

    def copy(self) -> "Totals":
        """Return what it is now."""
        return replace(self, outcomes=Counter(self.outcomes))


class Telemetry(Protocol):
    """Traces an engine. No method may raise or block."""

    def ended(self, trace: BatchTrace) -> None:
        """Take a batch that has ended; the same one again is the same."""
        ...

    def figures(self, bridge: str, figures: Figures, totals: Totals, currency: str) -> None:
        """Take how a bridge is now."""
        ...


_WHO: Final = "traces"


def row_of(requests: Sequence[Waiting], asked: Mapping[str, Request], vendor: str | None) -> dict[str, Any]:
    """Return the row of a batch that is about to be begun."""
    traced = [each for each in requests if each.id in asked and asked[each.id].trace]
    contexts = list(dict.fromkeys(asked[each.id].trace for each in traced))
    places = {context: place for place, context in enumerate(contexts)}
    return {
        "vendor": vendor,
        _WHO: contexts,
        "requests": [[each.id, places[asked[each.id].trace], each.queued_at.timestamp()] for each in traced],
    }


def trace_of(bridge: str, batch: Closed, row: Mapping[str, Any]) -> BatchTrace:
    """Return a batch from its row and its summary; unreadable parts of the row are left out."""
    contexts, requests = row.get(_WHO), row.get("requests")
    found: list[TracedRequest] = []
    if not isinstance(requests, list) or not isinstance(contexts, list):
        requests, contexts = [], []
    for each in requests:
        try:
            request_id, place, at = each
            if is_context(context := contexts[place]) and context:
                found.append(TracedRequest(str(request_id), context, float(at)))
        except (TypeError, ValueError, IndexError):
            continue
    vendor = row.get("vendor")
    return BatchTrace(bridge, batch, vendor if isinstance(vendor, str) else None, tuple(found))
