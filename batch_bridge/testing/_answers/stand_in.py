"""The default answerer: deterministic, of the request alone, and never to be mistaken for a model."""

import math
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import orjson

from batch_bridge.testing._answers.answer import Answer, refused
from batch_bridge.testing._answers.asked import BYTES_PER_TOKEN, STREAM_FIELDS, Question
from batch_bridge.testing._answers.stand_in_other import embeddings, images, moderations
from batch_bridge.testing._anthropic.stand_in import message
from batch_bridge.testing._batches.endpoints import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    IMAGES,
    MESSAGES,
    MODERATIONS,
    RESPONSES,
)
from batch_bridge.testing._gemini.names import is_gemini
from batch_bridge.testing._gemini.stand_in import answer_gemini
from batch_bridge.testing._openai.stand_in import chat, completion, response


def stand_in(url: str, body: dict[str, Any]) -> Answer:
    """Answer a request: `[stand-in answer a1b2c3] You asked: …`, with a usage of a token for 4 bytes."""
    return answer_with(url, body, None)


def answer_with(url: str, body: dict[str, Any], text: str | None) -> Answer:
    """The same with a text of one's own, in whatever shape the endpoint answers."""
    if is_gemini(url):
        return answer_gemini(url, body, text)
    required = _REQUIRED.get(url)
    if required is None:
        return refused(404, f"Invalid URL (POST {url})")
    for param in required:
        if body.get(param) is None:
            return refused(
                400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
            )
    asked_for = {name: value for name, value in body.items() if name not in STREAM_FIELDS}
    raw = orjson.dumps(asked_for, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    asked = Question(body, sha256(raw).hexdigest(), math.ceil(len(raw) / BYTES_PER_TOKEN), text)
    return Answer(200, _SHAPES[url](asked))


_SHAPES: Mapping[str, Callable[[Question], dict[str, Any]]] = {
    CHAT: chat,
    RESPONSES: response,
    COMPLETIONS: completion,
    EMBEDDINGS: embeddings,
    MODERATIONS: moderations,
    IMAGES: images,
    MESSAGES: message,
}
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    CHAT: ("model", "messages"),
    RESPONSES: ("model", "input"),
    COMPLETIONS: ("model", "prompt"),
    EMBEDDINGS: ("model", "input"),
    MODERATIONS: ("input",),
    IMAGES: ("prompt",),
    MESSAGES: ("model", "max_tokens", "messages"),
}
