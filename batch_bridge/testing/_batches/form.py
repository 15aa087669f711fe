"""What a line of a batch's input looks like, in each wire format; the endpoint tells which it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from batch_bridge.testing._batches.endpoints import MESSAGES
from batch_bridge.testing._gemini.names import is_gemini, model_in
from batch_bridge.testing._server.switches.limits import Limits


@dataclass(frozen=True, slots=True)
class Form:
    """One wire format's lines.

    Attributes:
        required: The fields that a line must have, and their kinds.
        custom_id: The field that holds what a result is known by.
        body: The field that holds the request.
        model: The one model of a batch, where its endpoint names it.
        requests: Lines in one batch, where the provider allows more or fewer than OpenAI does.
        bytes: The same for the bytes of its input.
        addressed: Whether a line says by `method` and `url` where its body goes; else the batch's endpoint says all.
        checked_at_create: Whether the create call has checked the lines, so that no batch fails of them later.
    """

    required: tuple[tuple[str, type], ...]
    custom_id: str
    body: str
    model: Callable[[str], str | None]
    requests: int | None = None
    bytes: int | None = None
    addressed: bool = True
    checked_at_create: bool = False

    def read(self, line: Mapping[str, Any], endpoint: str) -> dict[str, Any]:
        """The line as OpenAI writes it; all required fields are there."""
        return {
            "custom_id": line[self.custom_id],
            "method": line.get("method", "POST") if self.addressed else "POST",
            "url": line.get("url", endpoint) if self.addressed else endpoint,
            "body": line[self.body],
        }

    def limits(self, limits: Limits) -> Limits:
        """Return the server's limits; those left at their defaults become this provider's own."""
        default = Limits()
        if self.requests is not None and limits.max_lines == default.max_lines:
            limits = replace(limits, max_lines=self.requests)
        if self.bytes is not None and limits.max_file_bytes == default.max_file_bytes:
            limits = replace(limits, max_file_bytes=self.bytes)
        return limits


def _unnamed(_: str) -> None:
    return None


OPENAI: Final = Form(
    required=(("custom_id", str), ("method", str), ("url", str), ("body", dict)),
    custom_id="custom_id",
    body="body",
    model=_unnamed,
)
GEMINI: Final = Form(
    required=(("key", str), ("request", dict)),
    custom_id="key",
    body="request",
    model=model_in,
    requests=1 << 31,
    bytes=2_000_000_000,
)
"""Source: ai.google.dev/gemini-api/docs/batch-api, "Input file": a line is `{key, request}`, a file at most 2 GB."""


ANTHROPIC: Final = Form(
    required=(("custom_id", str), ("params", dict)),
    custom_id="custom_id",
    body="params",
    model=_unnamed,
    checked_at_create=True,
)


AZURE: Final = replace(OPENAI, requests=100_000)
"""Source: learn.microsoft.com/azure/ai-foundry/openai/how-to/batch, "too_many_tasks"."""
_BARE: Final = replace(OPENAI, required=(("custom_id", str), ("body", dict)), addressed=False)
MISTRAL: Final = replace(_BARE, requests=1_000_000, bytes=512_000_000)
"""Source: docs.mistral.ai/capabilities/batch: a line is `{custom_id, body}`, at most a million in a batch. The SDK's
`files.upload` (github.com/mistralai/client-python): a file is at most 512 MB.
"""
TOGETHER: Final = replace(_BARE, bytes=100_000_000)
"""Source: docs.together.ai/docs/inference/batch, overview, tutorial: a line is `{custom_id, body}`; 100 MB a file."""
MISTRAL_PREFIX: Final = "/mistral"
TOGETHER_PREFIX: Final = "/together"
"""Where these servers' addresses begin here, and so the endpoints of their batches."""


def form_of(endpoint: str) -> Form:
    """The form of the lines of a batch for this endpoint."""
    if endpoint == MESSAGES:
        return ANTHROPIC
    if is_gemini(endpoint):
        return GEMINI
    if endpoint.startswith(MISTRAL_PREFIX):
        return MISTRAL
    if endpoint.startswith(TOGETHER_PREFIX):
        return TOGETHER
    return OPENAI if endpoint.startswith("/v1") else AZURE


def answered_at(url: str) -> str:
    """The path that an answerer knows a line's url by: Azure leaves the `/v1` out."""
    url = url.removeprefix(MISTRAL_PREFIX).removeprefix(TOGETHER_PREFIX)
    return url if url.startswith("/v1") else f"/v1{url}"
