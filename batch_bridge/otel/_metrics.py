"""Metrics of bridges, from the latest report of each engine.

Its totals are those of its ledger, so that a crash counts nothing twice.
"""

from collections.abc import Callable, Iterable, Iterator
from time import time
from typing import Any, Final

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from batch_bridge._engine.telemetry import Figures, Totals

_SCOPE: Final = "batch_bridge"
Told = tuple[Figures, Totals, str]
"""An engine's report on a bridge, and the currency of its prices."""


class Metrics:
    """The instruments.

    Args:
        provider: Where meters come from; OpenTelemetry's own of this process, if left out.
    """

    def __init__(self, provider: MeterProvider | None) -> None:
        self._told: dict[str, Told] = {}
        meter = get_meter(_SCOPE, meter_provider=provider)
        gauge, counter = meter.create_observable_gauge, meter.create_observable_counter
        for create, name, unit, what, read in (
            (gauge, "queue.requests", "{request}", "Requests that wait to be sent.", _queued),
            (gauge, "queue.age", "s", "Age of the oldest request that waits to be sent.", _age),
            (gauge, "in_flight.requests", "{request}", "Requests at the provider.", _in_flight),
            (gauge, "in_flight.batches", "{batch}", "Batches that have been begun and have not ended.", _batches),
            (counter, "batches", "{batch}", "Batches that have ended.", _ended),
            (counter, "requests", "{request}", "Requests that were settled through batches, by outcome.", _outcomes),
            (counter, "requests.resubmitted", "{request}", "Requests that were sent again.", _resubmitted),
            (counter, "cost.paid", "{currency}", "What was paid, where a price is known.", _paid),
            (counter, "cost.saved", "{currency}", "What realtime would have cost more.", _saved),
        ):
            create(f"batch_bridge.{name}", callbacks=[self._reader(read)], unit=unit, description=what)

    def tell(self, bridge: str, figures: Figures, totals: Totals, currency: str) -> None:
        """Take how a bridge is now. From any thread."""
        self._told[bridge] = (figures, totals, currency)

    def _reader(
        self, read: Callable[[Told], Iterable[tuple[float, dict[str, str]]]]
    ) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for bridge, told in list(self._told.items()):
                for value, labels in read(told):
                    yield Observation(value, {"batch_bridge.bridge": bridge, **labels})

        return observe


Read = Iterator[tuple[float, dict[str, Any]]]


def _queued(told: Told) -> Read:
    yield told[0].queued, {}


def _age(told: Told) -> Read:
    oldest = told[0].oldest_at
    yield 0.0 if oldest is None else max(time() - oldest, 0.0), {}


def _in_flight(told: Told) -> Read:
    yield told[0].in_flight, {}


def _batches(told: Told) -> Read:
    yield told[0].batches, {}


def _ended(told: Told) -> Read:
    yield told[1].batches, {}


def _outcomes(told: Told) -> Read:
    for kind, count in sorted(told[1].outcomes.items()):
        yield count, {"batch_bridge.outcome": kind}


def _resubmitted(told: Told) -> Read:
    yield told[1].resubmitted, {}


def _paid(told: Told) -> Read:
    yield float(told[1].paid), {"batch_bridge.currency": told[2]}


def _saved(told: Told) -> Read:
    yield float(told[1].list_price - told[1].paid), {"batch_bridge.currency": told[2]}
