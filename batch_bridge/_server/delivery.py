"""The post: takes outcomes from the outbox to the threads that wait for them, and sees that they have arrived."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import uuid4

from langgraph.store.base import PutOp
from langgraph_sdk.errors import ConflictError

from batch_bridge._core.models import Outcome
from batch_bridge._core.payload.interrupt_payload import read_envelope
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.flights.notices import Notices
from batch_bridge._engine.waiting.turns import in_turns
from batch_bridge._server.delivery_policy import Delivery, Verdict, due, judge, resume_map
from batch_bridge._server.parts import HostParts
from batch_bridge._server.port.threads import ThreadBusyError, ThreadServer
from batch_bridge._server.threads.claims import claim, unclaim
from batch_bridge._server.threads.view import ParkedWait, ThreadView
from batch_bridge.errors import BridgeUnreachableError
from batch_bridge.events import DeadLetter, Delivered, Event

logger = logger_of(__name__)

_SIDE_BY_SIDE = 16


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """How a bridge on a server delivers.

    Attributes:
        at_once: Threads that are looked at together and then resumed: few, so that what was seen is fresh.
        seconds: How long one tick delivers; what is left is delivered by the next.
        failures: Failed resumes after which an outcome is a dead letter.
    """

    at_once: int = 50
    seconds: float = 1.0
    failures: int = 8


DELIVERY_LIMITS: Final = DeliveryLimits()


class Outbox:
    """The deliveries of one bridge, in one process. What it must not forget is in the outbox of its records.

    Args:
        parts: The parts of the host.
        tell: Called with what threads were resumed with; `None` without a listener.
        limits: How it delivers.
    """

    def __init__(
        self,
        parts: HostParts,
        tell: Callable[[Event], None] | None = None,
        *,
        limits: DeliveryLimits = DELIVERY_LIMITS,
    ) -> None:
        self._bridge, self._store, self._records = parts.bridge, parts.store, parts.records
        self._access, self._users, self._ring = parts.access, parts.users, parts.key_ring
        self._forget = parts.engine.forget
        self._ended = parts.engine.purse.end
        self._tell = tell
        self._limits = limits
        self._deliveries: dict[str, Delivery] = {}
        self._strikes: dict[str, int] = {}
        self._notices = Notices()
        self.last_error = ""

    def load(self, now: datetime) -> None:
        """Take up what the outbox holds; how it went with a thread so far is remembered."""
        before, self._deliveries = self._deliveries, {}
        self.add(self._records.outbox, now)
        for thread, delivery in self._deliveries.items():
            if (old := before.get(thread)) is not None and old.ids == delivery.ids:
                self._deliveries[thread] = old

    def add(self, ids: Iterable[str], now: datetime, *, again: bool = False) -> None:
        """Take up requests that are in the outbox; others are put aside.

        Args:
            ids: Requests.
            now: Aware UTC.
            again: They had ended when their thread was seen asking for them: it may have taken them already.
        """
        for request_id in ids:
            thread = self._records.outbox.get(request_id)
            if isinstance(thread, str):
                delivery = self._deliveries.get(thread)
                if delivery is None:
                    delivery = self._deliveries[thread] = Delivery(thread, now)
                if request_id not in delivery.ids:
                    delivery.ids.add(request_id)
                    delivery.deliveries = 0
                    delivery.again |= again
                    delivery.hasten(now)

    def drop(self, ids: Iterable[str]) -> None:
        """Drop requests whose outcomes no thread waits for any more."""
        gone = set(ids)
        for thread, delivery in list(self._deliveries.items()):
            delivery.ids -= gone
            if not delivery.ids:
                del self._deliveries[thread]

    def hasten(self, threads: Iterable[str], now: datetime) -> None:
        """Look after these threads at once: there is news of them."""
        for thread in threads:
            if (delivery := self._deliveries.get(thread)) is not None:
                delivery.hasten(now)

    def strike(self, thread: str, *, idle: bool) -> None:
        """Note how a thread has parked: whether it took no answer of its last resume and asked for the same again."""
        if idle:
            self._strikes[thread] = self._strikes.get(thread, 0) + 1
        else:
            self._strikes.pop(thread, None)

    @property
    def next_at(self) -> datetime | None:
        """When the next letter is due."""
        return min((delivery.due for delivery in self._deliveries.values()), default=None)

    def __len__(self) -> int:
        return sum(len(delivery.ids) for delivery in self._deliveries.values())

    async def deliver(self, server: ThreadServer, now: datetime, *, seconds: float, hidden: bool) -> bool:
        """Look after the letters that are due, and return whether some are left after `seconds`. Users take turns.

        Args:
            server: Runs the threads.
            now: Aware UTC.
            seconds: How long to continue.
            hidden: A thread that is not seen may be another user's: it is waited for.
        """
        ready = sorted(
            (delivery for delivery in self._deliveries.values() if delivery.due <= now), key=lambda each: each.due
        )
        if len(ready) > self._limits.at_once and self._access.service is not None:
            await self._learn_owners(ready)
            ready = in_turns(ready, lambda delivery: delivery.user or "")
        until = time.monotonic() + seconds
        for start in range(0, len(ready), self._limits.at_once):
            if start and time.monotonic() > until:
                return True
            await self._look_after(server, ready[start : start + self._limits.at_once], now, hidden=hidden)
        return False

    async def _learn_owners(self, deliveries: Iterable[Delivery]) -> None:
        unknown = [delivery for delivery in deliveries if delivery.user is None]
        users = await self._users.known([delivery.thread for delivery in unknown])
        for delivery in unknown:
            delivery.user = users.get(delivery.thread, "")

    async def _look_after(
        self, server: ThreadServer, deliveries: Sequence[Delivery], now: datetime, *, hidden: bool
    ) -> None:
        doubted = {delivery.thread for delivery in deliveries if delivery.deliveries or delivery.again}
        seen = await server.look([delivery.thread for delivery in deliveries], closely=True, doubted=doubted)
        ended: list[str] = []
        kept: list[str] = []
        to_send: list[tuple[Delivery, ThreadView]] = []
        for delivery in deliveries:
            thread = self._vouched(delivery, seen.get(delivery.thread))
            verdict, read = judge(delivery, thread, self._bridge, now)
            delivery.ids -= read
            if read:
                delivery.deliveries = 0
            (ended if thread is not None and thread.ended else kept).extend(read)
            match verdict:
                case Verdict.GONE if hidden:
                    delivery.put_off(now)
                case Verdict.GONE | Verdict.GIVE_UP:
                    await self._bury(delivery, verdict.value, now)
                    self._leave(delivery.thread, thread)
                case Verdict.READ:
                    self._leave(delivery.thread, thread)
                case Verdict.SEND if thread is not None:
                    to_send.append((delivery, thread))
                case Verdict.CHECK:
                    await self._check(server, delivery, now)
                case _:
                    delivery.put_off(now)
        await self._acknowledge(ended, kept, now)
        await self._send(server, to_send, now)

    def _leave(self, thread: str, seen: ThreadView | None) -> None:
        """Remove a thread: it has received all its outcomes."""
        self._deliveries.pop(thread, None)
        if seen is None or seen.ended or seen.failed:
            self._strikes.pop(thread, None)
        if seen is None or seen.ended:
            self._ended(thread)

    def _vouched(self, delivery: Delivery, thread: ThreadView | None) -> ThreadView | None:
        return None if thread is None else thread.vouched(self._bridge, delivery.ids)

    async def _acknowledge(self, ended: Sequence[str], kept: Sequence[str], now: datetime) -> None:
        if kept:  # first: an outcome without such a row would never be deleted
            hour = (*delivered_namespace(self._bridge), f"{now:%Y%m%d%H}")
            await self._store.abatch([PutOp(hour, uuid4().hex, {"ids": list(kept)}, index=False)])
        await self._forget(ended)  # first, too: a letter without an outcome is taken for read
        await self._records.outbox.remove([*ended, *kept])

    async def _bury(self, delivery: Delivery, reason: str, now: datetime, *, logged: str = "") -> None:
        logger.error(
            "%s: dead letter for thread %s: %s",
            self._bridge,
            delivery.thread,
            logged or reason,
            extra=about(bridge=self._bridge),
        )
        self.last_error = f"thread {delivery.thread}: {reason}"
        dead = await self._records.bury(delivery.ids, reason, now)
        self._deliveries.pop(delivery.thread, None)
        if self._tell is not None and dead:
            self._tell(DeadLetter(bridge=self._bridge, thread=delivery.thread, requests=tuple(dead), reason=reason))

    # -- resuming ------------------------------------------------------------------------------------------------

    async def _send(self, server: ThreadServer, to_send: Sequence[tuple[Delivery, ThreadView]], now: datetime) -> None:
        ids = [each.id for _, thread in to_send for each in thread.asks(self._bridge)]
        outcomes = await self._records.ledger.outcomes(ids)
        users = await self._users.known([thread.id for _, thread in to_send])
        gate = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def send(delivery: Delivery, thread: ThreadView) -> None:
            async with gate:
                await self._resume(server, delivery, thread, outcomes, now, users.get(thread.id))

        await asyncio.gather(*(send(delivery, thread) for delivery, thread in to_send))

    async def _resume(  # noqa: PLR0917
        self,
        server: ThreadServer,
        delivery: Delivery,
        thread: ThreadView,
        outcomes: dict[str, Outcome],
        now: datetime,
        user: str | None,
    ) -> None:
        interrupts = due(thread, self._bridge, delivery.ids & outcomes.keys())
        delivery.put_off(now)
        if not interrupts:
            return
        if len(thread.bridges) == 1:
            await self._answer(server, delivery, thread, interrupts, outcomes, now, user)
        elif await claim(self._store, thread.id, self._bridge, now):
            try:
                again = (await server.look([thread.id], closely=True)).get(thread.id)
                thread = self._vouched(delivery, again) or thread
                interrupts = due(thread, self._bridge, delivery.ids & outcomes.keys())
                if interrupts and not thread.busy and not thread.failed:  # else the other one was quicker
                    await self._answer(server, delivery, thread, interrupts, outcomes, now, user)
            finally:
                await unclaim(self._store, thread.id, self._bridge)

    async def _answer(  # noqa: PLR0917
        self,
        server: ThreadServer,
        delivery: Delivery,
        thread: ThreadView,
        interrupts: list[ParkedWait],
        outcomes: dict[str, Outcome],
        now: datetime,
        user: str | None,
    ) -> None:
        answers = resume_map(interrupts, self._bridge, outcomes, keys=self._ring.keys, thread=thread.id)
        try:
            await server.resume(thread, interrupts, answers, self._strikes.get(thread.id, 0), user)
        except (ConflictError, ThreadBusyError):
            logger.info(
                "%s: thread %s is busy with another run; it is checked again",
                self._bridge,
                thread.id,
                extra=about(bridge=self._bridge),
            )
        except BridgeUnreachableError as error:  # a retry would run its nodes as another user
            await self._bury(delivery, str(error), now, logged=type(error).__name__)
        except Exception as error:  # noqa: BLE001  # no graph runs here; one thread must not stand in others' way
            delivery.failures += 1
            self.last_error = f"thread {thread.id}: {error}"
            if (again := self._notices.again(self._bridge, type(error).__name__, now)) is not None:
                said = _logged.said(error)
                logger.warning(
                    "%s: could not resume thread %s: %s%s",
                    self._bridge,
                    thread.id,
                    said,
                    again,
                    extra=about(bridge=self._bridge),
                )
            if delivery.failures >= self._limits.failures:
                said = f"it could not be resumed: {_logged.said(error)}"
                await self._bury(delivery, f"it could not be resumed: {error}", now, logged=said)
        else:
            delivery.deliveries += 1
            delivery.failures = 0
            if self._tell is not None:
                told = tuple(dict.fromkeys(each for answer in answers.values() for each in read_envelope(answer)))
                self._tell(Delivered(bridge=self._bridge, requests=told))

    async def _check(self, server: ThreadServer, delivery: Delivery, now: datetime) -> None:
        """Resume a thread that reads busy if nothing runs: what it shows is where it is parked only then.

        A run that begins or ends meanwhile changes where the thread is parked. So one looks for runs, then at the
        thread, and then for runs once more.
        """
        thread = None
        if not await server.is_under_way(delivery.thread):
            thread = self._vouched(delivery, (await server.look([delivery.thread], closely=True)).get(delivery.thread))
        if thread is None or not (thread.busy and thread.parked) or await server.is_under_way(delivery.thread):
            delivery.put_off(now)
        else:
            await self._send(server, [(delivery, thread)], now)


def delivered_namespace(bridge: str) -> tuple[str, ...]:
    """Return below what, by the hour, it is noted which outcomes have been delivered, for as long as they are kept."""
    return ("batch_bridge", bridge, "delivered")
