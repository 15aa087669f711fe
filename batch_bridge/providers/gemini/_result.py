"""Reads a batch's result of one request as an outcome. Pure; total: no result makes it raise."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from batch_bridge._core.json import messages as _messages
from batch_bridge._core.models import JSON, Errored, Outcome, Succeeded, Usage
from batch_bridge.providers._shared.failures.error_text import is_error, said
from batch_bridge.providers._shared.item import read_mark
from batch_bridge.providers._shared.results.result import loads
from batch_bridge.providers.gemini._messages import count, to_message

IdAndOutcome = tuple[str, Outcome]

_HTTP: Final = {
    1: (499, "CANCELLED"),
    2: (500, "UNKNOWN"),
    3: (400, "INVALID_ARGUMENT"),
    4: (504, "DEADLINE_EXCEEDED"),
    5: (404, "NOT_FOUND"),
    6: (409, "ALREADY_EXISTS"),
    7: (403, "PERMISSION_DENIED"),
    8: (429, "RESOURCE_EXHAUSTED"),
    9: (400, "FAILED_PRECONDITION"),
    10: (409, "ABORTED"),
    11: (400, "OUT_OF_RANGE"),
    12: (501, "UNIMPLEMENTED"),
    13: (500, "INTERNAL"),
    14: (503, "UNAVAILABLE"),
    15: (500, "DATA_LOSS"),
    16: (401, "UNAUTHENTICATED"),
}
"""The codes of a `google.rpc.Status`, as HTTP statuses and by their names.

Source: github.com/googleapis/googleapis, google/rpc/code.proto.
"""


class GeminiUsageTotal:
    """Adds up what the answers of a batch have cost.

    Args:
        model: What they are billed at.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._sums: Counter[str] = Counter()
        self._seen: set[str] = set()

    def add(self, key: str, response: object) -> None:
        """Add one answer; a second one of the same key was billed with the first."""
        usage = response.get("usageMetadata") if isinstance(response, Mapping) else None
        if not isinstance(usage, Mapping) or key in self._seen:
            return
        self._seen.add(key)
        self._sums["input"] += count(usage, "promptTokenCount") + count(usage, "toolUsePromptTokenCount")
        self._sums["output"] += count(usage, "candidatesTokenCount") + count(usage, "thoughtsTokenCount")
        self._sums["cached"] += count(usage, "cachedContentTokenCount")

    def total(self) -> Usage | None:
        """Return the sum, or `None` if no answer reports its cost."""
        if not self._seen:
            return None
        return Usage(self._model, self._sums["input"], self._sums["output"], self._sums["cached"])


def read_line(line: bytes, usage_total: GeminiUsageTotal) -> IdAndOutcome | None:
    """Return a request's id and its outcome, or `None` if a line of a responses file names no request."""
    try:
        result = loads(line)
    except ValueError:
        return None
    if not isinstance(result, dict) or not isinstance(key := result.get("key"), str):
        return None
    return _outcome(key, result, usage_total)


def read_inlined(results: Sequence[Any], sent: Sequence[str], usage_total: GeminiUsageTotal) -> list[IdAndOutcome]:
    """Return ids and outcomes of results that came inside a batch.

    They are told apart by the key in their metadata. Those without are taken by their order, which the API documents
    ("in the same order as the input requests"), as long as there is one for each request and every key that is there
    stands in its place. Otherwise their requests are unknown: the requests that are not named get an error.

    Source: ai.google.dev/api/batch-api, "GenerateContentBatchOutput", `inlinedResponses`.

    Args:
        results: As the API gives them.
        sent: The keys of the batch's requests, in order.
        usage_total: Adds up what they cost.
    """
    found = [(_key(result), result) for result in results]
    named = {key for key, _ in found if key is not None}
    pairs = [_outcome(key, result, usage_total) for key, result in found if key is not None]
    nameless = sum(key is None for key, _ in found)
    if not nameless:
        return pairs
    in_order = len(found) == len(sent) and all(key in (None, own) for (key, _), own in zip(found, sent, strict=False))
    if in_order:
        return [
            _outcome(own, result if isinstance(result, Mapping) else {}, usage_total)
            for (_, result), own in zip(found, sent, strict=True)
        ]
    unmatched = Errored(
        f"{nameless} of {len(found)} results of the batch name no request, and do not match the order of its "
        f"{len(sent)} requests, so they cannot be assigned; this request's result may be one of them, and paid for",
        code="unmatched_result",
        retryable=True,
    )
    return [*pairs, *((read_mark(key)[0], unmatched) for key in sent if key not in named)]


def _key(result: object) -> str | None:
    metadata = result.get("metadata") if isinstance(result, Mapping) else None
    key = metadata.get("key") if isinstance(metadata, Mapping) else None
    return key if isinstance(key, str) else None


def read_error(error: object) -> Errored:
    """Return what a `google.rpc.Status` comes to; some of them hold an HTTP status in place of a code."""
    held = _status(error)
    code = held.get("code")
    status, name = _HTTP.get(code, (code, f"http_{code}")) if isinstance(code, int) else (None, "no_status")
    name = held["status"] if isinstance(held.get("status"), str) else name
    message = said(held)[1] or said(error)[1] or f"the request was answered with {name}"
    return Errored(
        message,
        code=name.lower(),
        status_code=status,
        retryable=is_retryable(status),
        body={"error": {**held, "code": status, "message": message, "status": name}},
    )


def _status(error: object) -> Mapping[str, Any]:
    """Return the status in an error, however it is wrapped: some calls answer with a list of one."""
    for _ in range(4):
        if isinstance(error, list) and error:
            error = error[0]
        elif isinstance(error, Mapping) and "message" not in error and "error" in error:
            error = error["error"]
    return error if isinstance(error, Mapping) else {}


def is_retryable(status: int | None) -> bool:
    """Return whether a request that ended with this HTTP status may succeed when it is sent again."""
    return status is None or status in (408, 409, 429, 499) or (status >= 500 and status != 501)  # noqa: PLR2004


def answered(response: Mapping[str, Any], *, wants_message: bool) -> Outcome:
    """Return the outcome of a request that was answered; an error may be what it was answered with."""
    if is_error(response):
        return read_error(response)
    return _message(response) if wants_message else Succeeded(cast("JSON", response))


def _outcome(key: str, result: Mapping[str, Any], usage_total: GeminiUsageTotal) -> IdAndOutcome:
    request_id, wants_message = read_mark(key)
    response = result.get("response")
    if isinstance(response, dict):
        usage_total.add(key, response)
        return request_id, answered(response, wants_message=wants_message)
    if result.get("error"):
        return request_id, read_error(result["error"])
    return request_id, Errored(
        "the batch's output contains neither an answer nor an error for it", "missing_result", retryable=True
    )


def _message(response: Mapping[str, Any]) -> Outcome:
    try:
        return Succeeded(_messages.encode_answer(to_message(response)))
    except Exception as error:  # noqa: BLE001  # whatever the answer is, its neighbours are to be read
        cause = f"{type(error).__name__}: {error}"[:300]
        return Errored(f"the answer is no content, so it is not a message ({cause})", code="unexpected_answer")
