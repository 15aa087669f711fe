"""Reports once that a batch makes no progress, or that its results are about to be deleted. No I/O."""

from collections.abc import Callable, Iterator
from datetime import datetime

from batch_bridge._core.models import JSON, SubmittedBatch
from batch_bridge._core.policy.lanes import lane_in
from batch_bridge._core.policy.stuck import Stuck, advice, is_at_risk, judge
from batch_bridge._core.policy.vendor_terms import VendorTerms
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._engine.flights.history import History
from batch_bridge._engine.flights.in_flight import Flights
from batch_bridge.events import ResultsExpiring, Stalled


class BatchWatch:
    """Watches a bridge's batches. Its memory is lost with the process, which costs a repeated event.

    Args:
        bridge: The bridge's name.
        terms: Its provider's.
    """

    def __init__(self, bridge: str, terms: VendorTerms) -> None:
        self._bridge = bridge
        self._terms = terms
        self._told: set[tuple[str, str]] = set()
        self._is_refused = False

    def look(
        self, flights: Flights, history: History, now: datetime, shown: Callable[[SubmittedBatch], JSON]
    ) -> Iterator[Stalled | ResultsExpiring]:
        """Yield the events that are due now.

        Args:
            flights: The batches.
            history: How long their like took.
            now: Aware UTC.
            shown: Returns a batch's handle for a person to read.
        """
        refused: list[tuple[Flight, Stuck]] = []
        for flight in flights:
            stuck = self._judge(flight, history, now)
            if stuck is not None and stuck.cause == "refused":
                refused.append((flight, stuck))
            elif stuck is not None and self._is_new(flight, stuck.cause):
                yield self._stalled(flight, stuck)
            if (expiring := self._expiring(flight, now, shown)) is not None and self._is_new(flight, "expiring"):
                yield expiring
        if refused and not self._is_refused:
            yield self._stalled(*max(refused, key=lambda each: each[1].seconds))
        self._is_refused = bool(refused)
        self._told = {told for told in self._told if flights.get(told[0]) is not None} if self._told else self._told

    def _judge(self, flight: Flight, history: History, now: datetime) -> Stuck | None:
        batch, window = flight.batch, self._terms.window
        is_sent = isinstance(batch, SubmittedBatch) and not batch.terms.lane
        since = flight.since or (batch.submitted_at if isinstance(batch, SubmittedBatch) else None)
        return judge(
            since=since.timestamp() if is_sent and since is not None else None,
            bad_since=None if flight.bad_since is None else flight.bad_since.timestamp(),
            window_until=batch.submitted_at.timestamp() + window
            if isinstance(batch, SubmittedBatch) and is_sent and window is not None and lane_in(batch.handle) == "batch"
            else None,
            longest=history.longest(batch.group, lane_in(batch.handle))
            if isinstance(batch, SubmittedBatch) and is_sent
            else None,
            now=now.timestamp(),
        )

    def _expiring(
        self, flight: Flight, now: datetime, shown: Callable[[SubmittedBatch], JSON]
    ) -> ResultsExpiring | None:
        batch, keeps = flight.batch, self._terms.keeps
        if not isinstance(batch, SubmittedBatch) or keeps is None or not flight.failures or batch.terms.lane:
            return None
        at = batch.submitted_at.timestamp()
        if not is_at_risk(at, at + keeps, now.timestamp()):
            return None
        left = at + keeps - now.timestamp()
        return ResultsExpiring(
            bridge=self._bridge,
            batch=batch.key,
            handle=shown(batch),
            requests=len(batch.requests),
            seconds_left=left,
            problem=flight.problem,
        )

    def _stalled(self, flight: Flight, stuck: Stuck) -> Stalled:
        return Stalled(
            bridge=self._bridge,
            seconds=stuck.seconds,
            problem=flight.problem,
            cause=stuck.cause,
            batch=flight.batch.key,
            advice=advice(stuck),
        )

    def _is_new(self, flight: Flight, what: str) -> bool:
        is_new = (flight.batch.key, what) not in self._told
        self._told.add((flight.batch.key, what))
        return is_new
