"""What a bridge decides about its engine, once, before any ledger is opened."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from batch_bridge._core.policy.vendor_terms import VendorTerms
from batch_bridge._engine.deduplication import Deduplication
from batch_bridge._engine.telemetry import Telemetry
from batch_bridge._engine.waiting.ladder import Ladder
from batch_bridge._engine.waiting.tenants import TenantLimits
from batch_bridge._money import Prices

POLL_PATIENCE: Final = timedelta(hours=24)
"""How long a batch is left in flight while each look at it fails with what its provider does not explain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """The settings of an engine; one object serves all engines of a bridge.

    Attributes:
        poll_interval: The longest pause between two looks at one batch; up to four times that where webhooks come.
        poll_patience: How long a batch is left in flight while each look at it fails with an error that is not the
            provider's own word (`ProviderUnavailable`).
        attempts: How often a request is sent in all, while what it ends with may pass: it expired, never ran, or was
            answered with 429 or 5xx. With 1 nothing is sent twice.
        ladder: When a request must be answered, and in which lanes. Without it requests have no deadline, whatever they
            say.
        deduplication: Which requests share an answer; none do without it.
        per_tenant: How much of one tenant may wait.
        prices: What tokens cost.
        terms: How long the provider works on a batch, and keeps its results.
        telemetry: Traces it; `None` without tracing.
    """

    poll_interval: timedelta = timedelta(seconds=30)
    poll_patience: timedelta = POLL_PATIENCE
    attempts: int = 1
    ladder: Ladder | None = None
    deduplication: Deduplication | None = None
    per_tenant: TenantLimits | None = None
    prices: Prices = field(default_factory=Prices)
    terms: VendorTerms = field(default_factory=VendorTerms)
    telemetry: Telemetry | None = None


USUAL: Final = EngineSettings()
