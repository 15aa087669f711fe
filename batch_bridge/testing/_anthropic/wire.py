"""Batches, results and errors as Anthropic's API shows them. Pure.

Source: platform.claude.com/docs/en/api/messages/batches and /docs/en/api/errors.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from starlette.requests import Request

from batch_bridge.testing._answers.answer import Answer
from batch_bridge.testing._batches.batch import ServedBatch
from batch_bridge.testing._batches.dirt import clean, dirty
from batch_bridge.testing._server.dialect import Dialect, bearer
from batch_bridge.testing._server.errors import WireError, invalid, missing

MAX_REQUESTS: Final = 100_000
MAX_BYTES: Final = 256_000_000
"""What one batch may hold. Source: platform.claude.com/docs/en/build-with-claude/batch-processing, "Limitations"."""

_CUSTOM_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_NEVER_RAN: Final = {"batch_expired": "expired", "batch_cancelled": "canceled"}


def error_type(status_code: int) -> str:
    """The type of an error with this HTTP status."""
    return _TYPES.get(status_code, "invalid_request_error" if 400 <= status_code < 500 else "api_error")  # noqa: PLR2004


def error_body(status_code: int, message: str) -> dict[str, Any]:
    """An error as the API answers with it."""
    return {"type": "error", "error": {"type": error_type(status_code), "message": message}}


DIALECT: Final = Dialect(
    name="anthropic",
    key=lambda request: request.headers.get("x-api-key", "") or bearer(request),
    error=lambda error: error_body(error.status_code, error.message),
    request_id="request-id",
    advice="Provide one in the x-api-key header",
)


def answer_body(answer: Answer) -> Any:
    """The body of an answer; an error that an answerer has written in OpenAI's shape is put in Anthropic's."""
    body = answer.body
    if answer.ok or (isinstance(body, Mapping) and body.get("type") == "error"):
        return body
    error = body.get("error") if isinstance(body, Mapping) else None
    message = error.get("message") if isinstance(error, Mapping) else None
    return error_body(answer.status_code, str(message or "The request failed."))


def batch_wire(batch: ServedBatch, request: Request, *, status: str | None = None) -> dict[str, Any]:
    """The batch object; requests are counted as `processing` until all of them have ended.

    Args:
        batch: The batch.
        request: Who asks, for the address of the results.
        status: Shown in place of the true one, for the fault `unknown_status`.
    """
    ended = batch.ended
    unrun = batch.total - batch.done
    true = "ended" if ended else "canceling" if batch.status == "cancelling" else "in_progress"
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status or true,
        "request_counts": {
            "processing": 0 if ended else batch.total,
            "succeeded": batch.completed if ended else 0,
            "errored": batch.failed if ended else 0,
            "canceled": unrun if batch.status == "cancelled" else 0,
            "expired": unrun if batch.status == "expired" else 0,
        },
        "created_at": _time(batch.created_at),
        "expires_at": _time(batch.expires_at),
        "ended_at": _time(batch.ended_at) if ended else None,
        "archived_at": None,
        "cancel_initiated_at": _time(batch.cancelling_at),
        "results_url": f"{request.base_url}v1/messages/batches/{batch.id}/results" if ended and batch.total else None,
    }


def result_line(raw: bytes) -> bytes:
    """A line of the results, from one as it is stored; what a fault has broken stays broken."""
    try:
        line = orjson.loads(clean(raw))
    except orjson.JSONDecodeError:
        return raw
    response = line["response"]
    result: dict[str, Any]
    if response is None:
        result = _never_ran(line["error"])
    elif 200 <= response["status_code"] < 300:  # noqa: PLR2004
        result = {"type": "succeeded", "message": response["body"]}
    else:
        body = answer_body(Answer(response["status_code"], response["body"]))
        result = {"type": "errored", "error": {**body, "request_id": f"req_{response['request_id']}"}}
    shown = {"custom_id": line["custom_id"], "result": result}
    return dirty(orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS))


def _never_ran(error: Mapping[str, str]) -> dict[str, Any]:
    if error["code"] in _NEVER_RAN:
        return {"type": _NEVER_RAN[error["code"]]}
    return {"type": "errored", "error": error_body(504 if "timeout" in error["code"] else 500, error["message"])}


def input_lines(body: Mapping[str, Any]) -> list[bytes]:
    """The requests of a create, checked, as the lines of a batch's input. Their `params` are judged when they run.

    Raises:
        WireError: 400 or 413; the API would not take them.
    """
    requests = body.get("requests")
    if requests is None:
        raise missing("requests")
    if not isinstance(requests, list) or not requests:
        raise invalid("requests", "a list of at least one request is expected.")
    if len(requests) > MAX_REQUESTS:
        raise WireError(413, f"requests: {len(requests)} are too many; a batch holds {MAX_REQUESTS}.")
    known: set[str] = set()
    for index, each in enumerate(requests):
        where = f"requests.{index}"
        if not isinstance(each, dict) or not isinstance(each.get("params"), dict):
            raise invalid(where, "an object with a custom_id and params is expected.")
        custom_id = each.get("custom_id")
        if not isinstance(custom_id, str) or not _CUSTOM_ID.fullmatch(custom_id):
            raise invalid(f"{where}.custom_id", f"String should match pattern '^{_CUSTOM_ID.pattern}$'.")
        if custom_id in known:
            raise invalid(f"{where}.custom_id", f"'{custom_id}' is used by another request; it must be unique.")
        known.add(custom_id)
    return [
        orjson.dumps(
            {"custom_id": each["custom_id"], "params": each["params"]},
            option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS,
        )
        for each in requests
    ]


def _time(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
