"""What the ledger keeps of an upload and of a batch, as JSON. Pure."""

from datetime import timedelta
from typing import Any, TypedDict, cast

from batch_bridge._core.models import JSON
from batch_bridge.providers.openai._batch import OpenAIBatchObject


class OpenAIUpload(TypedDict):
    """What `prepare` leaves: an input file, and what is needed to make a batch of it.

    The model is for the bill, where the API does not say it. Times are seconds since the epoch.
    """

    input_file_id: str
    endpoint: str
    model: str
    uploaded_at: int


class OpenAIHandle(TypedDict):
    """What any process needs to poll a batch, and a person to look it up."""

    id: str
    key: str
    input_file_id: str
    endpoint: str
    model: str
    created_at: int


class After(TypedDict):
    """When a file expires, as the API takes it."""

    anchor: Any
    seconds: int


def read_upload(prepared: JSON) -> OpenAIUpload:
    """Return what `prepare` left."""
    return cast("OpenAIUpload", prepared)


def read_handle(handle: JSON) -> OpenAIHandle:
    """Return what `submit` or `find` left."""
    return cast("OpenAIHandle", handle)


def write_handle(batch: OpenAIBatchObject, key: str, upload: OpenAIUpload, *, created_at: int) -> JSON:
    """Return what the ledger is to keep of a batch."""
    return {
        "id": batch.id,
        "key": key,
        "input_file_id": batch.input_file_id or upload["input_file_id"],
        "endpoint": upload["endpoint"],
        "model": upload["model"],
        "created_at": created_at,
    }


def after(life: timedelta) -> After:
    """Return how long a file may live, counted from its creation."""
    return {"anchor": "created_at", "seconds": int(life.total_seconds())}
