"""Handles a look at a batch that showed nothing: it is repeated, until a long patience has passed."""

from dataclasses import replace
from datetime import datetime, timedelta

from batch_bridge import events
from batch_bridge._core.answer_gone import CODE, AnswerGone
from batch_bridge._core.models import Blind, Errored, SubmittedBatch
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.flights.flight import LONGEST_PAUSE, Flight
from batch_bridge._engine.state import State, said
from batch_bridge.errors import BadPollResultError, ProviderUnavailable

logger = logger_of(__name__)

POLL_FAILED = "poll_failed"
"""The code of a request whose batch could not be looked at for too long."""


async def good(state: State, flight: Flight) -> None:
    """Note a look that showed a batch's state."""
    state.standstill.moved()
    flight.seen()
    if isinstance(flight.batch, SubmittedBatch) and flight.batch.blind is not None:
        flight.batch = replace(flight.batch, blind=None)
        await state.ledger.mark(flight.batch)


async def failed(state: State, flight: Flight, error: Exception, now: datetime) -> Errored | None:
    """Leave a batch in flight that could not be looked at, or read; the provider has it, and it may be paid.

    What a provider does not say itself (`ProviderUnavailable`) is perhaps a bug, and ends after the patience.

    Returns:
        What the batch ends with, if the patience has run out.
    """
    if not isinstance(error, ProviderUnavailable):
        blind = _again(flight.blind, now, max(2 * state.interval, LONGEST_PAUSE))
        if flight.blind is not None and blind.spent >= state.poll_patience:
            return Errored(
                f"no poll of the batch has succeeded since {blind.since.isoformat(timespec='seconds')}, so "
                "poll_patience has expired; the batch may still have been answered and billed. The last poll failed "
                f"with {said(error)}",
                code=CODE if isinstance(error, AnswerGone) else POLL_FAILED,
                retryable=isinstance(error, AnswerGone),
            )
        flight.blind = blind
        if (
            isinstance(flight.batch, SubmittedBatch) and state.ledger.keeps_queue
        ):  # others continue counting: see `Engine.open`
            flight.batch = replace(flight.batch, blind=blind)
            await state.ledger.mark(flight.batch)
    elif flight.blind is not None:
        flight.blind = replace(flight.blind, at=now)  # no failure, and no good look
    flight.problem, flight.logged, flight.bad = said(error), _logged.said(error), None
    state.unavailable(flight, error, now)
    _tell(state, flight)
    return None


def wrong(state: State, flight: Flight, batch: SubmittedBatch, error: BadPollResultError, now: datetime) -> None:
    """Leave a batch in flight whose `poll` returned an invalid result, until `poll` is fixed.

    Raises:
        BadPollResultError: Always; it names the batch.
    """
    shown = state.shown(batch, batch.handle)
    named = BadPollResultError(f"batch {batch.key} ({shown!r}) of {state.name!r}: {error}")
    flight.unanswered(now)
    flight.blind, flight.problem, flight.bad = None, str(error), named
    flight.wait(now, state.interval)
    state.last_error = str(named)
    flight.logged = _logged.said(error)
    if (again := state.notices.again(state.name, f"poll returned {batch.key}", now)) is not None:
        told, of = _logged.handle(shown), state.name
        logger.error(
            "batch %s (%r) of %r: %s%s",
            batch.key,
            told,
            of,
            flight.logged,
            again,
            extra=about(bridge=of, batch=batch.key),
        )
    _tell(state, flight)
    raise named from error


def _again(blind: Blind | None, now: datetime, longest: timedelta) -> Blind:
    if blind is None:
        return Blind(now, now)
    return replace(blind, at=now, spent=blind.spent + min(max(now - blind.at, timedelta(0)), longest))


def _tell(state: State, flight: Flight) -> None:
    if state.on_event is not None:
        state.on_event(
            events.PollFailed(bridge=state.name, batch=flight.batch.key, error=flight.problem, failures=flight.failures)
        )
