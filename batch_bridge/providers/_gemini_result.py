"""What a batch says of one request, as an outcome. Pure; total: no result makes it raise."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from batch_bridge._models import JSON, Errored, Outcome, Succeeded, Usage
from batch_bridge.providers._gemini_messages import count, to_message
from batch_bridge.providers._item import read_mark
from batch_bridge.providers._result import as_message, is_cut, needs_text, read_named, too_deep

logger = logging.getLogger("batch_bridge")

Pair = tuple[str, Outcome]

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


class Bill:
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
        """Return the sum, or `None` if no answer has told what it cost."""
        if not self._seen:
            return None
        return Usage(self._model, self._sums["input"], self._sums["output"], self._sums["cached"])


def read_line(line: bytes, bill: Bill) -> Pair | None:
    """Return a request's id and its outcome, or `None` if a line of a responses file tells of no request."""
    named = read_named(line, "key")
    if named is None:
        return None
    key, result, exact = named
    return (read_mark(key)[0], result) if isinstance(result, Errored) else _outcome(key, result, bill, exact=exact)


def read_inlined(results: Sequence[Any], bill: Bill, names: Sequence[str] | None = None) -> list[Pair]:
    """Return ids and outcomes of results that came inside a batch; those that name no request are left out.

    They are told apart by the key in their metadata. Where none of them has any, and there are as many as requests,
    they go by their order.

    Source: `BatchJobDestination.inlined_responses` of google-genai: "in the same order as the input requests".

    Args:
        results: As the API gives them.
        bill: What their answers cost is added to it.
        names: What the requests are named, in order.
    """
    keys = [_key_of(result) for result in results]
    if results and not any(keys):
        if names is None or len(results) != len(names):
            logger.warning("%d inline results name no request, nor does their number tell whose they are", len(results))
        else:
            keys = list(names)
    pairs: list[Pair] = []
    for key, result in zip(keys, results, strict=True):
        if key is None:
            continue
        exact = needs_text(result)
        if is_cut(result):
            pairs.append((read_mark(key)[0], too_deep("it is nested too deep", result.get("response"))))
        else:
            pairs.append(_outcome(key, result, bill, exact=exact))
    return pairs


def _key_of(result: object) -> str | None:
    metadata = result.get("metadata") if isinstance(result, Mapping) else None
    key = metadata.get("key") if isinstance(metadata, Mapping) else None
    return key if isinstance(key, str) else None


def read_error(error: object) -> Errored:
    """Return what a `google.rpc.Status` comes to; some of them hold an HTTP status in place of a code."""
    said: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    code = said.get("code")
    status, name = _HTTP.get(code, (code, f"http_{code}")) if isinstance(code, int) else (None, "no_status")
    name = said["status"] if isinstance(said.get("status"), str) else name
    message = said.get("message")
    if not isinstance(message, str) or not message:
        message = f"the request was answered with {name}"
    return Errored(
        message,
        code=name.lower(),
        status_code=status,
        retryable=is_retryable(status),
        body={"error": {**said, "code": status, "message": message, "status": name}},
    )


def is_retryable(status: int | None) -> bool:
    """Tell whether a request that ended with this HTTP status may succeed when it is sent again."""
    return status is None or status in (408, 409, 429, 499) or (status >= 500 and status != 501)  # noqa: PLR2004


def answered(response: Mapping[str, Any], *, wants_message: bool, exact: bool = False) -> Outcome:
    """Return the outcome of a request that was answered; `exact` is of `Succeeded`."""
    return _message(response, exact=exact) if wants_message else Succeeded(cast("JSON", response), exact)


def _outcome(key: str, result: Mapping[str, Any], bill: Bill, *, exact: bool) -> Pair:
    request_id, wants_message = read_mark(key)
    response = result.get("response")
    if isinstance(response, dict):
        bill.add(key, response)
        return request_id, answered(response, wants_message=wants_message, exact=exact)
    if result.get("error") is not None:
        return request_id, read_error(result["error"])
    return request_id, Errored(
        "the batch's output holds neither an answer nor an error for it", "missing_result", retryable=True
    )


def _message(response: Mapping[str, Any], *, exact: bool) -> Outcome:
    try:
        return as_message(to_message(response), exact=exact)
    except Exception as error:  # noqa: BLE001  # whatever the answer is, its neighbours are to be read
        cause = f"{type(error).__name__}: {error}"[:300]
        return Errored(f"the answer is no content, so it is no message ({cause})", code="unexpected_answer")
