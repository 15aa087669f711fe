r"""The ledger: what a bridge must not forget, in any LangGraph `BaseStore`.

Rows, below `("batch_bridge", <bridge>)`; each kind in one namespace, since a store on Postgres runs a statement for
each namespace that a batch of operations names::

    requests      request id -> thread, item, tenant?, sample?   from intake until its outcome is written
    outcomes      request id -> outcome, thread?, tenant?        from settlement until its thread has ended
    tries         request id -> failed attempts                  from its first resubmission until it is forgotten
    members       batch key  -> request ids, group, terms        written before the batch's row; equal requests may join
    batches       batch key  -> stage, prepared | handle         begun -> prepared -> submitted -> overdue | cancelled
    closed        batch key  -> counts, usage, times             after settlement, for reports
    traces        batch key  -> where its requests were asked     only with tracing: until its span is exported
    money         batch key  -> who asked, what is reserved, used     from before the intent, and for good: see `_money`

A store has no transactions and no compare-and-set. So every write is idempotent by key, and the order of writes is
such that a crash between any two of them only repeats work:

- intake     requests (within a `MemoryBudget` they stay in memory: the parked interrupt is the truth)
- begin      members and money, then batches (a `members` row alone means nothing was sent)
- join       requests, then money and members of the batch that they join, then they leave the queue
- settle     outcomes, then the requests they answer; the batch stays open until all are written
- resubmit   tries, then the queue (of ledgers that keep it), then the batch is closed: while it is open, its members
             are nowhere else
- leave      tries, then the queue, then the batch's row: from then on its members are not its own
- close      closed and money, then batches, then members
- withdraw   batches, then members and money (of a batch that is neither open nor closed, it means nothing)

Items and outcomes are kept as text: a store may keep JSON in a form of its own (Postgres's JSONB), which forgets the
order of keys, by which a model fills in a schema, and takes no `\u0000`.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from langgraph.store.base import PutOp

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import JSON, Attempt, Closed, Intent, Outcome, Request, SubmittedBatch, Terms
from batch_bridge._core.payload.interrupt_payload import is_request_id
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._ledger.forms import attempts_of, batch_of, blind_row, closed_of, closed_row, terms_row
from batch_bridge._ledger.old_shards import gather
from batch_bridge._ledger.queue import LedgerQueue
from batch_bridge._ledger.requests import StoredOutcomes, StoredRequests
from batch_bridge._ledger.rows import CHUNK, Rows, RowTable, SetAside

logger = logger_of(__name__)


class Ledger:
    """What one bridge must not forget. The effect of every method is durable when it returns.

    Not safe for two writers at once: the ledger's owner ensures that there is only one.

    Args:
        store: Where its rows are.
        bridge: The bridge's name.
        queue: Makes what it notes of requests that wait to be sent; by default nothing is noted.
        requests: Makes what holds requests until they are answered; by default rows.
        outcomes: Makes what holds outcomes until they are told; by default rows.
        most_closed: Summaries of ended batches that are kept, and their accounts; `None`: all.
        set_aside: Called with a row that cannot be read, which is left out. Without it the error is raised.
        chunk: Operations in one call of the store, and requests that are handled at once.

    Attributes:
        table: Its rows; those of its owner may lie beside them.
        aside: Batches whose requests are not known, and what the provider calls them. They stay in the store.
        held: Requests that batches may hold whose rows cannot be read, by our key of the batch: who sends them again
            may pay twice.
    """

    def __init__(
        self,
        store: Rows,
        bridge: str,
        *,
        queue: Callable[[RowTable], LedgerQueue] = LedgerQueue,
        requests: Callable[[RowTable], StoredRequests] = StoredRequests,
        outcomes: Callable[[RowTable], StoredOutcomes] = StoredOutcomes,
        most_closed: int | None = None,
        set_aside: SetAside | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self.table = RowTable(store, bridge, chunk=chunk, set_aside=set_aside)
        self._queue = queue(self.table)
        self._requests = requests(self.table)
        self._outcomes = outcomes(self.table)
        self._most_closed = most_closed
        self._closed: deque[str] = deque()
        self._attempts: dict[str, tuple[Attempt, ...]] = {}
        self.aside: dict[str, JSON] = {}
        self.held: dict[str, frozenset[str]] = {}

    @property
    def chunk(self) -> int:
        """How many requests are read at once."""
        return self.table.chunk

    # -- requests and outcomes -----------------------------------------------------------------------------

    async def enqueue(self, requests: Iterable[Request]) -> None:
        """Take requests, so that their items need not be held elsewhere."""
        await self._requests.add(requests)

    async def requests(self, ids: Sequence[str]) -> list[Request]:
        """Read requests, in the order asked; an unknown id is left out."""
        return await self._requests.read(ids)

    async def outcomes(self, ids: Sequence[str]) -> dict[str, Outcome]:
        """Read the known outcomes. A damaged one that was set aside is an error to its caller."""
        return await self._outcomes.read(ids)

    async def settled(self, ids: Sequence[str]) -> set[str]:
        """Return which requests have an outcome."""
        return await self._outcomes.known(ids)

    async def settle(self, outcomes: Mapping[str, Outcome]) -> None:
        """Write outcomes, and only then delete the requests that they answer."""
        await self._outcomes.add(outcomes)
        await self.drop(outcomes)

    async def forget(self, ids: Iterable[str]) -> None:
        """Delete the outcomes of requests whose thread has ended, and their attempts."""
        held = list(ids)
        await self._outcomes.remove(held)
        await self.forget_attempts(held)

    async def drop(self, ids: Iterable[str]) -> None:
        """Delete requests that no caller waits for any more."""
        held = list(ids)
        await self.table.run(self._queue.beside(held, self._requests.removing(held)))
        await self._queue.dropped(held)

    async def hold(self, requests: Iterable[Request]) -> None:
        """Have requests at hand that are on their way, for they may be sent again."""
        await self._requests.hold(requests)

    def was_told(self, request_id: str) -> bool:
        """Return whether a settled request's outcome is no longer on its way to a caller."""
        return self._outcomes.was_told(request_id)

    # -- what was tried --------------------------------------------------------------------------------------

    async def read_attempts(self) -> None:
        """Read the failed attempts, which stay in memory from then on. The first step of taking a ledger over.

        Rows of version 0.1 are moved to their place first.
        """
        await gather(self.table.run, self.table.root)
        self._outcomes.reset()
        rows = await self.table.all("tries")
        self._attempts = dict(self.table.each("tries", rows, attempts_of))

    @property
    def has_attempts(self) -> bool:
        """Whether anything was tried in vain, for any request."""
        return bool(self._attempts)

    def attempts(self, request_id: str) -> tuple[Attempt, ...]:
        """Return the failed attempts of a request, oldest first."""
        return self._attempts.get(request_id, ())

    async def tried(self, attempts: Mapping[str, Attempt]) -> None:
        """Note attempts that came to nothing, by request id. Idempotent: a request has one attempt in a batch."""
        new = {
            request_id: attempt
            for request_id, attempt in attempts.items()
            if all(each.batch != attempt.batch for each in self.attempts(request_id))
        }
        await self.table.run(
            self.table.put(
                "tries", request_id, {"tries": _outcome.attempts_to_json((*self.attempts(request_id), attempt))}
            )
            for request_id, attempt in new.items()
        )
        for request_id, attempt in new.items():
            self._attempts[request_id] = (*self.attempts(request_id), attempt)

    async def forget_attempts(self, ids: Iterable[str]) -> None:
        """Delete the attempts of requests that no caller will ask for again."""
        if not self._attempts:
            return
        known = [request_id for request_id in ids if request_id in self._attempts]
        await self.table.run(self.table.put("tries", request_id, None) for request_id in known)
        for request_id in known:
            self._attempts.pop(request_id, None)

    # -- the queue: kept in memory by the engine, and written down only where another process may continue it ----

    @property
    def keeps_queue(self) -> bool:
        """Whether queued requests are stored, and sent although no caller hands them in again."""
        return self._queue.is_kept

    async def queued(self, waiting: Sequence[Waiting]) -> None:
        """Note that requests wait to be sent, before their callers learn of it."""
        await self._queue.add(waiting)

    async def unqueued(self, ids: Iterable[str]) -> None:
        """Note that requests do not wait to be sent any more."""
        await self._queue.remove(ids)

    async def queue(self) -> list[Waiting]:
        """Read the requests that wait to be sent, oldest first. Of open batches, too, that are not confirmed.

        A request with an outcome does not wait, whatever its row says: a process has died over it.
        """
        waiting = await self._queue.read()
        settled = await self.settled(self._queue.may_be_settled([each.id for each in waiting]))
        await self.drop(settled)
        return [each for each in waiting if each.id not in settled and not self.is_held(each.id)]

    # -- batches -------------------------------------------------------------------------------------------

    async def begin(self, intent: Intent, money: dict[str, Any] | None = None) -> None:
        """Write an intent: first its requests and its account, then that it was begun."""
        account = [] if money is None else [self.table.put("money", intent.key, money)]
        await self.table.run([self._requests_row(intent), *account])
        await self.unprepared(intent)

    async def unprepared(self, intent: Intent) -> None:
        """Write that nothing was sent for an intent."""
        await self.table.run(
            [self.table.put("batches", intent.key, {"stage": "begun", "at": intent.begun_at.timestamp()})]
        )

    async def prepared(self, intent: Intent) -> None:
        """Write what a submission that is about to be made can be found by, and its requests again."""
        await self.table.run([self._requests_row(intent), self._prepared(intent)])

    async def confirm(self, batch: SubmittedBatch) -> None:
        """Write that the provider has the batch, and its requests again: another process may have dropped them."""
        await self.table.run([self._requests_row(batch), self._submitted(batch)])
        await self._queue.remove(batch.requests)

    async def join(self, batch: SubmittedBatch, money: dict[str, Any] | None = None) -> None:
        """Write that requests share lines of a batch that the provider has: its new requests and account."""
        account = [] if money is None else [self.table.put("money", batch.key, money)]
        await self.table.run([*account, self._requests_row(batch)])

    def _submitted(self, batch: SubmittedBatch) -> PutOp:
        row: dict[str, Any] = {
            "stage": batch.left or "submitted",
            "at": batch.submitted_at.timestamp(),
            "handle": batch.handle,
        }
        if batch.blind is not None:
            row["blind"] = blind_row(batch.blind)
        lists = {"kept": batch.kept, "moved": batch.moved, "gave": batch.gave, "elsewhere": batch.elsewhere}
        row |= {name: list(ids) for name, ids in lists.items() if ids}
        if batch.leaves_at is not None:
            row["leaves_at"] = batch.leaves_at.timestamp()
        return self.table.put("batches", batch.key, row)

    def _prepared(self, intent: Intent) -> PutOp:
        row = {"stage": "prepared", "at": intent.begun_at.timestamp(), "prepared": intent.prepared}
        if intent.elsewhere:
            row["elsewhere"] = list(intent.elsewhere)
        return self.table.put("batches", intent.key, row)

    def _requests_row(self, batch: Intent | SubmittedBatch) -> PutOp:
        requests: dict[str, Any] = {"ids": list(batch.requests), "group": batch.group}
        if batch.keys:
            requests |= {"keys": list(batch.keys), "shared": batch.shared}
        if batch.terms != Terms():
            requests["terms"] = terms_row(batch.terms)
        return self.table.put("members", batch.key, requests)

    async def mark(self, *batches: Intent | SubmittedBatch) -> None:
        """Write in one step what has changed: no request waits for a batch any more, or it cannot be looked at.

        If one is overdue, its requests are free from now on. An intent is one that may have been submitted.
        """
        await self.table.run(
            [self._prepared(each) if isinstance(each, Intent) else self._submitted(each) for each in batches]
        )

    async def withdraw(self, key: str) -> None:
        """Drop an intent of which nothing was sent."""
        await self.table.run([self.table.put("batches", key, None)])
        await self.table.run([self.table.put("members", key, None), self.table.put("money", key, None)])

    async def close(self, closed: Closed, money: dict[str, Any] | None = None) -> None:
        """Replace a settled batch by its summary, and its account by what it has used.

        The summary is the last of what one step writes: where a store writes only the first part, the batch is open.
        """
        account = [] if money is None else [self.table.put("money", closed.key, money)]
        await self.table.run([*account, self.table.put("closed", closed.key, closed_row(closed))])
        await self.finish(closed.key)
        if self._most_closed is not None:
            self._closed.append(closed.key)
            while len(self._closed) > self._most_closed:
                oldest = self._closed.popleft()
                await self.table.run([self.table.put(kind, oldest, None) for kind in ("closed", "money")])

    async def finish(self, key: str) -> None:
        """Delete the rows of a batch whose summary is written. Idempotent."""
        await self.table.run([self.table.put("batches", key, None)])
        await self.table.run([self.table.put("members", key, None)])

    async def note_money(self, accounts: Mapping[str, dict[str, Any]]) -> None:
        """Write accounts of requests that no batch holds, by a key that is theirs. Idempotent."""
        await self.table.run(self.table.put("money", key, account) for key, account in accounts.items())

    async def note_trace(self, key: str, row: dict[str, Any] | None) -> None:
        """Write where the requests of a batch were asked, before it is begun; `None` once its span was handed over."""
        await self.table.run([self.table.put("traces", key, row)])

    async def trace(self, key: str) -> dict[str, Any] | None:
        """Read where the requests of a batch were asked."""
        (row,) = await self.table.get("traces", [key])
        return row

    async def traces(self) -> list[tuple[str, dict[str, Any]]]:
        """Read those rows of all batches, by the batch's key: of open ones, of ended ones, and of some never sent."""
        return await self.table.all("traces")

    async def money(self) -> list[tuple[str, dict[str, Any]]]:
        """Read all accounts, by the batch's key: of open batches, of closed ones, and of some that were never sent."""
        return await self.table.all("money")

    async def money_of(self, key: str) -> dict[str, Any] | None:
        """Read the account of one batch."""
        (row,) = await self.table.get("money", [key])
        return row

    async def open_batches(
        self, *, tidy: bool = False, closed: Collection[str] | None = None
    ) -> list[tuple[Intent, bool] | SubmittedBatch]:
        """Read the batches that have not been closed, oldest first.

        An intent comes with whether it was prepared: if not, nothing was sent for it.

        Args:
            tidy: Drop the halves of batches that a process has left which died between two writes.
            closed: Our keys of the batches whose summaries are written; an account that is no batch's goes with the
                halves. `None`: all accounts stay.
        """
        rows = await self.table.all("batches")  # before their requests: those of a batch are there before it is
        if tidy:
            held_by = dict(await self.table.all("members"))
            await self._tidy(dict(rows), held_by, closed)
        else:
            keys = [key for key, _ in rows]
            rows_of = zip(keys, await self.table.get("members", keys), strict=True)
            held_by = {key: held for key, held in rows_of if held is not None}
        known: list[tuple[str, dict[str, Any] | None]] = []
        unread: list[str] = []
        for key, row in rows:
            if key in held_by:
                known.append((key, row))
            else:
                self._set_aside(key, row)
        found = self.table.each("batches", known, lambda key, row: batch_of(key, row, held_by[key]), unread)
        self.held = {key: await self._open_in(held_by.get(key)) for key in unread}
        return found

    async def _open_in(self, requests: Mapping[str, Any] | None) -> frozenset[str]:
        """Return what a batch may hold whose row cannot be read: it may have been paid for."""
        ids = requests.get("ids") if requests is not None else None
        named = [each for each in ids if is_request_id(each)] if isinstance(ids, list) else []
        return frozenset(named) - await self.settled(named)

    def is_held(self, request_id: str) -> bool:
        """Return whether a batch may hold a request whose rows cannot be read."""
        return any(request_id in ids for ids in self.held.values())

    async def give_up(self, key: str, outcome: Outcome) -> frozenset[str]:
        """Settle what an unreadable batch may hold, and delete its rows; return the requests."""
        ids = self.held.get(key, frozenset())
        if key in self.held:
            await self.settle(dict.fromkeys(sorted(ids), outcome))
            await self.unqueued(ids)
            await self.withdraw(key)
            del self.held[key]
        return ids

    async def _tidy(
        self, batches: Mapping[str, Mapping[str, Any]], requests: Iterable[str], closed: Collection[str] | None
    ) -> None:
        """Delete what a process left that died while it began or closed a batch.

        If another process begins a batch meanwhile, it writes its requests again before it sends.
        """
        held = set(requests)
        alone = [key for key in held if key not in batches]
        sent = alone if closed is None else closed
        await self.table.run(self.table.put("money", key, None) for key in alone if key not in sent)
        await self.table.run(self.table.put("members", key, None) for key in alone)
        half = [key for key, row in batches.items() if key not in held and row.get("stage") == "begun"]
        await self.table.run(self.table.put("batches", key, None) for key in half)

    def _set_aside(self, key: str, row: Mapping[str, Any]) -> None:
        """Leave a batch with unknown requests as it is; its callers ask for its requests again."""
        if row.get("stage") == "begun":
            return  # nothing was sent
        if key not in self.aside:
            logger.error(
                "the ledger contains batch %r (%r) but not its requests; the store has lost rows, or was "
                "edited. The batch "
                "is set aside: look it up at the provider, by its key; its requests are sent again when they "
                "are requested",
                key,
                _logged.handle(row.get("handle")),
                extra=about(bridge=self.table.root[1], batch=key),
            )
        self.aside[key] = row.get("handle", row.get("prepared"))

    async def closed_batches(self) -> list[Closed]:
        """Read the summaries of settled batches."""
        return self.table.each("closed", await self.table.all("closed"), closed_of)

    async def forget_closed(self, before: datetime) -> None:
        """Delete the summaries and accounts of batches that ended before a time."""
        old = [batch.key for batch in await self.closed_batches() if batch.ended_at < before]
        hits = [key for key, row in await self.money() if key.startswith("hit-") and row["at"] < before.timestamp()]
        await self.table.run(self.table.put("closed", key, None) for key in old)
        await self.table.run(self.table.put("money", key, None) for key in (*old, *hits))

    async def closed_among(self, keys: Sequence[str]) -> list[Closed]:
        """Read the summaries of settled batches that are known by these keys."""
        return self.table.each("closed", zip(keys, await self.table.get("closed", keys), strict=True), closed_of)
