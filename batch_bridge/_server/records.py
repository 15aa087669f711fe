"""What a bridge keeps on a server: its ledger, composed so that another process can continue it, and its deliveries.

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
from batch_bridge._core.models import CachedPrefix, Outcome, Request
from batch_bridge._core.payload.interrupt_payload import is_uuid
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.wording.log import logger_of
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.patience import Patience
from batch_bridge._ledger.queue import LedgerQueue
from batch_bridge._ledger.requests import StoredOutcomes, StoredRequests
from batch_bridge._ledger.rows import CHUNK, Rows, RowTable
from batch_bridge._server.chunked_set import ENTRIES, ChunkedSet
from batch_bridge._server.unreadable import is_text, is_time, report

logger = logger_of(__name__)

_PATIENCE = timedelta(seconds=5)
"""How long a call of the store is retried within a tick, shorter than its lease; the next tick retries it again."""
_USUAL = 5
"""What an entry of the queue holds at least."""
_TENANT = 6
"""Where it holds its tenant, if it is that long."""
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


class Owners:
    """Whose the requests are that a bridge knows of: threads and tenants, in memory."""

    def __init__(self) -> None:
        self._threads: dict[str, str] = {}
        self._tenants: dict[str, str] = {}
        self._of_thread: dict[str, set[str]] = {}

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._threads

    def clear(self) -> None:
        """Forget all."""
        self._threads.clear()
        self._tenants.clear()
        self._of_thread.clear()

    def remember(self, request_id: str, thread: str, tenant: str) -> None:
        """Know a request from now on."""
        self._threads[request_id] = thread
        if tenant:
            self._tenants[request_id] = tenant
        self._of_thread.setdefault(thread, set()).add(request_id)

    def forget(self, ids: Iterable[str]) -> None:
        """Forget requests."""
        for request_id in ids:
            self._tenants.pop(request_id, None)
            thread = self._threads.pop(request_id, None)
            if thread is not None and (held_by := self._of_thread.get(thread)) is not None:
                held_by.discard(request_id)
                if not held_by:
                    del self._of_thread[thread]

    def thread_of(self, request_id: str) -> str:
        """Return the thread that waits for a request; empty if that is not known."""
        return self._threads.get(request_id, "")

    def tenant_of(self, request_id: str) -> str:
        """Return a request's tenant; empty if it has none, or its tenant is not known."""
        return self._tenants.get(request_id, "")

    def requests_of(self, thread: str) -> set[str]:
        """Return the requests of a thread that wait to be sent or are on their way, as far as they are known by now."""
        return set(self._of_thread.get(thread, ()))


class OwnedRequests(StoredRequests):
    """Requests as rows, whose owners are known as well."""

    def __init__(self, table: RowTable, owners: Owners) -> None:
        super().__init__(table)
        self._owners = owners

    async def add(self, requests: Iterable[Request]) -> None:
        """See `StoredRequests`."""
        held = list(requests)
        for request in held:
            self._owners.remember(request.id, request.thread, request.tenant)
        await super().add(held)

    async def read(self, ids: Sequence[str]) -> list[Request]:
        """See `StoredRequests`. One whose thread no server has is left out, as one that is not there."""
        found = await super().read(ids)
        for request in found:
            if not is_uuid(request.thread):
                report(self._table.bridge, "requests", request.id, ValueError("its thread is not a UUID"))
        return [request for request in found if is_uuid(request.thread)]

    async def learn(self, ids: Iterable[str], renew: Callable[[], Awaitable[None]] | None = None) -> None:
        """Find out whose requests are that are on their way; a process before this one may have sent them.

        Args:
            ids: The requests. Those that are known already cost nothing.
            renew: Called now and then: there may be many.
        """
        unknown = [each for each in ids if each not in self._owners]
        for start in range(0, len(unknown), _AT_ONCE):
            for request in await self.read(unknown[start : start + _AT_ONCE]):
                self._owners.remember(request.id, request.thread, request.tenant)
            if renew is not None:
                await renew()


class ChunkedQueue(LedgerQueue):
    """The requests that wait, many in a row."""

    is_kept = True

    def __init__(
        self, table: RowTable, owners: Owners, requests: OwnedRequests, outbox: ChunkedSet, *, entries: int = ENTRIES
    ) -> None:
        super().__init__(table)
        self._owners = owners
        self._requests = requests
        self._outbox = outbox
        self.entries = ChunkedSet(table.store, (*table.root, "queue"), _is_queued, entries=entries)

    async def load(self, renew: Callable[[], Awaitable[None]] | None) -> None:
        """Read the queue again, and the tenants of its requests."""
        await self.entries.load(renew)
        self._owners.clear()
        rows: Iterable[tuple[str, Any]] = self.entries.items()
        for request_id, row in rows:
            self._owners.remember(request_id, row[0], row[_TENANT] if len(row) > _TENANT else "")

    async def add(self, waiting: Sequence[Waiting]) -> None:
        """See `LedgerQueue`. Those that come back from a batch may be of a process before this one."""
        await self._requests.learn(each.id for each in waiting)
        await self.entries.add({each.id: [self._owners.thread_of(each.id), *_row(each)] for each in waiting})

    async def remove(self, ids: Iterable[str]) -> None:
        """See `LedgerQueue`."""
        await self.entries.remove(ids)

    async def read(self) -> list[Waiting]:
        """See `LedgerQueue`."""
        rows: Iterable[tuple[str, Any]] = self.entries.items()
        return [_waiting(request_id, row) for request_id, row in rows]

    def may_be_settled(self, ids: Sequence[str]) -> Sequence[str]:
        """See `LedgerQueue`: a crash came in between."""
        return [each for each in ids if each in self._outbox]

    async def dropped(self, ids: Sequence[str]) -> None:
        """See `LedgerQueue`. It comes last: the next process finds by it what this one has begun to delete."""
        await self.entries.remove(ids)
        self._owners.forget(ids)


class AddressedOutcomes(StoredOutcomes):
    """Outcomes as rows, each with its thread, which is in the outbox before the row is written."""

    def __init__(self, table: RowTable, owners: Owners, requests: OwnedRequests, outbox: ChunkedSet) -> None:
        super().__init__(table)
        self._owners = owners
        self._requests = requests
        self._outbox = outbox

    async def add(self, outcomes: Mapping[str, Outcome]) -> None:
        """See `StoredOutcomes`; the outcomes' threads are recorded first."""
        await self._requests.learn(outcomes)
        await self._outbox.add({each: self._owners.thread_of(each) for each in outcomes if each in self._owners})
        await super().add(outcomes)

    def row(self, request_id: str, outcome: Outcome) -> dict[str, Any]:
        """See `StoredOutcomes`. The row names its user, so that it can be erased."""
        row = super().row(request_id, outcome)
        if thread := self._owners.thread_of(request_id):
            row["thread"] = thread
        if tenant := self._owners.tenant_of(request_id):
            row["tenant"] = tenant
        return row

    def was_told(self, request_id: str) -> bool:
        """See `StoredOutcomes`."""
        return request_id not in self._outbox


class ServerRecords:
    """A bridge's ledger, and beside it the outbox, dead letters, and answers that no wait asks for any more.

    The owner holds the lease.

    Attributes:
        ledger: The ledger. A row that cannot be read is set aside: a tick serves all tenants.
        owners: The threads and tenants of requests.
        outbox: Outcomes that their threads have not taken yet.
        dead: Outcomes that could not be delivered.
        unclaimed: Answers that no wait asks for any more.
    """

    def __init__(self, store: Rows, bridge: str, *, chunk: int = CHUNK, entries: int = ENTRIES) -> None:
        table = RowTable(store, bridge, chunk=chunk, set_aside=report)
        self.owners = Owners()
        self.outbox = ChunkedSet(store, (*table.root, "outbox"), is_uuid, entries=entries)
        self.dead = ChunkedSet(store, (*table.root, "dead"), _is_dead, entries=entries)
        self.unclaimed = ChunkedSet(store, (*table.root, "unclaimed"), _is_unclaimed, entries=entries)
        self._requests = OwnedRequests(table, self.owners)
        self._outcomes = AddressedOutcomes(table, self.owners, self._requests, self.outbox)
        self._queue = ChunkedQueue(table, self.owners, self._requests, self.outbox, entries=entries)
        self._table = table
        self.ledger = Ledger(
            store,
            bridge,
            queue=lambda _: self._queue,
            requests=lambda _: self._requests,
            outcomes=lambda _: self._outcomes,
            set_aside=report,
            chunk=chunk,
        )

    async def load(self, renew: Callable[[], Awaitable[None]] | None = None) -> None:
        """Read the sets again: another process may have changed them.

        Args:
            renew: Called now and then: a long queue takes its time.
        """
        await self._queue.load(renew)
        for pieces in (self.outbox, self.dead, self.unclaimed):
            await pieces.load(renew)

    async def learn(self, ids: Iterable[str], renew: Callable[[], Awaitable[None]] | None = None) -> None:
        """See `OwnedRequests`."""
        await self._requests.learn(ids, renew)

    def queued_of(self, thread: str) -> set[str]:
        """Return the requests of a thread that wait to be sent."""
        return {each for each in self.owners.requests_of(thread) if each in self._queue.entries}

    # -- erasing ---------------------------------------------------------------------------------------------------

    async def held_of(self, user: str, threads: Container[str], renew: Callable[[], Awaitable[None]]) -> set[str]:
        """Return the requests of a user, or of threads, of which the store holds an item, an answer or an entry.

        Reads all rows of requests and outcomes.
        """
        found: set[str] = set()
        for kind in ("requests", "outcomes"):
            start = 0
            while True:
                (rows,) = await self._table.run([SearchOp((*self._table.root, kind), limit=_AT_ONCE, offset=start)])
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
        """Overwrite outcomes, whichever threads they are for."""
        await self._outcomes.write(outcomes)

    async def erase(self, ids: Iterable[str]) -> None:
        """Delete all that is held of requests that no thread waits for any more, except their outcomes."""
        held = list(ids)
        for pieces in (self.outbox, self.dead, self.unclaimed):
            await pieces.remove(held)
        await self._table.run(self._table.put("tries", each, None) for each in held)
        await self.ledger.forget_attempts(held)
        await self.ledger.drop(held)

    async def blank_accounts(self, threads: Collection[str], tenants: Collection[str]) -> None:
        """Take the names of threads and users out of what was paid: the amounts stay."""
        changed: list[tuple[str, dict[str, Any]]] = []
        for key, row in await self.ledger.money():
            who = [
                [] if (each[:1] and each[0] in threads) or (each[3:] and each[3] in tenants) else each
                for each in row["who"]
            ]
            if who != row["who"]:
                changed.append((key, {**row, "who": who}))
        await self._table.run(self._table.put("money", key, row) for key, row in changed)

    # -- undelivered answers ---------------------------------------------------------------------------------------

    async def bury(self, ids: Iterable[str], reason: str, now: datetime) -> list[str]:
        """Give up on delivering outcomes, until a person replays them. Returns which of them there were."""
        held = [request_id for request_id in ids if request_id in self.outbox]
        await self.dead.add({each: [self.outbox.get(each), reason, now.timestamp()] for each in held})
        await self.outbox.remove(held)
        return held

    async def forget_dead(self, before: datetime) -> list[str]:
        """Delete older dead letters, and return the requests whose outcomes may be deleted too."""
        dead: list[tuple[str, Any]] = list(self.dead.items())
        old = [request_id for request_id, (_, _, at) in dead if at < before.timestamp()]
        await self.dead.remove(old)
        return old

    async def note_unclaimed(self, ids: Iterable[str], thread: str, now: datetime) -> None:
        """Count and report answers that were paid for, but that no wait of a thread asks for any more, each once."""
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
        """Delete unclaimed outcomes that were counted before a time."""
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


def _is_thread(given: object) -> bool:
    """Return whether this is a thread, or none: whose a request is may not be known."""
    return given == "" or is_uuid(given)


def _is_any_text(given: object) -> bool:
    return is_text(given, empty=True)


def _is_size(given: object) -> bool:
    return type(given) is int and given >= 0


def _is_queued(row: Any) -> bool:
    if not isinstance(row, list) or len(row) < _USUAL:
        return False
    thread, group, size, at, key = row[:_USUAL]
    if not (_is_thread(thread) and _is_any_text(group) and _is_size(size) and is_time(at) and _is_any_text(key)):
        return False
    return len(row) == _USUAL or _is_queued_with(row[_USUAL:])


def _is_queued_with(rest: list[Any]) -> bool:
    """Return whether this is what an entry of the queue may hold besides the usual."""
    return (
        _fits(rest, is_duration)
        or _fits(rest, _is_own, is_text)
        or _fits(rest, _is_own, _is_any_text, is_text, is_duration)
    )


def _is_own(given: object) -> bool:
    return given is None or is_duration(given)


def _is_dead(row: Any) -> bool:
    return _fits(row, is_uuid, lambda reason: isinstance(reason, str), is_time)


def _is_unclaimed(row: Any) -> bool:
    return _fits(row, is_uuid, is_time)


def _row(waiting: Waiting) -> list[Any]:
    row = [waiting.group, waiting.bytes, waiting.queued_at.timestamp(), waiting.key]
    own = None if waiting.deadline is None else waiting.deadline.total_seconds()
    if waiting.prefix is not None:
        return [*row, own, waiting.tenant, waiting.prefix.key, waiting.prefix.lasts.total_seconds()]
    if waiting.tenant:
        return [*row, own, waiting.tenant]
    return row if own is None else [*row, own]


def _waiting(request_id: str, entry: Sequence[Any]) -> Waiting:
    thread, group, size, at, key, *rest = entry
    queued_at = datetime.fromtimestamp(at, UTC)
    if not rest:
        return Waiting(request_id, group, size, queued_at, key, thread=thread)
    tenant = rest[1] if rest[1:] else ""
    prefix = CachedPrefix(rest[2], timedelta(seconds=rest[3])) if rest[2:] else None
    return Waiting(request_id, group, size, queued_at, key, read_seconds(rest[0]), tenant, thread=thread, prefix=prefix)
