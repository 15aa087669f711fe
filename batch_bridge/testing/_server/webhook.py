"""Announces the end of batches and of responses in the background, signed as Standard Webhooks are.

Source: platform.openai.com/docs/guides/webhooks; ai.google.dev/gemini-api/docs/webhooks, "Static webhooks"; and the
Standard Webhooks specification: the signature is the HMAC of `id.timestamp.body`.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
import uuid
from datetime import UTC, datetime
from typing import TypedDict

import httpx
import orjson

ATTEMPTS = 5
FIRST_DELAY = 0.5
TIMEOUT = 10.0


class WebhookEvent(TypedDict):
    """What is posted."""

    id: str
    object: str
    created_at: int
    type: str
    data: dict[str, str]


class GeminiWebhookEvent(TypedDict):
    """The same of Gemini's; what is delivered has its id in a header alone."""

    type: str
    version: str
    timestamp: str
    data: dict[str, str]


def event(of: str, kind: str, now: float) -> WebhookEvent:
    """The event that a batch, or a response, has ended.

    Args:
        of: Its id.
        kind: The event's type, such as `batch.completed`.
        now: Seconds since the epoch.
    """
    return {
        "id": f"evt_{uuid.uuid4().hex}",
        "object": "event",
        "created_at": int(now),
        "type": kind,
        "data": {"id": of},
    }


def gemini_event(of: str, status: str, now: float) -> GeminiWebhookEvent:
    """The event that a batch of Gemini's has ended. The docs say `batch.succeeded` and, in places, `batch.completed`.

    Args:
        of: Its name, `batches/…`.
        status: How it has ended, as OpenAI calls it.
        now: Seconds since the epoch.
    """
    return {
        "type": f"batch.{'succeeded' if status == 'completed' else status}",
        "version": "v1",
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "data": {"id": of},
    }


def signed_headers(secret: str | None, event_id: str, body: bytes, now: float) -> dict[str, str]:
    """The headers of a delivery; without a secret there is no signature."""
    stamp = str(int(now))
    headers = {"content-type": "application/json", "webhook-id": event_id, "webhook-timestamp": stamp}
    if secret:
        signed = f"{event_id}.{stamp}.".encode() + body
        digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _key(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"))
        except binascii.Error:
            pass
    return secret.encode()


async def deliver(
    client: httpx.AsyncClient, url: str, secret: str | None, what: WebhookEvent | GeminiWebhookEvent
) -> bool:
    """Send an event, to a receiver that fails a few times more; returns whether it was taken."""
    body, event_id = orjson.dumps(what), str(what.get("id") or f"msg_{uuid.uuid4().hex}")
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(FIRST_DELAY * 2 ** (attempt - 1))
        headers = signed_headers(secret, event_id, body, time.time())
        try:
            response = await client.post(url, content=body, headers=headers, timeout=TIMEOUT)
        except (httpx.HTTPError, httpx.InvalidURL):
            continue
        if response.is_success:
            return True
    return False
