"""Announces the end of batches, signed as Standard Webhooks are.

Source: platform.openai.com/docs/guides/webhooks, and the Standard Webhooks specification: the signature is
the HMAC of `id.timestamp.body`.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
import uuid

import httpx
import orjson

from batch_bridge.testing._batches.batch import ServedBatch

ATTEMPTS = 5
FIRST_DELAY = 0.5
TIMEOUT = 10.0


def event(batch: ServedBatch, now: float) -> dict[str, object]:
    """The event that a batch has ended."""
    return {
        "id": f"evt_{uuid.uuid4().hex}",
        "object": "event",
        "created_at": int(now),
        "type": f"batch.{batch.status}",
        "data": {"id": batch.id},
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


async def deliver(client: httpx.AsyncClient, url: str, secret: str | None, batch: ServedBatch) -> bool:
    """Send a batch's event, to a receiver that fails a few times more; returns whether it was taken."""
    what = event(batch, time.time())
    body = orjson.dumps(what)
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(FIRST_DELAY * 2 ** (attempt - 1))
        headers = signed_headers(secret, str(what["id"]), body, time.time())
        try:
            response = await client.post(url, content=body, headers=headers, timeout=TIMEOUT)
        except (httpx.HTTPError, httpx.InvalidURL):
            continue
        if response.is_success:
            return True
    return False
