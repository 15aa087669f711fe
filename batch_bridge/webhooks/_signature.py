"""Whether a delivery is OpenAI's, and what it is about."""

import base64
import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import orjson

VARIABLE: Final = "OPENAI_WEBHOOK_SECRET"
"""The environment variable of the SDK that holds the secret."""
_PREFIX: Final = "whsec_"
_WAKING: Final = ("batch.", "response.")
_LONGEST_ID: Final = 200


class DeliveryRefused(Exception):
    """A delivery is not OpenAI's, or too old."""


class Verifier:
    """Verifies deliveries with the SDK, offline.

    Args:
        secret: The endpoint's; `None`: that of the environment.
        tolerance: Seconds that a delivery may be old.

    Raises:
        ValueError: There is no secret, or it is not valid; it is not quoted.
    """

    def __init__(self, secret: str | None, tolerance: int) -> None:
        given = os.environ.get(VARIABLE) if secret is None else secret
        if not given or not _key(given):
            raise ValueError(
                f"there is no valid webhook secret, so any sender could forge a delivery: set {VARIABLE}, or pass "
                "secret=…; OpenAI shows it once, when the endpoint is created"
            )
        if tolerance <= 0:
            raise ValueError(f"tolerance={tolerance!r}: a delivery may be some seconds old; 300 is usual")
        self._secret = given
        self._tolerance = tolerance

    def ended(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """Return the id of the batch or the response that an event is about; `None`: it is about something else.

        Raises:
            DeliveryRefused: It is forged, or older than the tolerance.
        """
        from openai import InvalidWebhookSignatureError  # noqa: PLC0415  # see `_webhooks`

        try:
            self._webhooks.verify_signature(body, headers, secret=self._secret, tolerance=self._tolerance)
        except (InvalidWebhookSignatureError, ValueError, TypeError) as error:  # of missing and strange headers too
            raise DeliveryRefused(type(error).__name__) from None
        return _ended(body)

    @cached_property
    def _webhooks(self) -> Any:
        from openai import OpenAI  # noqa: PLC0415  # a second to import

        return OpenAI(api_key="not used: nothing is called").webhooks


def _ended(body: bytes) -> str | None:
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    kind, data = (event.get("type"), event.get("data")) if isinstance(event, dict) else (None, None)
    name = data.get("id") if isinstance(data, dict) else None
    if not isinstance(kind, str) or not kind.startswith(_WAKING) or not isinstance(name, str):
        return None
    return name if 0 < len(name) <= _LONGEST_ID else None


def _key(secret: str) -> bytes:
    try:
        if not secret.startswith(_PREFIX):
            return secret.encode()
        return base64.b64decode(secret.removeprefix(_PREFIX))
    except ValueError:  # no base64, or letters beyond ASCII
        return b""
