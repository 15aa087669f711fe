"""How Gemini's API names things: paths, states and codes."""

from typing import Final

GENERATE: Final = ":generateContent"
STREAM: Final = ":streamGenerateContent"
EMBED: Final = ":embedContent"
EMBED_MANY: Final = ":batchEmbedContents"
_MODELS: Final = "/v1beta/models/"

STATES: Final = {
    "validating": "BATCH_STATE_PENDING",
    "in_progress": "BATCH_STATE_RUNNING",
    "finalizing": "BATCH_STATE_RUNNING",
    "cancelling": "BATCH_STATE_RUNNING",
    "completed": "BATCH_STATE_SUCCEEDED",
    "failed": "BATCH_STATE_FAILED",
    "expired": "BATCH_STATE_EXPIRED",
    "cancelled": "BATCH_STATE_CANCELLED",
}
"""Our statuses as the API's states.

Source: ai.google.dev/api/batch-api, "BatchState".
"""
CODES: Final = {
    400: (3, "INVALID_ARGUMENT"),
    401: (16, "UNAUTHENTICATED"),
    403: (7, "PERMISSION_DENIED"),
    404: (5, "NOT_FOUND"),
    409: (10, "ABORTED"),
    429: (8, "RESOURCE_EXHAUSTED"),
    499: (1, "CANCELLED"),
    500: (13, "INTERNAL"),
    501: (12, "UNIMPLEMENTED"),
    503: (14, "UNAVAILABLE"),
    504: (4, "DEADLINE_EXCEEDED"),
}
"""HTTP statuses as the code and the name of a `google.rpc.Status`.

Source: github.com/googleapis/googleapis, google/rpc/code.proto.
"""


def endpoint_of(model: str, method: str = GENERATE) -> str:
    """The path that a model answers at; `model` is without its `models/`."""
    return f"{_MODELS}{model}{method}"


def is_gemini(path: str) -> bool:
    """Whether a path is of this API."""
    return path.startswith(_MODELS)


def model_in(path: str) -> str | None:
    """The model in a path, `None` if it is not of this API."""
    return path.removeprefix(_MODELS).partition(":")[0] if is_gemini(path) else None


def method_in(path: str) -> str:
    """What a path asks the model for, such as `":generateContent"`."""
    return ":" + path.partition(":")[2]


def rpc(status_code: int) -> tuple[int, str]:
    """Code and name for an HTTP status."""
    return CODES.get(status_code) or (CODES[400] if 400 <= status_code < 500 else CODES[500])  # noqa: PLR2004
