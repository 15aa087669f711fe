"""Reports batches that take long, that make no progress, or whose results are about to be deleted."""

from datetime import datetime

from batch_bridge import events
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._core.wording.words import span
from batch_bridge._engine.flights.notices import told
from batch_bridge._engine.state import State

logger = logger_of(__name__)


def tell_long(state: State, now: datetime) -> None:
    """Log the batches that have been in flight for long: each at growing intervals."""
    if long := state.notices.long(state.flights, now):
        handles = [state.shown(batch, batch.handle) for _, batch in long]
        logger.warning(
            "%s: %s. If this is longer than usual, check it at the provider",
            state.name,
            told(long, handles),
            extra=about(bridge=state.name),
        )


def tell_stuck(state: State, now: datetime) -> None:
    """Report batches that do not get on, and results that are about to be deleted: each once."""
    for event in state.watch.look(state.flights, state.history, now, lambda batch: state.shown(batch, batch.handle)):
        if isinstance(event, events.Stalled):
            logger.warning(
                "%s: batch %s: %s",
                state.name,
                event.batch,
                event.advice,
                extra=about(bridge=state.name, batch=event.batch),
            )
        else:
            logger.warning(
                "%s: the results of batch %s (%r), %d requests, cannot be collected, and its provider deletes them "
                "in %s: see what `batch-bridge status` says of it",
                state.name,
                event.batch,
                _logged.handle(event.handle),
                event.requests,
                span(event.seconds_left),
                extra=about(bridge=state.name, batch=event.batch),
            )
        if state.on_event is not None:
            state.on_event(event)
