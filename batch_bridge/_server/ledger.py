"""A bridge's ledger on a server: the next tick may run in another process, so the queue and the outbox are written too.

Rows besides those of the `Ledger`, each a set of entries in pieces::

    queue      request id -> thread, group, bytes, time, key, deadline?, tenant?
                                                                 from intake until its batch is confirmed, or outcome
    outbox     request id -> thread                              written before the outcome; until the thread has it
    dead       request id -> thread, reason, time                what could not be delivered, until a person replays it
    unclaimed  request id -> thread, time                        answers that no wait asks for any more, for a retention
"""

from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from langgraph.store.base import Op, SearchOp

from batch_bridge._core.durations import is_duration, read_seconds
from batch_bridge._core.models import Errored, Intent, Outcome, Request, SubmittedBatch
from batch_bridge._core.payload.interrupt_payload import is_request_id, is_uuid
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.wording.log import logger_of
from batch_bridge._ledger.ledger import Ledger, Rows
from batch_bridge._ledger.patience import Patience
from batch_bridge._server.chunked_set import ChunkedSet
from batch_bridge._server.unreadable import UNREADABLE, is_text, report, time_of

logger = logger_of(__name__)

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
        self._queue = ChunkedSet(store, (*root, "queue"), _is_queued)
        self.outbox = ChunkedSet(store, (*root, "outbox"), is_uuid)
        self.dead = ChunkedSet(store, (*root, "dead"), _is_dead)
        self.unclaimed = ChunkedSet(store, (*root, "unclaimed"), _is_unclaimed)
        self._damaged: set[str] = set()
        self._unread: list[str] = []
        self.held: dict[str, frozenset[str]] = {}
        """Requests that batches may hold whose rows cannot be read, by our key of the batch: who sends them again may
        pay twice."""
        self._threads: dict[str, str] = {}
        self._tenants: dict[str, str] = {}
        self._of_thread: dict[str, set[str]] = {}

    def _unreadable(self, kind: str, key: str, error: Exception) -> None:
        """Set a row aside: a tick serves all tenants, and one bad row must not stop it."""
        report(self._root[1], kind, key, error)
        if kind == "outcomes":
            self._damaged.add(key)
        if kind == "batches":
            self._unread.append(key)

    async def open_batches(self, *, tidy: bool = False) -> list[tuple[Intent, bool] | SubmittedBatch]:
        """See `Ledger`. What a batch holds that cannot be read is held: nobody knows whether it was paid for."""
        self._unread.clear()
        found = await super().open_batches(tidy=tidy)
        members = await self._get("members", self._unread)
        self.held = {key: await self._open_in(row) for key, row in zip(self._unread, members, strict=True)}
        return found

    async def _open_in(self, members: Mapping[str, Any] | None) -> frozenset[str]:
        ids = members.get("ids") if members is not None else None
        named = [each for each in ids if is_request_id(each)] if isinstance(ids, list) else []
        return frozenset(named) - await self.settled(named)

    def is_held(self, request_id: str) -> bool:
        """Return whether a batch may hold a request whose rows cannot be read."""
        return any(request_id in ids for ids in self.held.values())

    async def give_up(self, key: str, outcome: Outcome) -> frozenset[str]:
        """End what a batch may hold that cannot be read, and let go of its rows; returns the requests."""
        ids = self.held.get(key, frozenset())
        if key in self.held:
            await self.settle(dict.fromkeys(sorted(ids), outcome))
            await self._queue.remove(ids)
            await self.withdraw(key)
            del self.held[key]
        return ids

    def was_told(self, request_id: str) -> bool:
        """See `Ledger`."""
        return request_id not in self.outbox

    async def outcomes(self, ids: Sequence[str]) -> dict[str, Outcome]:
        """See `Ledger`. One that cannot be read is an error to who waits for it: nobody waits for ever."""
        self._damaged.clear()
        return await super().outcomes(ids) | dict.fromkeys(self._damaged, _DAMAGED)

    async def requests(self, ids: Sequence[str]) -> list[Request]:
        """See `Ledger`. One whose thread no server has is left out, as one that is not there."""
        found = await super().requests(ids)
        for request in found:
            if not is_uuid(request.thread):
                self._unreadable("requests", request.id, ValueError("its thread is none"))
        return [request for request in found if is_uuid(request.thread)]

    async def load(self, renew: Callable[[], Awaitable[None]] | None = None) -> None:
        """Read the sets anew: another process may have changed them.

        Args:
            renew: Called now and then: a long queue takes its time.
        """
        for pieces in (self._queue, self.outbox, self.dead, self.unclaimed):
            await pieces.load(renew)
        self._threads.clear()
        self._tenants.clear()
        self._of_thread.clear()
        queued: Iterable[tuple[str, Any]] = self._queue.items()
        for request_id, (thread, *row) in queued:
            self._remember(request_id, thread, _waiting(request_id, row).tenant)

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
                self._remember(request.id, request.thread, request.tenant)
            if renew is not None:
                await renew()

    def _remember(self, request_id: str, thread: str, tenant: str) -> None:
        self._threads[request_id] = thread
        if tenant:
            self._tenants[request_id] = tenant
        self._of_thread.setdefault(thread, set()).add(request_id)

    # -- the queue -----------------------------------------------------------------------------------------------

    async def enqueue(self, requests: Iterable[Request]) -> None:
        """See `Ledger`."""
        held = list(requests)
        for request in held:
            self._remember(request.id, request.thread, request.tenant)
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
        await self.drop(settled)
        rows: Iterable[tuple[str, Any]] = self._queue.items()
        return [
            _waiting(request_id, row)._replace(thread=thread)
            for request_id, (thread, *row) in rows
            if not self.is_held(request_id)
        ]

    async def confirm(self, batch: SubmittedBatch) -> None:
        """See `Ledger`."""
        await super().confirm(batch)
        await self._queue.remove(batch.members)

    async def drop(self, ids: Iterable[str]) -> None:
        """See `Ledger`. The queue comes last: by it the next process finds what this one has begun to let go of."""
        held = list(ids)
        await super().drop(held)
        await self._queue.remove(held)
        for request_id in held:
            self._tenants.pop(request_id, None)
            thread = self._threads.pop(request_id, None)
            if thread is not None and (held_by := self._of_thread.get(thread)) is not None:
                held_by.discard(request_id)
                if not held_by:
                    del self._of_thread[thread]

    # -- the outbox ------------------------------------------------------------------------------------------------

    async def settle(self, outcomes: Mapping[str, Outcome]) -> None:
        """See `Ledger`; first of all it is noted whom the outcomes are for."""
        await self.learn(outcomes)
        await self.outbox.add({each: self._threads[each] for each in outcomes if each in self._threads})
        await super().settle(outcomes)

    def _outcome_row(self, request_id: str, outcome: Outcome) -> dict[str, Any]:
        """See `Ledger`. It says whose it is, so that it can be erased."""
        row = super()._outcome_row(request_id, outcome)
        if thread := self._threads.get(request_id, ""):
            row["thread"] = thread
        if tenant := self._tenants.get(request_id, ""):
            row["tenant"] = tenant
        return row

    # -- erasing ---------------------------------------------------------------------------------------------------

    async def held_of(self, user: str, threads: Container[str], renew: Callable[[], Awaitable[None]]) -> set[str]:
        """Return the requests of a user, or of threads, of which the store holds an item, an answer or an entry.

        Reads all rows of requests and outcomes.
        """
        found: set[str] = set()
        for kind in ("requests", "outcomes"):
            start = 0
            while True:
                (rows,) = await self._run([SearchOp((*self._root, kind), limit=_AT_ONCE, offset=start)])
                for row in rows:
                    whose = row.value.get("tenant", "")
                    if (user and whose == user) or row.value.get("thread", "") in threads:
                        found.add(row.key)
                start += len(rows)
                if len(rows) < _AT_ONCE:
                    break
                await renew()
        entries: list[tuple[str, Any]] = [*self.outbox.items(), *self.dead.items(), *self.unclaimed.items()]
        found.update(each for each, held in entries if (held if isinstance(held, str) else held[0]) in threads)
        return found

    async def replace(self, outcomes: Mapping[str, Outcome]) -> None:
        """Write other outcomes over those that are there, whoever they are told to."""
        await self._run(self._put("outcomes", each, self._outcome_row(each, outcomes[each])) for each in outcomes)

    async def erase(self, ids: Iterable[str]) -> None:
        """Let go of all that is held of requests which nobody waits for any more, but for their outcomes."""
        held = list(ids)
        for pieces in (self.outbox, self.dead, self.unclaimed):
            await pieces.remove(held)
        await self._run(self._put("tries", each, None) for each in held)
        await self.forget_attempts(held)
        await self.drop(held)

    async def blank_accounts(self, threads: Collection[str], tenants: Collection[str]) -> None:
        """Take the names of threads and users out of what was paid: the amounts stay."""
        changed: list[tuple[str, dict[str, Any]]] = []
        for key, row in await self.money():
            who = [
                [] if (each[:1] and each[0] in threads) or (each[3:] and each[3] in tenants) else each
                for each in row["who"]
            ]
            if who != row["who"]:
                changed.append((key, {**row, "who": who}))
        await self._run(self._put("money", key, row) for key, row in changed)

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


def _is_thread(given: object) -> bool:
    """Return whether this is a thread, or none: whose a request is may not be known."""
    return given == "" or is_uuid(given)


def _is_any_text(given: object) -> bool:
    return is_text(given, empty=True)


def _is_size(given: object) -> bool:
    return type(given) is int and given >= 0


def _is_queued(row: Any) -> bool:
    forms = (_is_thread, _is_any_text, _is_size, _is_time, _is_any_text)
    return _fits(row, *forms) or _fits(row, *forms, is_duration) or _fits(row, *forms, _is_own, is_text)


def _is_own(given: object) -> bool:
    return given is None or is_duration(given)


def _is_dead(row: Any) -> bool:
    return _fits(row, is_uuid, lambda reason: isinstance(reason, str), _is_time)


def _is_unclaimed(row: Any) -> bool:
    return _fits(row, is_uuid, _is_time)


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
