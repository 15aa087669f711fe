"""Outcomes as JSON, in the ledger and in the envelope that resumes a thread; and as the errors a node sees."""

from typing import assert_never

from batch_bridge._models import JSON, Cancelled, Errored, Expired, Outcome, Succeeded
from batch_bridge.errors import LedgerError, RequestCancelled, RequestError, RequestExpired, RequestFailed


def kind(outcome: Outcome) -> str:
    """Name an outcome: `succeeded`, `errored`, `expired` or `cancelled`."""
    return type(outcome).__name__.lower()


def to_json(outcome: Outcome) -> dict[str, JSON]:
    """Return an outcome as JSON."""
    match outcome:
        case Succeeded(answer):
            return {"kind": "succeeded", "answer": answer}
        case Errored(message, code, status_code, retryable, body, provider_request_id):
            row: dict[str, JSON] = {
                "kind": "errored",
                "message": _unicode(message),
                "code": _unicode(code),
                "status_code": status_code,
                "retryable": retryable,
            }
            if body is not None:
                row["body"] = body
            if provider_request_id is not None:
                row["provider_request_id"] = provider_request_id
            return row
        case Expired(message):
            return {"kind": "expired", "message": _unicode(message)}
        case Cancelled(message):
            return {"kind": "cancelled", "message": _unicode(message)}
        case _:
            assert_never(outcome)


def from_json(value: dict[str, JSON]) -> Outcome:
    """Read an outcome.

    Raises:
        LedgerError: It is none of ours.
    """
    match value:
        case {"kind": "succeeded", "answer": answer}:
            return Succeeded(answer)
        case {"kind": "errored", "message": str(message), "code": str(code)}:
            status, provider_request_id = value.get("status_code"), value.get("provider_request_id")
            return Errored(
                message,
                code,
                status if isinstance(status, int) else None,
                retryable=bool(value.get("retryable")),
                body=value.get("body"),
                provider_request_id=provider_request_id if isinstance(provider_request_id, str) else None,
            )
        case {"kind": "expired", "message": str(message)}:
            return Expired(message)
        case {"kind": "cancelled", "message": str(message)}:
            return Cancelled(message)
        case _:
            raise LedgerError(
                f"an outcome of kind {value.get('kind')!r} was found, which this version of BatchBridge does not "
                "know; was it written by a newer one? Upgrade, or use another file"
            )


def to_error(request_id: str, outcome: Errored | Expired | Cancelled) -> RequestError:
    """Return the error that the waiter of a failed request gets."""
    match outcome:
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


def _unicode(text: str) -> str:
    """Return what somebody's exception said with lone surrogates, such as those in names of files, as `?`."""
    return text if text.isascii() else text.encode(errors="replace").decode()
