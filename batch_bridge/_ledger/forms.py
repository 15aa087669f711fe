"""The forms of a ledger's rows: as they are written, and as earlier versions have written them."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.durations import read_seconds
from batch_bridge._core.models import (
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
from batch_bridge.errors import LedgerError

_LISTS: Final = ("kept", "moved", "gave", "elsewhere")
"""The requests of a batch of which something is known that its row of requests does not tell."""


def batch_of(key: str, row: Mapping[str, Any], held: Mapping[str, Any]) -> tuple[Intent, bool] | SubmittedBatch:
    """Read a batch that is open, and its requests; an intent comes with whether it was prepared."""
    ids, group, at = tuple(held["ids"]), held["group"], _time(row["at"])
    keys, shared, terms = tuple(held.get("keys", ())), held.get("shared", False), _terms(held.get("terms"))
    if not (all(isinstance(each, str) for each in (*ids, *keys, group)) and isinstance(shared, bool)):
        raise LedgerError(f"the requests of batch {key!r} cannot be read; the store was damaged or edited")
    if keys and len(keys) != len(ids):
        raise LedgerError(f"batch {key!r} has not as many keys as requests; the store was damaged or edited")
    match row["stage"]:
        case "begun":
            return Intent(key, ids, group, at, None, keys, shared, terms), False
        case "prepared":
            elsewhere = tuple(row.get("elsewhere", ()))
            return Intent(key, ids, group, at, row["prepared"], keys, shared, terms, elsewhere), True
        case "submitted" | "overdue" | "cancelled" as stage:
            leaves_at = row.get("leaves_at") if stage == "submitted" else None
            return SubmittedBatch(
                key,
                ids,
                group,
                at,
                row["handle"],
                keys,
                shared,
                terms,
                "" if stage == "submitted" else stage,
                _blind(row.get("blind")),
                leaves_at=None if leaves_at is None else _time(leaves_at),
                **{name: tuple(row.get(name, ())) for name in _LISTS},
            )
        case stage:
            raise LedgerError(
                f"batch {key!r} is in stage {stage!r}, which this version of BatchBridge does not "
                "know; was the file written by a newer one? Upgrade, or use another file"
            )


def closed_row(closed: Closed) -> dict[str, Any]:
    """Return the row of a settled batch's summary."""
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
    return row


def closed_of(key: str, row: Mapping[str, Any]) -> Closed:
    """Read the summary of a batch."""
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


def outcome_of(request_id: str, row: Mapping[str, Any]) -> tuple[str, Outcome]:
    """Read an outcome."""
    return request_id, _outcome.from_json(_read(row))


def attempts_of(request_id: str, row: Mapping[str, Any]) -> tuple[str, tuple[Attempt, ...]]:
    """Read what was tried for a request."""
    return request_id, _outcome.attempts_from_json(row["tries"])


def _item_text(request: Request) -> str:
    return request.data.decode() if type(request) is Serialized else json.dumps(request.item)


def request_row(request: Request) -> dict[str, Any]:
    """Return the row of a request."""
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


def request_of(request_id: str, row: Mapping[str, Any]) -> Request:
    """Read a request."""
    own = read_seconds(row.get("deadline"))
    tenant, sample = row.get("tenant", ""), row.get("sample", "")
    label, run = row.get("label", ""), row.get("run", "")
    trace, is_priced = row.get("trace", ""), row.get("priced") is True
    return Request(request_id, row["thread"], _read(row, "item"), tenant, sample, own, label, run, trace, is_priced)


def terms_row(terms: Terms) -> dict[str, Any]:
    """Return the terms of a batch as JSON."""
    row: dict[str, Any] = {"bytes": terms.bytes}
    if terms.asked_at is not None:
        row["asked_at"] = terms.asked_at.timestamp()
    if terms.lane:
        row["lane"] = terms.lane
    if terms.deadline is not None:
        row["deadline"] = terms.deadline.total_seconds()
    if terms.prefixes:
        row["prefixes"] = list(terms.prefixes)
    if terms.barred:
        row["barred"] = list(terms.barred)
    return row


def _terms(row: Any) -> Terms:
    if not row:
        return Terms()
    asked_at = row.get("asked_at")
    own = read_seconds(row.get("deadline"))
    lane = row.get("lane") or ("fallback" if row.get("fallback") else "")  # so it was written before there were ladders
    prefixes, barred = tuple(row.get("prefixes", ())), tuple(row.get("barred", ()))
    return Terms(_time(asked_at) if asked_at is not None else None, row["bytes"], lane, own, prefixes, barred)


def blind_row(blind: Blind) -> list[float]:
    """Return since when a batch cannot be looked at, as JSON."""
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


def _time(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
