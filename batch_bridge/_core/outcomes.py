"""Outcomes as JSON, in the ledger and in the envelope that resumes a thread; and as the errors a node sees.

Every outcome has a JSON that stores, checkpoints and HTTP keep as it is: what they would lose or refuse of an answer or
a body (see `_text.is_plain`) goes as text.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, assert_never

from batch_bridge._core.json import text as _text
from batch_bridge._core.models import JSON, Attempt, Cancelled, Errored, Expired, FailureKind, Outcome, Succeeded
from batch_bridge.errors import (
    BudgetExceeded,
    LedgerError,
    RequestCancelled,
    RequestError,
    RequestExpired,
    RequestFailed,
)

BUDGET: Final = "budget_exceeded"
"""The code of a request that was not sent, because it would have passed a budget."""
_ANSWERS: Final = frozenset({Succeeded})
_HIGHEST: Final = 999
"""No HTTP status is beyond this."""


def kind(outcome: Outcome) -> str:
    """Name an outcome: `succeeded`, `errored`, `expired` or `cancelled`."""
    return type(outcome).__name__.lower()


def are_answers(outcomes: Iterable[Outcome]) -> bool:
    """Return whether all of some outcomes are answers."""
    return set(map(type, outcomes)) <= _ANSWERS


def code(failure: Errored | Expired | Cancelled) -> str:
    """Return a failure's short machine-readable cause."""
    return _unicode(failure.code) if isinstance(failure, Errored) else kind(failure)


def failures_of(outcomes: Iterable[Outcome]) -> Counter[FailureKind]:
    """Count the outcomes that are failures, by what they are grouped by."""
    return Counter(
        (kind(each), code(each), each.status_code, each.retryable)
        if isinstance(each, Errored)
        else (kind(each), code(each), None, True)
        for each in outcomes
        if not isinstance(each, Succeeded)
    )


def to_json(outcome: Outcome) -> dict[str, JSON]:
    """Return an outcome as JSON."""
    match outcome:
        case Succeeded(answer, cost):
            told: dict[str, JSON] = {} if cost is None else {"cost": f"{cost:f}"}
            return {"kind": "succeeded", **_stored("answer", answer), **told}
        case Errored(message, code, status_code, retryable, body, provider_request_id, attempts):
            row: dict[str, JSON] = {
                "kind": "errored",
                "message": _unicode(message),
                "code": _unicode(code),
                "status_code": status_code if status_code is not None and 0 <= status_code <= _HIGHEST else None,
                "retryable": retryable,
            }
            if body is not None:
                row |= _stored("body", body)
            if provider_request_id is not None:
                row["provider_request_id"] = _unicode(provider_request_id)
            return row | _attempts(attempts)
        case Expired(message, attempts):
            return {"kind": "expired", "message": _unicode(message), **_attempts(attempts)}
        case Cancelled(message, attempts):
            return {"kind": "cancelled", "message": _unicode(message), **_attempts(attempts)}
        case _:
            assert_never(outcome)


def shown(outcome: Outcome) -> dict[str, JSON]:
    """Return an outcome as JSON for people and their programs: an answer, or what failed, stands in it as it is."""
    row = to_json(outcome)
    for name in ("answer", "body"):
        if row.pop(f"{name}_text", None) is not None:
            row[name] = getattr(outcome, name)
    return row


def from_json(value: dict[str, JSON]) -> Outcome:
    """Read an outcome.

    Raises:
        LedgerError: It is not an outcome of ours, or is damaged.
    """
    try:
        return _from_json(value)
    except (TypeError, ValueError, ArithmeticError, OSError) as error:
        raise LedgerError(
            f"an outcome was found that cannot be read ({type(error).__name__}: {error}); the store was damaged or "
            "edited. Restore the file from a copy"
        ) from error


def _from_json(value: dict[str, JSON]) -> Outcome:
    match value:
        case {"kind": "succeeded", "answer": answer}:
            return Succeeded(answer, _cost(value))
        case {"kind": "succeeded", "answer_text": str(text)}:
            return Succeeded(_text.read(text), _cost(value))
        case {"kind": "errored", "message": str(message), "code": str(code)}:
            status, provider_request_id = value.get("status_code"), value.get("provider_request_id")
            return Errored(
                message,
                code,
                status if isinstance(status, int) else None,
                retryable=bool(value.get("retryable")),
                body=_text.read(held) if isinstance(held := value.get("body_text"), str) else value.get("body"),
                provider_request_id=provider_request_id if isinstance(provider_request_id, str) else None,
                attempts=attempts_from_json(value.get("attempts")),
            )
        case {"kind": "expired", "message": str(message)}:
            return Expired(message, attempts_from_json(value.get("attempts")))
        case {"kind": "cancelled", "message": str(message)}:
            return Cancelled(message, attempts_from_json(value.get("attempts")))
        case _:
            kind_found = value.get("kind") if isinstance(value, dict) else value
            raise LedgerError(
                f"an outcome of kind {kind_found!r} was found, which this version of BatchBridge does not "
                "know; was it written by a newer one? Upgrade, or use another file"
            )


def _cost(value: dict[str, JSON]) -> Decimal | None:
    given = value.get("cost")
    cost = Decimal(given) if isinstance(given, str) else None
    return cost if cost is not None and cost.is_finite() else None


def to_error(request_id: str, outcome: Errored | Expired | Cancelled) -> RequestError:
    """Return the error that the waiter of a failed request gets."""
    error = _to_error(request_id, outcome)
    error.attempts = tuple({"batch": a.batch, "kind": a.kind, "code": a.code, "at": a.at} for a in outcome.attempts)
    return error


def _to_error(request_id: str, outcome: Errored | Expired | Cancelled) -> RequestError:
    match outcome:
        case Errored(message=message, code="budget_exceeded", body=dict(body)):
            return _over_budget(request_id, message, body)
        case Errored(message, code, status_code, retryable):
            return RequestFailed(
                message, request_id=request_id, code=code, status_code=status_code, retryable=retryable
            )
        case Expired(message):
            return RequestExpired(message, request_id=request_id, code="expired", retryable=True)
        case Cancelled(message):
            return RequestCancelled(message, request_id=request_id, code="cancelled", retryable=True)
        case _:
            assert_never(outcome)


def raise_over_budget(outcomes: Mapping[str, Outcome]) -> None:
    """Raise the error of the first request that was not sent, because it would have passed a budget.

    Raises:
        BudgetExceeded: There is one.
    """
    for request_id, outcome in outcomes.items():
        if isinstance(outcome, Errored) and is_refused(outcome):
            raise to_error(request_id, outcome)


def is_refused(outcome: Outcome) -> bool:
    """Return whether a request was not sent, because it would have passed a budget."""
    return isinstance(outcome, Errored) and outcome.code == BUDGET


def _over_budget(request_id: str, message: str, body: dict[str, JSON]) -> BudgetExceeded:
    spent, reserved, limit = (Decimal(str(body.get(name, 0))) for name in ("spent", "reserved", "limit"))
    what = str(body.get("what", ""))
    return BudgetExceeded(message, request_id=request_id, what=what, spent=spent, reserved=reserved, limit=limit)


def with_attempts(outcome: Outcome, attempts: tuple[Attempt, ...]) -> Outcome:
    """Return an outcome with the attempts that came before it; an answer needs none."""
    return outcome if isinstance(outcome, Succeeded) or not attempts else replace(outcome, attempts=attempts)


def attempts_to_json(attempts: Iterable[Attempt]) -> list[JSON]:
    """Return attempts as JSON, oldest first."""
    return [
        [
            _unicode(each.batch),
            _unicode(each.kind),
            _unicode(each.code),
            each.at.timestamp(),
            *([each.lane, None if each.asked_at is None else each.asked_at.timestamp()] if each.lane else []),
        ]
        for each in attempts
    ]


def attempts_from_json(rows: Any) -> tuple[Attempt, ...]:
    """Read attempts."""
    return tuple(_attempt(*row) for row in rows or ())


def _attempt(batch: Any, kind: Any, code: Any, at: float, lane: Any = "", asked_at: float | None = None) -> Attempt:  # noqa: PLR0917
    since = None if asked_at is None else datetime.fromtimestamp(asked_at, UTC)
    return Attempt(str(batch), str(kind), str(code), datetime.fromtimestamp(at, UTC), str(lane), since)


def _stored(name: str, value: JSON) -> dict[str, JSON]:
    """Return a field with a value, which is text where that is not plain."""
    return {name: value} if _text.is_plain(value) else {f"{name}_text": _text.write(value).decode()}


def _attempts(attempts: tuple[Attempt, ...]) -> dict[str, JSON]:
    return {"attempts": attempts_to_json(attempts)} if attempts else {}


def _unicode(text: str) -> str:
    """Return an exception's text with lone surrogates, such as those in names of files, as `?`."""
    return text if text.isascii() else text.encode(errors="replace").decode()


class Chunks:
    """Outcomes as they are read, many at a time: who takes them one by one may do so. Read once.

    Args:
        chunks: The outcomes.
    """

    def __init__(self, chunks: AsyncIterator[list[tuple[str, Outcome]]]) -> None:
        self.chunks = chunks

    async def __aiter__(self) -> AsyncIterator[tuple[str, Outcome]]:
        async for chunk in self.chunks:
            for pair in chunk:
                yield pair

    async def aclose(self) -> None:
        """Stop reading, and close what they are read from. Idempotent."""
        close = getattr(self.chunks, "aclose", None)
        if close is not None:
            await close()


async def nothing() -> AsyncIterator[tuple[str, Outcome]]:
    """Yield no outcomes: those of a batch that has failed as a whole."""
    pairs: tuple[tuple[str, Outcome], ...] = ()
    for pair in pairs:
        yield pair
