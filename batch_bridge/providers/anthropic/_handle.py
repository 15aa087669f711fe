"""What the ledger keeps of a batch, and what a request is called in it. Pure."""

import re
from hashlib import blake2b
from typing import Final, TypedDict, cast

from batch_bridge._core.models import JSON
from batch_bridge.providers.anthropic._batch import AnthropicBatchObject

_CUSTOM_ID: Final = re.compile(r"(?P<request>.+)_(?P<tag>[0-9a-f]{24})(?P<message>m?)")
"""The API takes 64 letters, digits, `_` and `-`: a request's id, its batch's tag, and whether the answer is to be a
LangChain message, since a poll sees no items.

Source: platform.claude.com/docs/en/api/messages/batches/create, `custom_id`.
"""
_TAG_BYTES: Final = 12


class Prepared(TypedDict):
    """What is known before a create call, and identifies its batch afterwards.

    `newest` is the newest batch of the workspace and `newest_at` when it was created, in seconds since the epoch by
    the API's clock; both are `None` if there was none. `is_listed` tells whether the server can list batches.
    """

    key: str
    model: str
    requests: int
    newest: str | None
    newest_at: float | None
    is_listed: bool


class AnthropicHandle(TypedDict):
    """What any process needs to poll a batch, and a person to look it up. The model is for the bill."""

    id: str
    key: str
    model: str
    created_at: float


def read_prepared(prepared: JSON) -> Prepared:
    """Return what `prepare` left."""
    return cast("Prepared", prepared)


def read_handle(handle: JSON) -> AnthropicHandle:
    """Return what `submit` or `find` left."""
    return cast("AnthropicHandle", handle)


def write_handle(batch: AnthropicBatchObject, prepared: Prepared, *, created_at: float) -> JSON:
    """Return what the ledger is to keep of a batch."""
    return {"id": batch.id, "key": prepared["key"], "model": prepared["model"], "created_at": created_at}


def tag_of(key: str) -> str:
    """Return the part of each `custom_id` that identifies the batches of one key."""
    return blake2b(key.encode(), digest_size=_TAG_BYTES).hexdigest()


def write_custom_id(request_id: str, tag: str, *, wants_message: bool) -> str:
    """Return what a request is called in a batch; as long for one tag as for another."""
    return f"{request_id}_{tag}{'m' if wants_message else ''}"


def read_custom_id(custom_id: str) -> tuple[str, str, bool] | None:
    """Return the request's id, its batch's tag and whether its answer is to be a LangChain message, if it is ours."""
    match = _CUSTOM_ID.fullmatch(custom_id)
    return (match["request"], match["tag"], bool(match["message"])) if match else None
