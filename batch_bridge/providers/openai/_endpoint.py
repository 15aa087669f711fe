"""Which endpoint of the API a request is for. Pure."""

from collections.abc import Mapping
from typing import Final, TypeAlias

CHAT: Final = "/v1/chat/completions"
RESPONSES: Final = "/v1/responses"
EMBEDDINGS: Final = "/v1/embeddings"
COMPLETIONS: Final = "/v1/completions"
MODERATIONS: Final = "/v1/moderations"
IMAGES: Final = "/v1/images/generations"
IMAGE_EDITS: Final = "/v1/images/edits"
VIDEOS: Final = "/v1/videos"

ENDPOINTS: Final = (RESPONSES, CHAT, EMBEDDINGS, COMPLETIONS, MODERATIONS, IMAGES, IMAGE_EDITS, VIDEOS)
"""What a batch can be sent to.

Source: OpenAI API reference, "Create batch", `endpoint`.
"""

Body: TypeAlias = Mapping[str, object]

_TAKES_INPUT: Final = (RESPONSES, EMBEDDINGS, MODERATIONS)
_TAKES_PROMPT: Final = (COMPLETIONS, IMAGES, IMAGE_EDITS, VIDEOS)


def infer(body: Body, model: str, preferred: str | None) -> str | None:
    """Return the endpoint that a body is for, or `None` if it is unclear.

    The body's own fields say most; `preferred`, the provider's endpoint, decides where they leave a choice,
    and the model's name where it does not.
    """
    if "messages" in body:
        return CHAT
    if "input" in body:
        return preferred if preferred in _TAKES_INPUT else _by_model_of_input(model)
    if isinstance(body.get("prompt"), Mapping):
        return RESPONSES  # a stored prompt
    if "prompt" in body:
        return preferred if preferred in _TAKES_PROMPT else _by_model_of_prompt(body, model)
    return preferred


def _by_model_of_input(model: str) -> str:
    if "embedding" in model:
        return EMBEDDINGS
    return MODERATIONS if "moderation" in model else RESPONSES


def _by_model_of_prompt(body: Body, model: str) -> str:
    if "image" in model or "dall-e" in model:
        return IMAGE_EDITS if "image" in body or "images" in body else IMAGES
    return VIDEOS if "sora" in model else COMPLETIONS
