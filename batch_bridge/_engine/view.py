"""What may be asked of an engine. Reading changes nothing."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from batch_bridge import events
from batch_bridge._core.models import JSON, Closed, Intent, SubmittedBatch
from batch_bridge._core.pending import PendingBatch
from batch_bridge._core.policy.vendor_terms import VendorTerms
from batch_bridge._engine import idle as _rest
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._engine.state import State
from batch_bridge._engine.waiting.quota import QuotaController
from batch_bridge._money import Account, AccountLine, Prices
from batch_bridge.errors import BadPollResultError


class EngineView:
    """The questions of an engine's host, which an `Engine` answers.

    Args:
        state: The engine's.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._ticked_at: datetime | None = None

    @property
    def prices(self) -> Prices:
        """What tokens cost."""
        return self._state.prices

    def lines_of(self, asker: str) -> list[AccountLine]:
        """Return what was used for a thread, or for a request that none waits for, as far as `keeps_askers` goes."""
        return self._state.till.lines_of(asker)

    async def closed_batches(self) -> list[Closed]:
        """Read the summaries of settled batches, of all processes."""
        return await self._state.ledger.closed_batches()

    async def closed_among(self, keys: Sequence[str]) -> list[Closed]:
        """Read the summaries of settled batches that are known by these keys."""
        return await self._state.ledger.closed_among(keys)

    async def lines_in(self, key: str) -> list[AccountLine]:
        """Read what the requests of a settled batch have used."""
        return await self._state.till.lines_in(key)

    async def accounts(self) -> list[Account]:
        """Read what all settled requests of this bridge have used, of all processes."""
        return (await self._state.till.settled(self.batches))()

    async def accounts_unread(self) -> Callable[[], list[Account]]:
        """Read what `accounts` does, and return what parses it, at any time: that takes long, and few ask for it."""
        return await self._state.till.settled(self.batches)

    @property
    def quota_controller(self) -> QuotaController:
        """What it has learned of the provider's quotas."""
        return self._state.quota_controller

    @property
    def bad_results(self) -> dict[str, BadPollResultError]:
        """What says that `poll` has returned what makes no sense, by our key of the batch, which is in flight."""
        return {flight.batch.key: flight.bad for flight in self._state.flights if flight.bad is not None}

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with batches that could not be looked at the last time, or read, for a person to read."""
        aside = (
            f"batch {key} ({handle!r}) is set aside: the ledger has lost the list of its requests"
            for key, handle in self._state.ledger.aside.items()
        )
        return (
            *aside,
            *(
                f"batch {flight.batch.key} cannot be polled, {flight.failures} times in a row: {flight.problem}"
                for flight in self._state.flights
                if flight.problem
            ),
        )

    @property
    def flights(self) -> tuple[Flight, ...]:
        """The batches that have been begun and not closed, for display. Do not change them."""
        return tuple(self._state.flights)

    @property
    def history(self) -> tuple[Closed, ...]:
        """The newest batches that have ended, of each group."""
        return self._state.history.batches

    @property
    def ended_batches(self) -> int:
        """How many batches have ended, as far as they are remembered."""
        return self._state.history.count

    @property
    def sent_batches(self) -> int:
        """How many batches the provider has confirmed that have not ended."""
        return sum(isinstance(flight.batch, SubmittedBatch) for flight in self._state.flights)

    @property
    def terms(self) -> VendorTerms:
        """How long its provider works on a batch, and keeps its results."""
        return self._state.terms

    @property
    def oldest(self) -> datetime | None:
        """Since when the first of the requests that wait to be sent does, aware UTC."""
        return self._state.opened().oldest

    @property
    def is_open(self) -> bool:
        """Whether it has been opened; nothing else may be asked of it before."""
        return self._state.queue is not None

    def knows(self, request_id: str) -> bool:
        """Return whether a request waits to be sent or is on its way."""
        return request_id in self._state.opened() or self._state.flights.of(request_id) is not None

    def is_sent(self, request_id: str) -> bool:
        """Whether a request is on its way in a batch that the provider has confirmed."""
        flight = self._state.flights.of(request_id)
        return flight is not None and isinstance(flight.batch, SubmittedBatch)

    @property
    def batches(self) -> tuple[str, ...]:
        """Our keys of the batches that have been begun and not closed."""
        return tuple(flight.batch.key for flight in self._state.flights)

    def in_batch(self, key: str) -> tuple[str, ...]:
        """Return the requests of a batch that have no outcome yet, by our key of it."""
        flight = self._state.flights.get(key)
        return () if flight is None else tuple(self._state.flights.unsettled(flight))

    def batches_of(self, ids: Iterable[str]) -> tuple[PendingBatch, ...]:
        """Return the batches that requests are in which have no outcome yet."""
        return _rest.batches_of(self._state, ids)

    @property
    def progress(self) -> tuple[events.BatchProgress, ...]:
        """How far the batches at the provider are, by its own count."""
        return _rest.progress(self._state)

    @property
    def rests(self) -> bool:
        """Whether everything is sent and was looked at, so that only the provider can move anything."""
        return self._ticked_at is not None and _rest.rests(self._state, self._ticked_at)

    def sent(self, ids: Iterable[str] | None = None) -> dict[str, JSON]:
        """Return the batches at the provider that are waited for, handles by our keys: all, or those of requests."""
        flights = self._state.flights
        of = list(flights) if ids is None else [each for each in map(flights.of, ids) if each is not None]
        return {
            each.batch.key: self.shown(each.batch)
            for each in of
            if isinstance(each.batch, SubmittedBatch) and not each.batch.left and flights.open_of(each)
        }

    def shown(self, batch: SubmittedBatch) -> JSON:
        """Return a batch's handle for a person to read."""
        return self._state.shown(batch, batch.handle)

    @property
    def queued(self) -> int:
        """How many requests wait to be sent."""
        return len(self._state.opened())

    @property
    def late_at(self) -> datetime | None:
        """When the first of what waits to be sent leaves the lane that it waits for; `None` if nothing does."""
        return self._state.opened().late_at

    @property
    def newest(self) -> datetime | None:
        """When the last request that waits to be sent was queued; `None` if none waits."""
        return self._state.opened().newest

    @property
    def waiting(self) -> Iterable[str]:
        """Ids of the requests that wait to be sent, oldest first."""
        return iter(self._state.opened())

    @property
    def open_requests(self) -> list[str]:
        """Ids of the requests that wait to be sent or are on their way."""
        flights = self._state.flights
        return [*self._state.opened(), *(each for flight in flights for each in flights.unsettled(flight))]

    @property
    def in_flight(self) -> int:
        """How many requests are on their way."""
        return self._state.flights.requests

    @property
    def unsent(self) -> int:
        """How many batches have been begun, and not confirmed by the provider."""
        return sum(isinstance(flight.batch, Intent) for flight in self._state.flights)

    @property
    def expects_news(self) -> bool:
        """Whether a batch in flight will call `on_news`: it runs in this process, and not at a provider."""
        return any(flight.rings for flight in self._state.flights)

    @property
    def looks(self) -> "list[asyncio.Future[None]]":
        """Looks at batches that run in the background of this loop; a host that ends waits for them."""
        return [flight.look for flight in self._state.flights if flight.look is not None and not flight.look.done()]

    @property
    def batches_in_flight(self) -> int:
        """How many batches have been begun and not closed."""
        return len(self._state.flights)
