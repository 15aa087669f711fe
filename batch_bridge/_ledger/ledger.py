r"""The ledger: what a bridge must not forget, in any LangGraph `BaseStore`.

Rows, below `("batch_bridge", <bridge>)`; each kind in one namespace, since a store on Postgres runs a statement for
each namespace that a batch of operations names::

    requests      request id -> thread, item, tenant?, sample?   from intake until its outcome is written
    outcomes      request id -> outcome, thread?, tenant?        from settlement until its thread has ended
    tries         request id -> what was tried in vain           from its first resubmission until it is forgotten
    members       batch key  -> request ids, group, terms        written before the batch's row; equal requests may join
    batches       batch key  -> stage, prepared | handle         begun -> prepared -> submitted -> overdue | cancelled
    closed        batch key  -> counts, usage, times             after settlement, for reports
    traces        batch key  -> where its requests were asked     only where somebody traces: until its span is told
    money         batch key  -> who asked, what is reserved, used     from before the intent, and for good: see `_money`

A store has no transactions and no compare-and-set. So every write is idempotent by key, and the order of writes is
such that a crash between any two of them only repeats work:

- intake     requests (a `MemoryBudgetLedger` keeps most of them in memory: the parked interrupt is the truth)
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

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

from langgraph.store.base import GetOp, Op, PutOp, SearchOp

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.durations import read_seconds
from batch_bridge._core.models import (
    JSON,
    Attempt,
    Blind,
    Closed,
    Intent,
    Outcome,
    Request,
    Serialized,
    SubmittedBatch,
    Terms,
    Usage,
)
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._ledger.old_shards import gather
from batch_bridge.errors import LedgerError

logger = logger_of(__name__)

T = TypeVar("T")

_UNREADABLE: Final = (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, OSError)
"""What reading a row of another form raises."""
_CHUNK = 500
"""Operations in one call of the store: long enough to pay for a commit, short enough to hold little."""
_MOST = 1_000_000
"""Batches in one listing. Whoever has more is told so: one that is not seen would be sent again."""


class Rows(Protocol):
    """What a ledger is kept in: any LangGraph `BaseStore`, or less."""

    async def abatch(self, ops: Iterable[Op]) -> list[Any]:
        """Run operations, and return once they are durable."""
        ...


class Ledger:
    """The rows of one bridge. Every method has been made durable by the store when it returns.

    Not safe for two writers at once: whoever owns the ledger sees to it that there is one.
    """

    def __init__(self, store: Rows, bridge: str) -> None:
        self._store = store
        self._root = ("batch_bridge", bridge)
        self._tries: dict[str, tuple[Attempt, ...]] = {}
        self.aside: dict[str, JSON] = {}
        """Batches whose members are not known, and what the provider calls them. They stay in the store."""

    # -- requests and outcomes -----------------------------------------------------------------------------

    async def enqueue(self, requests: Iterable[Request]) -> None:
        """Write requests down, so that their items need not be held."""
        await self._run(self._put("requests", request.id, _request_row(request)) for request in requests)

    async def requests(self, ids: Sequence[str]) -> list[Request]:
        """Read requests, in the order asked; an unknown id is left out."""
        rows = await self._get("requests", ids)
        return self._each("requests", zip(ids, rows, strict=True), _request)

    async def outcomes(self, ids: Sequence[str]) -> dict[str, Outcome]:
        """Read the outcomes that are known."""
        rows = await self._get("outcomes", ids)
        return dict(self._each("outcomes", zip(ids, rows, strict=True), _settled))

    async def settled(self, ids: Sequence[str]) -> set[str]:
        """Return which requests have an outcome."""
        rows = await self._get("outcomes", ids)
        return {request_id for request_id, row in zip(ids, rows, strict=True) if row is not None}

    async def settle(self, outcomes: Mapping[str, Outcome]) -> None:
        """Write outcomes, and only then delete the requests that they answer."""
        await self._run(
            self._put("outcomes", request_id, self._outcome_row(request_id, outcome))
            for request_id, outcome in outcomes.items()
        )
        await self.drop(outcomes)

    def _outcome_row(self, request_id: str, outcome: Outcome) -> dict[str, Any]:
        """Return the row of an outcome."""
        del request_id
        return {"text": json.dumps(_outcome.to_json(outcome))}

    async def forget(self, ids: Iterable[str]) -> None:
        """Let go of the outcomes of requests whose thread has ended, and of what was tried for them."""
        held = list(ids)
        await self._run(self._put("outcomes", request_id, None) for request_id in held)
        await self.forget_attempts(held)

    async def drop(self, ids: Iterable[str]) -> None:
        """Let go of requests that nobody waits for any more."""
        await self._run(self._put("requests", request_id, None) for request_id in ids)

    async def hold(self, requests: Iterable[Request]) -> None:
        """Have requests at hand that are on their way, for they may be sent again. Here they are written down still."""

    # -- what was tried --------------------------------------------------------------------------------------

    async def read_attempts(self) -> None:
        """Read what was tried in vain; from then on it is in memory. The first step of taking a ledger over.

        Rows of version 0.1 are moved to their place first.
        """
        await gather(self._run, self._root)
        rows = await self._list("tries")
        self._tries = dict(self._each("tries", rows, _tried))

    @property
    def has_tries(self) -> bool:
        """Whether anything was tried in vain, for any request."""
        return bool(self._tries)

    def tries(self, request_id: str) -> tuple[Attempt, ...]:
        """Return what was tried in vain for a request, oldest first."""
        return self._tries.get(request_id, ())

    async def tried(self, attempts: Mapping[str, Attempt]) -> None:
        """Note tries that came to nothing, by request id. Idempotent: a request has one try in a batch."""
        new = {
            request_id: attempt
            for request_id, attempt in attempts.items()
            if all(each.batch != attempt.batch for each in self.tries(request_id))
        }
        await self._run(
            self._put("tries", request_id, {"tries": _outcome.attempts_to_json((*self.tries(request_id), attempt))})
            for request_id, attempt in new.items()
        )
        for request_id, attempt in new.items():
            self._tries[request_id] = (*self.tries(request_id), attempt)

    async def forget_attempts(self, ids: Iterable[str]) -> None:
        """Let go of what was tried for requests that nobody will ask for again."""
        if not self._tries:
            return
        known = [request_id for request_id in ids if request_id in self._tries]
        await self._run(self._put("tries", request_id, None) for request_id in known)
        for request_id in known:
            self._tries.pop(request_id, None)

    # -- the queue: kept in memory by the engine, and written down only where another process may go on with it ----

    keeps_queue = False
    """Whether what waits to be sent is written down, and sent though nobody hands it in again."""

    async def queued(self, waiting: Sequence[Waiting]) -> None:
        """Note that requests wait to be sent. Does nothing here: who waits hands them in again."""

    async def unqueued(self, ids: Iterable[str]) -> None:
        """Note that requests do not wait to be sent any more. Does nothing here."""

    async def queue(self) -> list[Waiting]:
        """Read the requests that wait to be sent, oldest first. Of open batches, too, that are not confirmed."""
        return []

    # -- batches -------------------------------------------------------------------------------------------

    async def begin(self, intent: Intent, money: dict[str, Any] | None = None) -> None:
        """Write an intent: first its members and its account, then that it was begun."""
        account = [] if money is None else [self._put("money", intent.key, money)]
        await self._run([self._members(intent), *account])
        await self.unprepared(intent)

    async def unprepared(self, intent: Intent) -> None:
        """Write that nothing was sent for an intent."""
        await self._run([self._put("batches", intent.key, {"stage": "begun", "at": intent.begun_at.timestamp()})])

    async def prepared(self, intent: Intent) -> None:
        """Write what a submission that is about to be made can be found by, and its members again."""
        row = {"stage": "prepared", "at": intent.begun_at.timestamp(), "prepared": intent.prepared}
        await self._run([self._members(intent), self._put("batches", intent.key, row)])

    async def confirm(self, batch: SubmittedBatch) -> None:
        """Write that the provider has the batch, and its members again: whoever else was here may have dropped them."""
        await self._run([self._members(batch), self._submitted(batch)])

    async def join(self, batch: SubmittedBatch, money: dict[str, Any] | None = None) -> None:
        """Write that requests share lines of a batch that the provider has: its members and its account, anew."""
        account = [] if money is None else [self._put("money", batch.key, money)]
        await self._run([*account, self._members(batch)])

    def _submitted(self, batch: SubmittedBatch) -> PutOp:
        row: dict[str, Any] = {
            "stage": batch.left or "submitted",
            "at": batch.submitted_at.timestamp(),
            "handle": batch.handle,
        }
        if batch.blind is not None:
            row["blind"] = _blind_row(batch.blind)
        return self._put("batches", batch.key, row)

    def _members(self, batch: Intent | SubmittedBatch) -> PutOp:
        members: dict[str, Any] = {"ids": list(batch.members), "group": batch.group}
        if batch.keys:
            members |= {"keys": list(batch.keys), "shared": batch.shared}
        if batch.terms != Terms():
            members["terms"] = _terms_row(batch.terms)
        return self._put("members", batch.key, members)

    async def mark(self, batch: SubmittedBatch) -> None:
        """Write what has changed of a batch: nobody waits for it any more, or it cannot be looked at.

        If it is overdue, its members are free from now on.
        """
        await self._run([self._submitted(batch)])

    async def withdraw(self, key: str) -> None:
        """Drop an intent of which nothing was sent."""
        await self._run([self._put("batches", key, None)])
        await self._run([self._put("members", key, None), self._put("money", key, None)])

    async def close(self, closed: Closed, money: dict[str, Any] | None = None) -> None:
        """Replace a settled batch by its summary, and its account by what it has used."""
        usage = closed.usage
        row = {
            "handle": closed.handle,
            "requests": closed.requests,
            "submitted_at": closed.submitted_at.timestamp(),
            "ended_at": closed.ended_at.timestamp(),
            "outcomes": dict(closed.outcomes),
            "usage": None
            if usage is None
            else [
                usage.model,
                usage.input_tokens,
                usage.output_tokens,
                usage.cached_tokens,
                *([True] if usage.realtime else []),
            ],
        }
        if closed.resubmitted or closed.paid_twice:
            row |= {"resubmitted": closed.resubmitted, "paid_twice": closed.paid_twice}
        if closed.group:
            row["group"] = closed.group
        if closed.failures:
            row["failures"] = [[*kind, count] for kind, count in closed.failures.items()]
        if closed.lane != "batch":
            row["lane"] = closed.lane
        account = [] if money is None else [self._put("money", closed.key, money)]
        await self._run([self._put("closed", closed.key, row), *account])
        await self._run([self._put("batches", closed.key, None)])
        await self._run([self._put("members", closed.key, None)])

    def was_told(self, request_id: str) -> bool:
        """Return whether a settled request's outcome is on its way to nobody any more."""
        del request_id
        return True

    async def note_money(self, accounts: Mapping[str, dict[str, Any]]) -> None:
        """Write accounts of requests that no batch holds, by a key that is theirs. Idempotent."""
        await self._run(self._put("money", key, account) for key, account in accounts.items())

    async def note_trace(self, key: str, row: dict[str, Any] | None) -> None:
        """Write where the requests of a batch were asked, before it is begun; `None` once its span was handed over."""
        await self._run([self._put("traces", key, row)])

    async def trace(self, key: str) -> dict[str, Any] | None:
        """Read where the requests of a batch were asked."""
        (row,) = await self._get("traces", [key])
        return row

    async def traces(self) -> list[tuple[str, dict[str, Any]]]:
        """Read those rows of all batches, by the batch's key: of open ones, of ended ones, and of some never sent."""
        return await self._list("traces")

    async def money(self) -> list[tuple[str, dict[str, Any]]]:
        """Read all accounts, by the batch's key: of open batches, of closed ones, and of some that were never sent."""
        return await self._list("money")

    async def money_of(self, key: str) -> dict[str, Any] | None:
        """Read the account of one batch."""
        (row,) = await self._get("money", [key])
        return row

    async def open_batches(self, *, tidy: bool = False) -> list[tuple[Intent, bool] | SubmittedBatch]:
        """Read the batches that have not been closed, oldest first.

        An intent comes with whether it was prepared: if not, nothing was sent for it.

        Args:
            tidy: Drop the halves of batches that a process has left which died between two writes.
        """
        rows = await self._list("batches")  # before their members: those of a batch are there before it is
        if tidy:
            held_by = dict(await self._list("members"))
            await self._tidy(dict(rows), held_by)
        else:
            keys = [key for key, _ in rows]
            found = zip(keys, await self._get("members", keys), strict=True)
            held_by = {key: held for key, held in found if held is not None}
        known: list[tuple[str, dict[str, Any] | None]] = []
        for key, row in rows:
            if key in held_by:
                known.append((key, row))
            else:
                self._set_aside(key, row)
        return self._each("batches", known, lambda key, row: _batch(key, row, held_by[key]))

    async def _tidy(self, batches: Mapping[str, Mapping[str, Any]], members: Iterable[str]) -> None:
        """Drop what a process has left that died while it began a batch, or let go of one.

        Whoever begins one meanwhile, where two race, writes its members again before it sends.
        """
        held = set(members)
        await self._run(self._put("members", key, None) for key in held - batches.keys())
        half = [key for key, row in batches.items() if key not in held and row.get("stage") == "begun"]
        await self._run(self._put("batches", key, None) for key in half)

    def _set_aside(self, key: str, row: Mapping[str, Any]) -> None:
        """Leave a batch as it is whose members are not known; its requests are asked again by who waits for them."""
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
                extra=about(bridge=self._root[1], batch=key),
            )
        self.aside[key] = row.get("handle", row.get("prepared"))

    async def closed_batches(self) -> list[Closed]:
        """Read the summaries of settled batches."""
        return self._each("closed", await self._list("closed"), _closed)

    async def forget_closed(self, before: datetime) -> None:
        """Let go of the summaries and accounts of batches that ended before a time."""
        old = [batch.key for batch in await self.closed_batches() if batch.ended_at < before]
        hits = [key for key, row in await self.money() if key.startswith("hit-") and row["at"] < before.timestamp()]
        await self._run(self._put("closed", key, None) for key in old)
        await self._run(self._put("money", key, None) for key in (*old, *hits))

    async def closed_among(self, keys: Sequence[str]) -> list[Closed]:
        """Read the summaries of settled batches that are known by these keys."""
        return self._each("closed", zip(keys, await self._get("closed", keys), strict=True), _closed)

    def _each(
        self, kind: str, rows: Iterable[tuple[str, dict[str, Any] | None]], read: Callable[[str, dict[str, Any]], T]
    ) -> list[T]:
        """Return what rows hold; those that are not there are left out."""
        found: list[T] = []
        for key, row in rows:
            if row is not None:
                try:
                    found.append(read(key, row))
                except (LedgerError, *_UNREADABLE) as error:
                    self._unreadable(kind, key, error)
        return found

    def _unreadable(self, kind: str, key: str, error: Exception) -> None:
        """Handle a row that cannot be read: here, the error is raised that reading it has raised."""
        del kind, key
        raise error

    # -- the store -----------------------------------------------------------------------------------------

    def _put(self, kind: str, key: str, value: dict[str, Any] | None) -> PutOp:
        return PutOp((*self._root, kind), key, value, index=False)

    async def _get(self, kind: str, keys: Sequence[str]) -> list[dict[str, Any] | None]:
        namespace = (*self._root, kind)
        items = await self._run(GetOp(namespace, key) for key in keys)
        return [None if item is None else item.value for item in items]

    async def _list(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        (found,) = await self._run([SearchOp((*self._root, kind), limit=_MOST)])
        if len(found) >= _MOST:
            raise LedgerError(f"the ledger contains {_MOST:,} {kind} or more, and cannot list them; use another file")
        return sorted(((item.key, item.value) for item in found), key=_age_and_key)

    async def _run(self, ops: Iterable[Op]) -> list[Any]:
        results: list[Any] = []
        chunk: list[Op] = []
        for op in ops:
            chunk.append(op)
            if len(chunk) == _CHUNK:
                results += await self._store.abatch(chunk)
                chunk = []
        if chunk:
            results += await self._store.abatch(chunk)
        return results


def _batch(key: str, row: Mapping[str, Any], held: Mapping[str, Any]) -> tuple[Intent, bool] | SubmittedBatch:
    ids, group, at = tuple(held["ids"]), held["group"], _time(row["at"])
    keys, shared, terms = tuple(held.get("keys", ())), held.get("shared", False), _terms(held.get("terms"))
    if not (all(isinstance(each, str) for each in (*ids, *keys, group)) and isinstance(shared, bool)):
        raise LedgerError(f"the members of batch {key!r} cannot be read; the store was damaged or edited")
    if keys and len(keys) != len(ids):
        raise LedgerError(f"batch {key!r} has not as many keys as members; the store was damaged or edited")
    match row["stage"]:
        case "begun":
            return Intent(key, ids, group, at, None, keys, shared, terms), False
        case "prepared":
            return Intent(key, ids, group, at, row["prepared"], keys, shared, terms), True
        case "submitted":
            handle, blind = row["handle"], _blind(row.get("blind"))
            return SubmittedBatch(key, ids, group, at, handle, keys, shared, terms, blind=blind)
        case "overdue" | "cancelled" as left:
            handle, blind = row["handle"], _blind(row.get("blind"))
            return SubmittedBatch(key, ids, group, at, handle, keys, shared, terms, left, blind)
        case stage:
            raise LedgerError(
                f"batch {key!r} is in stage {stage!r}, which this version of BatchBridge does not "
                "know; was the file written by a newer one? Upgrade, or use another file"
            )


def _closed(key: str, row: Mapping[str, Any]) -> Closed:
    return Closed(
        key=key,
        handle=row["handle"],
        requests=row["requests"],
        submitted_at=_time(row["submitted_at"]),
        ended_at=_time(row["ended_at"]),
        outcomes=row["outcomes"],
        usage=Usage(*row["usage"]) if row["usage"] else None,
        resubmitted=row.get("resubmitted", 0),
        paid_twice=row.get("paid_twice", 0),
        group=row.get("group", ""),
        failures={(kind, code, status, passes): n for kind, code, status, passes, n in row.get("failures", ())},
        lane=row.get("lane", "batch"),
    )


def _settled(request_id: str, row: Mapping[str, Any]) -> tuple[str, Outcome]:
    return request_id, _outcome.from_json(_read(row))


def _tried(request_id: str, row: Mapping[str, Any]) -> tuple[str, tuple[Attempt, ...]]:
    return request_id, _outcome.attempts_from_json(row["tries"])


def _request_row(request: Request) -> dict[str, Any]:
    row: dict[str, Any] = {"thread": request.thread, "text": _item_text(request)}
    if request.tenant:
        row["tenant"] = request.tenant
    if request.sample:
        row["sample"] = request.sample
    if request.deadline is not None:
        row["deadline"] = request.deadline.total_seconds()
    if request.label:
        row["label"] = request.label
    if request.run:
        row["run"] = request.run
    if request.trace:
        row["trace"] = request.trace
    if request.is_priced:
        row["priced"] = True
    return row


def _item_text(request: Request) -> str:
    return request.data.decode() if type(request) is Serialized else json.dumps(request.item)


def _request(request_id: str, row: Mapping[str, Any]) -> Request:
    own = read_seconds(row.get("deadline"))
    tenant, sample = row.get("tenant", ""), row.get("sample", "")
    label, run = row.get("label", ""), row.get("run", "")
    trace, is_priced = row.get("trace", ""), row.get("priced") is True
    return Request(request_id, row["thread"], _read(row, "item"), tenant, sample, own, label, run, trace, is_priced)


def _terms_row(terms: Terms) -> dict[str, Any]:
    row: dict[str, Any] = {"bytes": terms.bytes}
    if terms.asked_at is not None:
        row["asked_at"] = terms.asked_at.timestamp()
    if terms.fallback:
        row["fallback"] = True
    if terms.deadline is not None:
        row["deadline"] = terms.deadline.total_seconds()
    return row


def _terms(row: Any) -> Terms:
    if not row:
        return Terms()
    asked_at = row.get("asked_at")
    own = read_seconds(row.get("deadline"))
    return Terms(_time(asked_at) if asked_at is not None else None, row["bytes"], row.get("fallback", False), own)


def _blind_row(blind: Blind) -> list[float]:
    return [blind.since.timestamp(), blind.at.timestamp(), blind.spent.total_seconds()]


def _blind(row: Sequence[float] | None) -> Blind | None:
    if row is None:
        return None
    since, at, spent = row
    return Blind(_time(since), _time(at), timedelta(seconds=spent))


def _read(row: Mapping[str, Any], name: str | None = None) -> Any:
    """Return what a row holds as text; of a row that an earlier version wrote, what stands there under a name."""
    if "text" in row:
        return json.loads(row["text"])
    return row[name] if name else row


def _age_and_key(row: tuple[str, Mapping[str, Any]]) -> tuple[float, str]:
    key, value = row
    at = value.get("at", 0.0)
    return (at if isinstance(at, int | float) and at == at else 0.0), key  # noqa: PLR0124  # NaN has no place


def _time(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
