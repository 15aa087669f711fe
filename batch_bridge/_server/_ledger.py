"""A bridge's ledger on a server: the next tick may run in another process, so the queue and the outbox are written too.

Rows besides those of the `Ledger`, each a set of entries in pieces::

    queue      request id -> thread, group, bytes, time, key, deadline?, tenant?
                                                                 from intake until its batch is confirmed, or outcome
    outbox     request id -> thread                              written before the outcome; until the thread has it
    dead       request id -> thread, reason, time                what could not be delivered, until a person replays it
    unclaimed  request id -> thread, time                        answers that no wait asks for any more, for a retention
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from langgraph.store.base import Op

from batch_bridge._duration import is_duration, read_seconds
from batch_bridge._ledger import Ledger, Rows
from batch_bridge._models import Errored, Outcome, Request, Submitted
from batch_bridge._patience import Patience
from batch_bridge._plan import Waiting
from batch_bridge._server._aside import UNREADABLE, is_text, report, time_of
from batch_bridge._server._pieces import Pieces

logger = logging.getLogger("batch_bridge")

_PATIENCE = timedelta(seconds=5)
"""How long a call of the store is tried again within a tick, which is shorter than its lease; the next tick goes on."""
_DAMAGED = Errored(
    "its outcome was damaged in the store; send the request again", code="outcome_damaged", retryable=True
)
_AT_ONCE = 1000
"""Requests that are read at once to learn whose they are."""


class DeploymentStore:
    """The store that the running graph was given, which may be another object in the next run, and may fail once."""

    def __init__(self) -> None:
        self.store: Rows | None = None
        self._patience = Patience("ledger", limit=_PATIENCE)

    async def abatch(self, ops: Iterable[Op]) -> list[Any]:
        """See `Rows`."""
        if self.store is None:
            raise RuntimeError("a bridge's ledger was used outside of a tick")
        store, held = self.store, list(ops)
        return await self._patience.call(lambda: store.abatch(held))


class ServerLedger(Ledger):
    """A ledger that another process can go on with. Its owner holds the lease."""

    keeps_queue = True

    def __init__(self, store: Rows, bridge: str) -> None:
        super().__init__(store, bridge)
        root = ("batch_bridge", bridge)
        self._queue = Pieces(store, (*root, "queue"), _is_queued)
        self.outbox = Pieces(store, (*root, "outbox"), is_text)
        self.dead = Pieces(store, (*root, "dead"), _is_dead)
        self.unclaimed = Pieces(store, (*root, "unclaimed"), _is_unclaimed)
        self._damaged: set[str] = set()
        self._threads: dict[str, str] = {}
        self._of_thread: dict[str, set[str]] = {}

    def _unreadable(self, kind: str, key: str, error: Exception) -> None:
        """Set a row aside: a tick serves all tenants, and one bad row must not stop it."""
        report(self._root[1], kind, key, error)
        if kind == "outcomes":
            self._damaged.add(key)

    async def outcomes(self, ids: Sequence[str]) -> dict[str, Outcome]:
        """See `Ledger`. One that cannot be read is an error to who waits for it: nobody waits for ever."""
        self._damaged.clear()
        return await super().outcomes(ids) | dict.fromkeys(self._damaged, _DAMAGED)

    async def load(self) -> None:
        """Read the sets anew: another process may have changed them."""
        for pieces in (self._queue, self.outbox, self.dead, self.unclaimed):
            await pieces.load()
        self._threads.clear()
        self._of_thread.clear()
        queued: Iterable[tuple[str, Any]] = self._queue.items()
        for request_id, (thread, *_) in queued:
            self._remember(request_id, thread)

    def thread_of(self, request_id: str) -> str:
        """Return the thread that waits for a request; empty if that is not known."""
        return self._threads.get(request_id, "")

    def queued_of(self, thread: str) -> set[str]:
        """Return the requests of a thread that wait to be sent."""
        return {each for each in self._of_thread.get(thread, ()) if each in self._queue}

    def requests_of(self, thread: str) -> set[str]:
        """Return the requests of a thread that wait to be sent or are on their way, as far as they are known by now."""
        return set(self._of_thread.get(thread, ()))

    async def learn(self, ids: Iterable[str], renew: Callable[[], Awaitable[None]] | None = None) -> None:
        """Find out whose requests are that are on their way; a process before this one may have sent them.

        Args:
            ids: The requests. Those that are known already cost nothing.
            renew: Called now and then: there may be many.
        """
        unknown = [each for each in ids if each not in self._threads]
        for start in range(0, len(unknown), _AT_ONCE):
            for request in await self.requests(unknown[start : start + _AT_ONCE]):
                self._remember(request.id, request.thread)
            if renew is not None:
                await renew()

    def _remember(self, request_id: str, thread: str) -> None:
        self._threads[request_id] = thread
        self._of_thread.setdefault(thread, set()).add(request_id)

    # -- the queue -----------------------------------------------------------------------------------------------

    async def enqueue(self, requests: Iterable[Request]) -> None:
        """See `Ledger`."""
        held = list(requests)
        for request in held:
            self._remember(request.id, request.thread)
        await super().enqueue(held)

    async def queued(self, waiting: Sequence[Waiting]) -> None:
        """See `Ledger`. Those that come back from a batch may be of a process before this one."""
        await self.learn(each.id for each in waiting)
        await self._queue.add({each.id: [self.thread_of(each.id), *_row(each)] for each in waiting})

    async def unqueued(self, ids: Iterable[str]) -> None:
        """See `Ledger`."""
        await self._queue.remove(ids)

    async def queue(self) -> list[Waiting]:
        """See `Ledger`."""
        settled = await self.settled([each for each in self._queue if each in self.outbox])  # a crash came in between
        await self._queue.remove(settled)
        rows: Iterable[tuple[str, Any]] = self._queue.items()
        return [_waiting(request_id, row) for request_id, (_, *row) in rows]

    async def confirm(self, batch: Submitted) -> None:
        """See `Ledger`."""
        await super().confirm(batch)
        await self._queue.remove(batch.members)

    async def drop(self, ids: Iterable[str]) -> None:
        """See `Ledger`."""
        held = list(ids)
        await self._queue.remove(held)
        await super().drop(held)
        for request_id in held:
            thread = self._threads.pop(request_id, None)
            if thread is not None and (held_by := self._of_thread.get(thread)) is not None:
                held_by.discard(request_id)
                if not held_by:
                    del self._of_thread[thread]

    async def forget_closed(self, before: datetime) -> None:
        """Let go of the summaries of batches that ended before a time."""
        old = [batch.key for batch in await self.closed_batches() if batch.ended_at < before]
        await self._run(self._put("closed", key, None) for key in old)

    # -- the outbox ------------------------------------------------------------------------------------------------

    async def settle(self, outcomes: Mapping[str, Outcome]) -> None:
        """See `Ledger`; first of all it is noted whom the outcomes are for."""
        threads = {request_id: self._threads[request_id] for request_id in outcomes if request_id in self._threads}
        if unknown := [request_id for request_id in outcomes if request_id not in threads]:
            threads |= {request.id: request.thread for request in await self.requests(unknown)}
        await self.outbox.add(threads)
        await super().settle(outcomes)

    async def bury(self, ids: Iterable[str], reason: str, now: datetime) -> None:
        """Give up on delivering outcomes, until a person replays them."""
        held = [request_id for request_id in ids if request_id in self.outbox]
        await self.dead.add({each: [self.outbox.get(each), reason, now.timestamp()] for each in held})
        await self.outbox.remove(held)

    async def forget_dead(self, before: datetime) -> list[str]:
        """Let go of dead letters that are older, and return whose outcomes may go too."""
        dead: list[tuple[str, Any]] = list(self.dead.items())
        old = [request_id for request_id, (_, _, at) in dead if at < before.timestamp()]
        await self.dead.remove(old)
        return old

    async def note_unclaimed(self, ids: Iterable[str], thread: str, now: datetime) -> None:
        """Count answers that were paid for and that no wait of a thread asks for any more, each once, and say so."""
        new = [each for each in ids if each not in self.unclaimed]
        if not new:
            return
        await self.unclaimed.add({each: [thread, now.timestamp()] for each in new})
        logger.warning(
            "thread %s received %d paid answer(s) that none of its waits requests any more: the requests of its "
            "node have changed. It sends new requests, and pays again",
            thread,
            len(new),
        )

    async def forget_unclaimed(self, before: datetime) -> None:
        """Let go of those that were counted before a time."""
        held: list[tuple[str, Any]] = list(self.unclaimed.items())
        await self.unclaimed.remove([each for each, (_, at) in held if at < before.timestamp()])

    async def replay(self, ids: Collection[str] | None) -> int:
        """Put dead letters into the outbox again: those named, or all. Returns how many there were."""
        dead: list[tuple[str, Any]] = list(self.dead.items())
        chosen = [(each, value) for each, value in dead if ids is None or each in ids]
        await self.outbox.add({request_id: thread for request_id, (thread, _, _) in chosen})
        await self.dead.remove([request_id for request_id, _ in chosen])
        return len(chosen)


def _fits(row: Any, *forms: Callable[[Any], bool]) -> bool:
    return isinstance(row, list) and len(row) == len(forms) and all(map(_holds, forms, row))


def _holds(form: Callable[[Any], bool], value: Any) -> bool:
    return form(value)


def _is_time(given: object) -> bool:
    try:
        time_of(given)
    except UNREADABLE:
        return False
    return True


def _is_any_text(given: object) -> bool:
    return is_text(given, empty=True)


def _is_size(given: object) -> bool:
    return type(given) is int and given >= 0


def _is_queued(row: Any) -> bool:
    forms = (_is_any_text, _is_any_text, _is_size, _is_time, _is_any_text)
    return _fits(row, *forms) or _fits(row, *forms, is_duration) or _fits(row, *forms, _is_own, is_text)


def _is_own(given: object) -> bool:
    return given is None or is_duration(given)


def _is_dead(row: Any) -> bool:
    return _fits(row, is_text, lambda reason: isinstance(reason, str), _is_time)


def _is_unclaimed(row: Any) -> bool:
    return _fits(row, is_text, _is_time)


def _row(waiting: Waiting) -> list[Any]:
    row = [waiting.group, waiting.bytes, waiting.queued_at.timestamp(), waiting.key]
    own = None if waiting.deadline is None else waiting.deadline.total_seconds()
    if waiting.tenant:
        return [*row, own, waiting.tenant]
    return row if own is None else [*row, own]


def _waiting(request_id: str, row: Sequence[Any]) -> Waiting:
    group, size, at, key, *rest = row
    own = read_seconds(rest[0]) if rest else None
    tenant = rest[1] if rest[1:] else ""
    return Waiting(request_id, group, size, datetime.fromtimestamp(at, UTC), key, own, tenant)
