"""What has left a lane, and is about to fail in the next one, takes the answer that the lane it left has meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from batch_bridge._core.models import Ended, InProgress, Outcome, SubmittedBatch, Succeeded
from batch_bridge._core.policy.resubmission import DEADLINE
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.flights.flight import Flight, first_pause
from batch_bridge._engine.settlement.leaver import Leaver
from batch_bridge._engine.settlement.outcome_writer import chunks
from batch_bridge._engine.state import State

logger = logger_of(__name__)

Look = Callable[[Flight, SubmittedBatch, datetime], Awaitable[InProgress | Ended]]

_MOST_SEEN: Final = 5_000
"""Requests whose answers are held at one time."""


@dataclass(slots=True)
class _Seen:
    """What a look has found. The requests of a batch fail part by part, and each part asks.

    Attributes:
        whose: The batch that fails, the one that was looked at, and when.
        asked: The requests that it was looked at for.
        answers: Those of its answers that were not taken yet.
    """

    whose: tuple[str, str, datetime] | None = None
    asked: set[str] = field(default_factory=set)
    answers: dict[str, Outcome] = field(default_factory=dict)


class Rescuer:
    """Finds answers for requests that are about to fail, in batches that they have left and that still run.

    Args:
        state: The engine's.
        look: Asks how a batch is.
        leaver: Ends requests of a batch with answers of another one.
    """

    def __init__(self, state: State, look: Look, leaver: Leaver) -> None:
        self._state = state
        self._look = look
        self._leaver = leaver
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._seen = _Seen()

    async def rescue(self, flight: Flight, now: datetime, ids: Collection[str]) -> set[str]:
        """Settle requests with the answers of batches that they have left; return which. One call at a time.

        Args:
            flight: The batch that they fail in.
            now: The time.
            ids: The requests, which have no outcome.
        """
        state = self._state
        if not ids or not state.ledger.has_attempts:
            return set()
        late = {each for each in ids if any(tried.code == DEADLINE for tried in state.ledger.attempts(each))}
        rescued = set[str]()
        if not late:
            return rescued
        async with self._one_at_a_time():
            for other in list(state.flights):
                batch = other.batch
                if not isinstance(batch, SubmittedBatch) or batch.left != "overdue" or other is flight:
                    continue
                wanted = {each for each in late.intersection(batch.moved) if state.flights.of(each) is flight}
                if not wanted:
                    continue
                found = await self._found(flight, other, batch, wanted, now)
                if answers := {each: found.pop(each) for each in wanted & found.keys()}:
                    await self._leaver.give_up(flight, answers, now, by=other)
                    rescued |= answers.keys()
        return rescued

    async def _found(
        self, flight: Flight, other: Flight, batch: SubmittedBatch, wanted: set[str], now: datetime
    ) -> dict[str, Outcome]:
        """Return what a batch has for requests that wait in another one. It is looked at once in a tick, or so."""
        whose = (flight.batch.key, batch.key, now)
        if self._seen.whose != whose or not wanted <= self._seen.asked:
            waits = (each for each in batch.moved if self._state.flights.of(each) is flight)
            asked = wanted.union(islice(waits, _MOST_SEEN))
            self._seen = _Seen(whose, asked, await self._answers(other, batch, asked, now))
        return self._seen.answers

    async def _answers(
        self, flight: Flight, batch: SubmittedBatch, wanted: Collection[str], now: datetime
    ) -> dict[str, Outcome]:
        """Look at a batch, and return the answers that it has for some of its requests; it is polled again soon.

        The first outcome of a request counts.
        """
        found: dict[str, Outcome] = {}
        look_at_once = getattr(self._state.who(batch), "look_at_once", None)
        if look_at_once is not None:
            look_at_once(batch.handle)
        try:
            reply = await self._look(flight, batch, now)
            if isinstance(reply, Ended):
                async for chunk in chunks(reply.outcomes, self._state.ledger.chunk):
                    found = {each: outcome for each, outcome in reversed(chunk) if each in wanted} | found
            else:
                found = {each: outcome for each, outcome in reversed(reply.outcomes) if each in wanted}
        except Exception as error:  # noqa: BLE001  # a provider may be the user's code; its next poll tells what is wrong
            logger.info(
                "%s: batch %s, which was left, could not be looked at once more: %s",
                self._state.name,
                batch.key,
                _logged.said(error),
                extra=about(bridge=self._state.name, batch=batch.key),
            )
        flight.due = min(flight.due, now + first_pause(self._state.interval))
        return {each: outcome for each, outcome in found.items() if isinstance(outcome, Succeeded)}

    def _one_at_a_time(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._turn is None or self._turn[0] is not loop:
            self._turn = loop, asyncio.Lock()
        return self._turn[1]
