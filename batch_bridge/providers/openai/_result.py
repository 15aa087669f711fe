"""A line of a batch's output or error file as an outcome. Pure; total: no line makes it raise."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

import orjson

from batch_bridge._core.json import messages as _messages
from batch_bridge._core.json.text import is_long
from batch_bridge._core.models import Cancelled, Errored, Expired, Outcome, Succeeded
from batch_bridge.providers._shared.failures.error_text import PASSING, is_error, said, status_in
from batch_bridge.providers._shared.item import MARK, read_mark
from batch_bridge.providers._shared.results.result import loads
from batch_bridge.providers.openai import _chat as _openai_chat
from batch_bridge.providers.openai import _responses as _openai_responses

EXPIRED = "the batch's completion window closed before this request ran; it was not billed, and can be sent again"
_OK: Final = 200
_TAG: Final = _messages.TAG.encode()
CANCELLED = "the batch was cancelled before this request ran; it was not billed, and can be sent again"


def read_lines(lines: Sequence[bytes]) -> list[tuple[str, Outcome] | None]:
    """Return what `read_line` returns for each of some lines; those of plain answers are read with few questions."""
    together = b"\n".join(lines)
    are_plain = not is_long(together) and _TAG not in together
    found: list[tuple[str, Outcome] | None] = []
    for line in lines:
        if not are_plain and (is_long(line) or _TAG in line):
            found.append(read_line(line))
            continue
        try:
            result = orjson.loads(line)
            name, response = result["custom_id"], result["response"]
            body = response["body"]
            if (
                response["status_code"] == _OK
                and body["object"] == "chat.completion"
                and body["choices"]
                and type(name) is str
                and not name.endswith(MARK)
            ):
                found.append((name, Succeeded(body, None, True)))  # noqa: FBT003  # as a keyword it takes longer
                continue
        except (LookupError, TypeError, ValueError):
            pass
        found.append(read_line(line))
    return found


def read_line(line: bytes) -> tuple[str, Outcome] | None:
    """Return a request's id and its outcome, or `None` if the line names no request."""
    try:
        result = loads(line)
    except ValueError:
        return None
    if not isinstance(result, dict) or not isinstance(custom_id := result.get("custom_id"), str):
        return None
    request_id, wants_message = read_mark(custom_id)
    response = result.get("response")
    if response is None:
        return request_id, _never_ran(result.get("error"))
    if not isinstance(response, dict):
        return request_id, Errored("its line in the batch's output is not an answer", code="unexpected_answer")
    status, body = status_in(response.get("status_code")), response.get("body")
    if status is None and isinstance(body, Mapping) and body and not (is_error(body) or result.get("error")):
        status = _OK  # it does not say, and here is an answer
    if is_success(status) and not (body is None or is_error(body)):
        return request_id, answered(body, status, wants_message=wants_message)
    return request_id, failed(status, body, result.get("error"), response.get("request_id"))


def is_success(status: int | None) -> TypeGuard[int]:
    """Return whether an HTTP status means that the request was answered."""
    return status is not None and 200 <= status < 300  # noqa: PLR2004


def answered(body: Any, status: int, *, wants_message: bool) -> Outcome:
    """Return the outcome of a request that was answered with a body; an error may be one."""
    if body is None or is_error(body):
        return failed(status, body, None, None)
    return _message(body, status) if wants_message else Succeeded(body)


def is_retryable(status: int | None) -> bool:
    """Return whether a request that ended with this HTTP status may succeed when it is sent again."""
    return status is None or status in (0, 408, 409, 429) or status >= 500  # noqa: PLR2004


def _never_ran(error: object) -> Outcome:
    code, message = said(error)
    if code == "batch_expired":
        return Expired(message or EXPIRED)
    if code == "batch_cancelled":
        return Cancelled(message or CANCELLED)
    if code is None and message is None:
        return Errored(
            "the batch's output contains neither an answer nor an error for it", "missing_result", retryable=True
        )
    return Errored(message or f"the request did not run: {code}", code=code or "error", retryable=code in PASSING)


def failed(status: int | None, body: Any, error: object, provider_request_id: object) -> Errored:
    """Return the outcome of a request that was answered with an error, or with nothing."""
    code, message = said(body)
    if message is None:
        other, message = said(error)
        code = code or other
    with_what = "no HTTP status" if not status else f"HTTP status {status}"
    if is_success(status):
        code, with_what = code or "unexpected_answer", f"{with_what} and no answer"
    return Errored(
        message or f"the request was answered with {with_what}",
        code=code or (f"http_{status}" if status else "no_status"),
        status_code=status,
        retryable=is_retryable(status),
        body=body,
        provider_request_id=provider_request_id if isinstance(provider_request_id, str) else None,
    )


def _message(body: Any, status: int) -> Outcome:
    if isinstance(body, Mapping) and body.get("error"):  # a response that failed
        return failed(status, body, None, None)
    try:
        is_chat = "choices" in body
        answer = _openai_chat.to_message(body) if is_chat else _openai_responses.to_message(body)
        return Succeeded(_messages.encode_answer(answer))
    except Exception as error:  # noqa: BLE001  # whatever the body is, its neighbours have answers to be read
        cause = f"{type(error).__name__}: {error}"[:300]
        return Errored(
            f"the answer is neither a chat completion nor a response, so it is not a message ({cause})",
            code="unexpected_answer",
            status_code=status,
        )
