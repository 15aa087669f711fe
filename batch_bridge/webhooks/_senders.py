"""Who sends webhooks: how each signs a delivery, and what of a delivery says which batch has ended."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from batch_bridge._core import clock as _clock

SenderName: TypeAlias = Literal["openai", "gemini", "openrouter"]
"""Who sends webhooks."""
_PREFIX: Final = "whsec_"
_LONGEST_ID: Final = 200
_LONGEST_TIME: Final = 12
"""Digits of a Unix time, in seconds."""


class DeliveryRefused(Exception):
    """A delivery is not its sender's, or too old."""


Check: TypeAlias = Callable[[bytes, Mapping[str, str], str, int], None]
"""Raises `DeliveryRefused` for a body, its headers, a secret, and the seconds that it may be old."""


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """One sender of webhooks.

    Attributes:
        variable: The environment variable that holds its secret.
        shown: When it shows the secret.
        check: Verifies a delivery.
        secret: Returns the secret as `check` takes it, or an empty text if it is not valid.
        events: What the types of events begin with that wake.
        names: Returns what a handle may call the batch of an id.
        needs_id: Whether an event without an id is about something else; if not, all batches are looked at.
    """

    variable: str
    shown: str
    check: Check
    secret: Callable[[str], str]
    events: tuple[str, ...]
    names: Callable[[str], tuple[str, ...]]
    needs_id: bool

    def ended(self, event: object) -> Sequence[str] | None:
        """Return the names of what an event is about; empty if it does not say. `None`: it is about something else."""
        kind, data = (event.get("type"), event.get("data")) if isinstance(event, dict) else (None, None)
        if not isinstance(kind, str) or not kind.startswith(self.events):
            return None
        name = _id_in(data)
        if name is None:
            return None if self.needs_id else ()
        return self.names(name)


def _id_in(data: Any) -> str | None:
    name = data.get("id") if isinstance(data, dict) else None
    return name if isinstance(name, str) and 0 < len(name) <= _LONGEST_ID else None


def _standard(body: bytes, headers: Mapping[str, str], secret: str, tolerance: int) -> None:
    """Check a delivery by the Standard Webhooks specification, with OpenAI's SDK."""
    from openai import InvalidWebhookSignatureError  # noqa: PLC0415  # a second to import

    try:
        _webhooks().verify_signature(body, headers, secret=secret, tolerance=tolerance)
    except (InvalidWebhookSignatureError, ValueError, TypeError) as error:  # of missing and strange headers too
        raise DeliveryRefused(type(error).__name__) from None


@cache
def _webhooks() -> Any:
    from openai import OpenAI  # noqa: PLC0415  # a second to import

    return OpenAI(api_key="not used: nothing is called").webhooks


def _openrouter(body: bytes, headers: Mapping[str, str], secret: str, tolerance: int) -> None:
    """Check a delivery by its header `X-OpenRouter-Signature: t=<seconds>,v1=<hex>`, the HMAC of `<seconds>,<body>`.

    Source: openrouter.ai/docs, "Video Generation", of the callbacks of videos; what we read of those of batches names
    no other signature.
    """
    parts = dict(part.strip().partition("=")[::2] for part in headers.get("x-openrouter-signature", "").split(","))
    time, given = parts.get("t", ""), parts.get("v1", "")
    if not (time.isascii() and time.isdecimal() and len(time) <= _LONGEST_TIME):
        raise DeliveryRefused("no time")
    if abs(_clock.now().timestamp() - int(time)) > tolerance:
        raise DeliveryRefused("too old, or too new")
    expected = hmac.new(secret.encode(), f"{time},".encode() + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), given.encode()):
        raise DeliveryRefused("wrong signature")


def _whsec(secret: str) -> str:
    """Return a secret if the SDK can use it: base64 after `whsec_`, or any other text."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX)) if secret.startswith(_PREFIX) else secret.encode()
    except ValueError:  # no base64, or letters beyond ASCII
        return ""
    return secret if key else ""


def _base64(secret: str) -> str:
    """Return a secret that is base64 with or without its prefix, as the specification has it."""
    return _whsec(_PREFIX + secret.removeprefix(_PREFIX))


def _text(secret: str) -> str:
    try:
        secret.encode()
    except ValueError:
        return ""
    return secret


def _as_it_is(name: str) -> tuple[str, ...]:
    return (name,)


def _of_gemini(name: str) -> tuple[str, ...]:
    """Return how a handle may write an id: a batch is `batches/…`, and examples of events show `batch_…`."""
    last = name.rpartition("/")[2]
    return tuple(dict.fromkeys((name, f"batches/{last}", f"batches/{last.removeprefix('batch_')}")))


SENDERS: Final[Mapping[str, WebhookSender]] = MappingProxyType(
    {
        "openai": WebhookSender(
            variable="OPENAI_WEBHOOK_SECRET",
            shown="OpenAI shows it once, when the endpoint is created",
            check=_standard,
            secret=_whsec,
            events=("batch.", "response."),
            names=_as_it_is,
            needs_id=True,
        ),
        "gemini": WebhookSender(
            variable="GEMINI_WEBHOOK_SECRET",
            shown="Gemini's API returns it once, as new_signing_secret, when the webhook is created",
            check=_standard,
            secret=_base64,
            events=("batch.",),
            names=_of_gemini,
            needs_id=False,
        ),
        "openrouter": WebhookSender(
            variable="OPENROUTER_WEBHOOK_SECRET",
            shown="it is in the settings of the OpenRouter workspace",
            check=_openrouter,
            secret=_text,
            events=("batch.",),
            names=_as_it_is,
            needs_id=False,
        ),
    }
)
"""What is received.

Sources: OpenAI's SDK, `webhooks.unwrap`; ai.google.dev/gemini-api/docs/webhooks, "Static webhooks", and google-genai,
`WebhookSubscribedEvent`; OpenRouter's SDK, `BatchSubmitBody.callback_url`.
"""
