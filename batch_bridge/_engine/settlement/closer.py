"""How a batch is closed: its summary and its account are written, its end is told, and its files at the provider go."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from batch_bridge import events
from batch_bridge._core.models import Closed, FailureKind, SubmittedBatch, Usage
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._engine.state import State

logger = logger_of(__name__)


class Closer:
    """Closes batches, each of whose requests has its outcome or is sent again."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def close(
        self,
        flight: Flight,
        kinds: Counter[str],
        usage: Usage | None,
        now: datetime,
        *,
        resubmitted: int,
        paid_twice: int = 0,
        failures: Counter[FailureKind] | None = None,
    ) -> None:
        """Delete a batch, except for a summary, and all that was kept until its end."""
        state, batch = self._state, flight.batch
        submitted = batch if isinstance(batch, SubmittedBatch) else None
        account = flight.account
        money = None if account is None else state.till.close(batch, account)
        closed = Closed(
            key=batch.key,
            handle=state.shown(submitted, submitted.handle) if submitted else None,
            requests=kinds.total(),
            submitted_at=submitted.submitted_at if submitted else now,
            ended_at=now,
            outcomes=kinds,
            usage=usage,
            resubmitted=resubmitted,
            paid_twice=paid_twice + len(flight.paid_twice),
            group=batch.group,
            failures=flight.failed if failures is None else failures,
            lane="batch" if account is None else account.lane or "batch",
        )
        await state.ledger.close(closed, money)
        state.history.add(closed)
        if batch.terms.prefixes and kinds["succeeded"] == len(batch.requests):
            state.note_written(batch.terms.prefixes, now)
        await state.end_trace(closed, account)
        if account is not None:
            state.till.settle(batch.key, account)
        state.flights.remove(flight)
        if flight.forgotten:
            await state.ledger.forget(flight.forgotten)

    async def tell_ended(
        self, flight: Flight, requests: tuple[str, ...], outcomes: Mapping[str, int], usage: Usage | None
    ) -> None:
        """Report that a batch has ended, and its cost if a listener wants it."""
        state, account = self._state, flight.account
        if state.on_event is None:
            return
        cost = await state.till.cost(account.each()) if account is not None and state.tells_cost else None
        state.on_event(
            events.Settled(
                bridge=state.name,
                batch=flight.batch.key,
                requests=requests,
                outcomes=outcomes,
                ended=True,
                usage=usage,
                cost=cost,
            )
        )

    async def release(self, batch: SubmittedBatch) -> None:
        """Have the provider delete what it keeps of a batch. An error is logged, and harms nothing."""
        try:
            await self._state.who(batch).release(batch.handle)
        except Exception as error:  # noqa: BLE001  # tidying up must not undo what is settled
            logger.warning(
                "%s: could not tidy up after batch %s: %s",
                self._state.name,
                batch.key,
                _logged.said(error),
                extra=about(bridge=self._state.name, batch=batch.key),
            )
