"""Batches, files, results and errors as Gemini's API shows them. Pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from batch_bridge.testing._batches.batch import ServedBatch
from batch_bridge.testing._batches.dirt import clean, dirty
from batch_bridge.testing._batches.files import File
from batch_bridge.testing._gemini.names import STATES, model_in, rpc

NAME, INLINE = "display_name", "inline"
"""What the metadata of a batch of ours holds."""

_TYPES = "type.googleapis.com/google.ai.generativelanguage.v1beta."


def error_body(status_code: int, message: str, *, retry_after: float | None = None) -> dict[str, Any]:
    """An error as the provider answers with it."""
    details: list[dict[str, Any]] = []
    if retry_after is not None:
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after:g}s"}]
    error = {"code": status_code, "message": message, "status": rpc(status_code)[1]}
    return {"error": {**error, "details": details} if details else error}


def said(body: object) -> str:
    """The message in an error of OpenAI's shape, which the answerers write."""
    error = body.get("error") if isinstance(body, Mapping) else None
    message = error.get("message") if isinstance(error, Mapping) else None
    return str(message or "The request failed.")


def file_wire(file: File, root: str) -> dict[str, Any]:
    """A file."""
    generated = file.purpose == "batch_output"
    name = f"files/{file.id}"
    shown: dict[str, Any] = {
        "name": name,
        "displayName": file.filename,
        "mimeType": "application/jsonl",
        "sizeBytes": str(file.bytes),
        "createTime": _time(file.created_at),
        "updateTime": _time(file.created_at),
        "uri": f"{root}/v1beta/{name}",
        "state": "ACTIVE",
        "source": "GENERATED" if generated else "UPLOADED",
    }
    if file.expires_at is not None:
        shown["expirationTime"] = _time(file.expires_at)
    if generated:
        shown["downloadUri"] = f"{root}/v1beta/{name}:download?alt=media"
    return shown


def batch_wire(batch: ServedBatch, *, state: str | None = None, inlined: list[Any] | None = None) -> dict[str, Any]:
    """A batch, which is an operation.

    Args:
        batch: The batch.
        state: Shown in place of the true one, for the fault `unknown_status`.
        inlined: The results of a completed batch that was created with its requests inside.
    """
    metadata = batch.metadata or {}
    unrun = batch.total - batch.done
    output = _output(batch, inlined)
    shown: dict[str, Any] = {
        "@type": f"{_TYPES}GenerateContentBatch",
        "name": f"batches/{batch.id}",
        "displayName": metadata.get(NAME),
        "model": f"models/{model_in(batch.endpoint)}",
        "state": state or STATES[batch.status],
        "createTime": _time(batch.created_at),
        "updateTime": _time(batch.ended_at or batch.in_progress_at or batch.created_at),
        "batchStats": {
            "requestCount": str(batch.total),
            "successfulRequestCount": str(batch.completed),
            "failedRequestCount": str(batch.failed),
            "pendingRequestCount": str(unrun),
        },
        "inputConfig": {} if INLINE in metadata else {"fileName": f"files/{batch.input_file_id}"},
    }
    operation: dict[str, Any] = {"name": shown["name"], "metadata": shown}
    if batch.ended:
        shown["endTime"] = _time(batch.ended_at or batch.created_at)
        operation["done"] = True
    if output is not None:
        shown["output"] = output
        operation["response"] = {"@type": f"{_TYPES}GenerateContentBatchOutput", **output}
    elif batch.ended:
        operation["error"] = _error(batch)
    return operation


def _output(batch: ServedBatch, inlined: list[Any] | None) -> dict[str, Any] | None:
    if batch.status != "completed":
        return None
    if inlined is not None:
        return {"inlinedResponses": {"inlinedResponses": inlined}}
    file_id = batch.output_file_id if batch.has_output else batch.error_file_id
    return {"responsesFile": f"files/{file_id}"} if batch.has_output or batch.error_bytes else {}


def _error(batch: ServedBatch) -> dict[str, Any]:
    match batch.status:
        case "cancelled":
            return {"code": 1, "message": "The batch was cancelled."}
        case "expired":
            return {"code": 4, "message": "The batch expired because it was pending or running for too long."}
    code = 8 if any(each["code"] == "token_limit_exceeded" for each in batch.errors) else 3
    return {"code": code, "message": " ".join(str(each["message"]) for each in batch.errors[:3])}


def result_line(line: bytes) -> bytes:
    """A line of our own output as one of a responses file; one that is broken stays so."""
    try:
        result = orjson.loads(clean(line))
    except orjson.JSONDecodeError:
        return line
    return dirty(orjson.dumps({"key": result["custom_id"], **_result(result)}, option=orjson.OPT_APPEND_NEWLINE))


def inlined(lines: Iterable[bytes], asked: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the results of a batch that was created with inline requests, in their order.

    Broken results are empty, missing results are left out, and results of unknown requests come last.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    broken = 0
    for line in lines:
        try:
            result = orjson.loads(clean(line))
        except orjson.JSONDecodeError:
            broken += 1
        else:
            found.setdefault(result["custom_id"], []).append(_result(result))
    shown: list[dict[str, Any]] = []
    for request in asked:
        metadata = {"metadata": request["metadata"]} if request.get("metadata") else {}
        shown += [{**metadata, **each} for each in found.pop(request["key"], ())]
    rest = [{"metadata": {"key": key}, **each} for key, many in found.items() for each in many]
    return [*shown, *rest, *({} for _ in range(broken))]


def _result(result: Mapping[str, Any]) -> dict[str, Any]:
    response = result["response"]
    if response is None:
        code = 1 if result["error"]["code"].startswith("batch_") else 13  # INTERNAL
        return {"error": {"code": code, "message": result["error"]["message"]}}
    if 200 <= response["status_code"] < 300:  # noqa: PLR2004
        return {"response": response["body"]}
    code, status = rpc(response["status_code"])
    return {"error": {"code": code, "message": said(response["body"]), "status": status}}


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
